"The same rows, however they were made on this machine."
import os, subprocess, sys, threading
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from . import Kind
from .child import Child
from .grid import GRIDS, as_one, broken, command, told

ROOT = Path(__file__).resolve().parents[2]

def trial(rng, folder):
    "Run a grid in one other way."
    grid,way = rng.choice(list(GRIDS)),rng.choice(WAYS)
    return 1,as_one([f'{way.__name__}: {o}' for o in way(rng, folder, grid) + broken(folder/'out', grid)])

def fresh(folder, grid, **env):
    "Run a grid in a new interpreter"
    words = [sys.executable, '-m', 'aepretrain_nb', *command(folder/'out', grid)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    p = subprocess.run(words, cwd=folder, env=os.environ | dict(PYTHONPATH=path) | env, capture_output=True, text=True)
    return [] if p.returncode==0 else [p.stderr.splitlines()[-1]]

def hashes(rng, folder, grid):
    "Sets and dicts of strings in another order"
    return fresh(folder, grid, PYTHONHASHSEED=str(rng.randint(1, 2**32-1)))

def threads(rng, folder, grid):
    "More threads are allowed"
    return fresh(folder, grid, OMP_NUM_THREADS=str(rng.randint(2, 4)))

def spawned(rng, folder, grid):
    "Two processes of their own"
    c = Child(command(folder/'out', grid, '--processes', '2'), folder)
    c.wait()
    return told(c, [0])

def dask(rng, folder, grid):
    "Two workers of dask"
    def run():
        from distributed import LocalCluster
        from aepretrain_nb.cli import main
        alone = dict(dashboard_address=None, worker_dashboard_address=None)
        with LocalCluster(host='127.0.0.1', processes=True, n_workers=2, threads_per_worker=1, **alone) as cluster:
            return main(command(folder/'out', grid, '--executor', f'dask:{cluster.scheduler_address}'))
    c = Child(run, folder)
    c.wait()
    return [] if c.code==0 else told(c, [0])

class AnyOrder(Executor):
    "One thread that takes whatever it likes of what was handed out."
    def __init__(self, rng):
        self.rng,self.todo,self.more = rng,[],threading.Semaphore(0)
        threading.Thread(target=self.run, daemon=True).start()

    def submit(self, fn, *args, **kwargs):
        f = Future()
        self.todo.append((f, partial(fn, *args, **kwargs)))
        self.more.release()
        return f

    def run(self):
        while True:
            self.more.acquire()
            f,call = self.todo.pop(self.rng.randrange(len(self.todo)))
            if not f.set_running_or_notify_cancel(): continue
            try: f.set_result(call())
            except BaseException as e: f.set_exception(e)

def order(rng, folder, grid):
    "Steps in another order, as far as none waits for another"
    from aepretrain_nb import compare as module
    def run():
        from aepretrain_nb.cli import main
        plain = module.run_grid
        module.run_grid = lambda *args, **kw: plain(*args, **kw | dict(executor=AnyOrder(rng)))
        return main(command(folder/'out', grid))
    c = Child(run, folder)
    c.wait()
    return told(c, [0])

WAYS = [hashes, threads, spawned, dask, order]

KIND = Kind('determinism', 'another hash seed, more threads, two processes, dask, steps in another order: the same rows', trial)
