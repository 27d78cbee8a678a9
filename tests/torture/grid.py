"The grids that are disturbed, and what has to hold of them afterwards."
import json, os, signal, sys, tempfile, time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
import pandas as pd
from aepretrain_nb.cli import main
from .child import Child

USUAL = 'compare digits --recipe kohlbrenner --setting smoke --labels 50,100 --seeds 3 --arms pretrained,random_default'.split()
GRIDS = dict(plain=[], frozen=['--set', 'finetune.freeze=["encoder."]'], rates=['--lr', '.03,.1', '--tune', 'first'])
MOVES = ['seconds', 'images_s', 'revision'] # what another undisturbed run says otherwise, too
TOUCHES = 'open', 'os.rename', 'os.remove', 'os.mkdir', 'os.listdir', 'os.scandir' # what Python says before it is done

def command(out, grid='plain', *more):
    "The words of a grid of 12 fits and 3 autoencoders; `rates` has four fits more, `frozen` trains its heads as one."
    return [*USUAL, *GRIDS[grid], *more, '--out', str(out)]

def touches(folder, then):
    "Call `then` with the number of each touch of something in a folder, before it is done; for the rest of the process."
    count = [0]
    def hook(event, args):
        if event not in TOUCHES or not isinstance(args[0], (str, os.PathLike)): return
        if not os.fspath(args[0]).startswith(str(folder)): return
        count[0] += 1
        then(count[0])
    sys.addaudithook(hook)

# What a folder holds

def rows(out):
    "The table of a folder, as text, without what moves."
    d = pd.read_csv(Path(out)/'results.csv', dtype=str, keep_default_na=False)
    return d.drop(columns=MOVES).to_csv(index=False)

def finished(out):
    "name -> (time, bytes) of each finished step."
    return {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in Path(out).glob('steps/[!.]*.json')}

def runs(out):
    "How often each step ran to its end, as the log has it."
    f = Path(out)/'log.txt'
    lines = f.read_text(encoding='utf-8').splitlines() if f.exists() else []
    return Counter(l.split()[3] for l in lines if l.split()[2:3]==['done'])

class Reference(NamedTuple):
    "A run that nobody disturbs."
    rows:str      # its table
    steps:int     # how many were run
    seconds:float # how long it took
    touches:int   # how often it touched its folder

@lru_cache(None)
def undisturbed(grid='plain', *more):
    "What a grid is when nobody disturbs it; run once."
    with tempfile.TemporaryDirectory(prefix='torture-') as folder:
        out,count = Path(folder)/'out',Path(folder)/'count'
        def run():
            last = [0]
            touches(out, lambda n: last.__setitem__(0, n))
            code = main(command(out, grid, *more))
            count.write_text(str(last[0]))
            return code
        c = Child(run, folder)
        assert c.wait()==0, c.err()
        seconds = time.monotonic()-c.begun
        return Reference(rows(out), len(finished(out)), seconds, int(count.read_text()))

# What is promised

def broken(out, grid='plain', before={}):
    "What is not as an undisturbed run leaves it: a line for each; `before` are steps that had been finished earlier."
    want,out = undisturbed(grid),Path(out)
    said = []
    if not (out/'results.csv').exists(): said.append('there is no table')
    elif rows(out)!=want.rows: said.append('the rows are others')
    now,again = finished(out),[k for k,n in runs(out).items() if n>1]
    if len(now)!=want.steps: said.append(f'{len(now)} steps are finished, not {want.steps}')
    if any(now.get(k)!=v for k,v in before.items()): said.append('a finished step was written again')
    if again: said.append(f'{len(again)} steps were run to their end twice')
    if list(out.glob('failed/*.json')): said.append('a step counts as failed')
    return said + unclean(out)

def unclean(out):
    "Halves of files, and files that are not readable."
    left = [f.name for f in Path(out).rglob('.*') if f.is_file()]
    said = [f'{left[0]} is left over'] if left else []
    for f in filter(Path.is_file, Path(out).rglob('[!.]*.json')):
        try: json.loads(f.read_text(encoding='utf-8'))
        except ValueError: said.append(f'{f.name} is half written')
    return said

def told(c, codes):
    "What a command that has ended said wrongly: its exit code, a traceback."
    said = [] if c.code in codes else [f'exit code {c.code}: {last(c)}']
    return said + (['a traceback: ' + last(c)] if 'Traceback' in c.err() else [])

def as_one(said):
    "What is wrong with one thing that was tried, as the list of what failed."
    return ['; '.join(said)] if said else []

def last(c):
    "The last line that a command said on standard error."
    return (c.err().splitlines() or ['nothing said'])[-1][:200]

def resumed(out, folder, grid, before):
    "Give the command again, in one process; what is wrong then."
    c = Child(command(out, grid), folder)
    c.wait()
    return told(c, [0]) + broken(out, grid, before)
