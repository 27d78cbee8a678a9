"A disk that is full, at any size."
import os, resource, subprocess
from contextlib import contextmanager
from . import Kind
from .child import Child
from .grid import GRIDS, as_one, command, finished, last, resumed, told, unclean

def trial(rng, folder):
    "Run on a disk that is too small, then on one that is not."
    grid,small = rng.choice(list(GRIDS)),rng.choice([files, blocks, names] if os.geteuid()==0 else [files])
    with small(rng, folder) as (disk, before, wider):
        out = disk/'out'
        c = Child(command(out, grid), folder, before)
        c.wait()
        said = told(c, [0, 1, 2]) + unclean(out)
        if c.code==2 and str(disk) not in last(c): said.append(f'no path in: {last(c)}')
        wider()
        return 1,as_one([f'{small.__name__}: {o}' for o in said + resumed(out, folder, grid, finished(out))])

@contextmanager
def files(rng, folder):
    "No file may be larger than so many bytes"
    n = int(10**rng.uniform(2, 5.3))
    yield folder,lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)),lambda: None

@contextmanager
def mounted(folder, narrow, wide):
    "A file system in memory, which is made wider later"
    disk = folder/'disk'
    disk.mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', '-o', narrow, 'tmpfs', disk], check=True)
    try: yield disk,None,lambda: subprocess.run(['mount', '-o', f'remount,{wide}', disk], check=True)
    finally: subprocess.run(['umount', disk], check=True)

def blocks(rng, folder):
    "So many kilobytes in all"
    return mounted(folder, f'size={4*rng.randint(1, 170)}k', 'size=64m')

def names(rng, folder):
    "So many files and folders in all"
    return mounted(folder, f'size=64m,nr_inodes={rng.randint(2, 90)}', 'size=64m,nr_inodes=1000')

KIND = Kind('disks', 'a disk that is full, by bytes, by files or by the size of a file (as root in a tmpfs); one line with the path, '
    'nothing half written, and with room the same command goes on', trial)
