"`kill -9` at any moment, before any touch of a file; the same command goes on."
import os, signal, time
from . import Kind
from .child import Child
from .grid import GRIDS, as_one, command, finished, resumed, touches, undisturbed

def trial(rng, folder):
    "Kill a run once or twice, then let it go on."
    grid,out,before,said = rng.choice(list(GRIDS)),folder/'out',{},[]
    for _ in range(rng.choice([1, 1, 2])):
        said += by_clock(rng, out, folder, grid) if rng.random()<.5 else by_touch(rng, out, folder, grid)
        before = finished(out)
    return 1,as_one(said + resumed(out, folder, grid, before))

def by_touch(rng, out, folder, grid):
    "Killed before it touches its folder for the n-th time."
    n = rng.randint(1, undisturbed(grid).touches)
    def die(i):
        if i==n: os.kill(os.getpid(), signal.SIGKILL)
    Child(command(out, grid), folder, lambda: touches(out, die)).wait()
    return []

def by_clock(rng, out, folder, grid):
    "Killed after a while: both of two processes, the first of them, or a worker, whose step is tried again."
    processes,whom = rng.choice([1, 2]),rng.choice(['all', 'parent', 'worker'])
    long = undisturbed(grid).seconds + 4*(processes==2)
    c = Child(command(out, grid, '--processes', str(processes)), folder)
    time.sleep(rng.uniform(0, long))
    if c.ended() is None: c.send(signal.SIGKILL, whom)
    c.wait()
    return [] if c.alone() else ['a worker outlived its parent']

KIND = Kind('kills', '`kill -9` of a run with one or two processes, at any moment and before any touch of a file, once or twice; '
    'the same command goes on: the same rows, no finished step repeated', trial)
