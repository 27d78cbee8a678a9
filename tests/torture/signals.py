"Ctrl-C, a polite end, a lost terminal, a pause."
import signal, time
from . import Kind
from .child import Child
from .grid import GRIDS, as_one, broken, command, finished, resumed, told, undisturbed

def trial(rng, folder):
    "Send one signal after a while, then let the run go on."
    sig,processes = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGSTOP]),rng.choice([1, 2])
    grid,whom,out = rng.choice(list(GRIDS)),rng.choice(['all', 'parent']),folder/'out'
    c = Child(command(out, grid, '--processes', str(processes)), folder)
    time.sleep(rng.uniform(.05, undisturbed(grid).seconds + 4*(processes==2)))
    if c.ended() is None: c.send(sig, whom)
    if sig==signal.SIGSTOP: return 1,as_one(paused(c, whom, out, grid))
    c.wait()
    codes = (0, 130) if sig==signal.SIGINT else (0, -sig, 128+sig)
    said = told(c, codes)
    if c.code==130 and 'again' not in c.err(): said.append('an interruption does not say how to go on')
    if not c.alone(): said.append('a worker outlived its parent')
    return 1,as_one([f'{sig.name}: {o}' for o in said + resumed(out, folder, grid, finished(out))])

def paused(c, whom, out, grid):
    "What is wrong with a run that was stopped for a moment."
    time.sleep(.5)
    c.send(signal.SIGCONT, whom)
    c.wait()
    return [f'SIGSTOP: {o}' for o in told(c, [0]) + broken(out, grid)]

KIND = Kind('signals', 'SIGINT, SIGTERM, SIGHUP, and SIGSTOP with SIGCONT, to all processes or to the first; no traceback, no worker left, and the same command goes on', trial)
