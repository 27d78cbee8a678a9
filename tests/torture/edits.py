"One edit of one file of a finished store, as an editor, a disk or a colleague would make it; then its readers, and the same command."
import atexit, json, shutil, tempfile
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from aepretrain_nb.cli import main
from aepretrain_nb.commands import Parser
from . import Kind
from .child import Child, without_pictures
from .grid import as_one, last, rows, told, unclean

EDITS = 20 # of a trial
ODD = [None, True, -1, 0, 3.5, 1e300, 10**30, 10**4000, float('nan'), float('inf'), '', 'x', 'é', '٣', 'x'*10**5, [], [[]], [None], {}, {'x': 1}]
FOREIGN = [b'<!DOCTYPE html>\n<title>502 Bad Gateway</title>\n', b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', b'PK\x03\x04\x14\0\0\0', b'[1, 2]',
    b'{}', b'null', b'["a", {"b": []}]', b'a,b\n1,2\n', b'\xff\xfe\0\0', b'\0'*1000, b'['*10**5]

# Finished stores

SMALL = 'digits --recipe kohlbrenner --setting smoke --labels 50 --arms pretrained,random_default'
CALLS = dict(rates=f'{SMALL} --seeds 2 --lr .03,.1 --tune first', auto=f'{SMALL} --seeds auto --margin 30 --max-seeds 6',
    frozen='digits --recipe kohlbrenner_background --setting smoke --seeds 1', own='')

def compared(name, out):
    "Run a grid into a folder, or go on with it; the images of `own` are in the store, and nowhere else."
    if name!='own': return main(['compare', *CALLS[name].split(), '--out', str(out)])
    from aepretrain_nb.compare import compare
    from aepretrain_nb.data.named import dataset
    from aepretrain_nb.data.splits import Splits
    def run(_):
        digits = dataset('digits')
        mine = Splits('mine', digits.train, digits.test, digits.unlabelled)
        compare(mine, arms=['pretrained', 'random_default'], labels=[50], seeds=2, recipe='kohlbrenner', setting='smoke', store=out).save(out)
        return 0
    return Parser('aepretrain').main(run, [])

@lru_cache(None)
def finished(name):
    "A folder that a grid has filled; made once."
    folder = Path(tempfile.mkdtemp(prefix='torture-'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    c = Child(lambda: compared(name, folder/'out'), folder, without_pictures)
    assert c.wait()==0, c.err()
    return folder/'out'

# Edits of any file: each says what it does

def emptied(rng, f): f.write_bytes(b'')
def deleted(rng, f): f.unlink()
def foreign(rng, f): f.write_bytes(rng.choice(FOREIGN))

def truncated(rng, f):
    there = f.read_bytes()
    f.write_bytes(there[:rng.randrange(len(there))] if there else b'')

def flipped(rng, f):
    "One bit of one byte"
    there = bytearray(f.read_bytes() or b' ')
    there[rng.randrange(len(there))] ^= 1<<rng.randrange(8)
    f.write_bytes(there)

def swapped(rng, f):
    "With another file of its kind"
    others = sorted(o for o in f.parent.glob(f'[!.]*{f.suffix}') if o!=f and o.is_file())
    if not others: return foreign(rng, f)
    other = rng.choice(others)
    mine,its = f.read_bytes(),other.read_bytes()
    f.write_bytes(its)
    other.write_bytes(mine)

def folder(rng, f):
    "A folder in its place"
    f.unlink()
    f.mkdir()

def dangling(rng, f):
    "A link that leads nowhere in its place"
    f.unlink()
    f.symlink_to('nowhere')

ANY = emptied, deleted, foreign, truncated, flipped, swapped, folder, dangling

# Edits of JSON

def spots(o, path=()):
    "Every place within a value."
    inside = o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else ()
    for k,v in inside:
        yield (*path, k)
        yield from spots(v, (*path, k))

def within(rng, f, change):
    "Change something somewhere: `change` gets what holds it, and where."
    whole = json.loads(f.read_text(encoding='utf-8'))
    every = list(spots(whole))
    if not every: return foreign(rng, f)
    deep = rng.choice(sorted({len(p) for p in every}))
    *above,at = rng.choice([p for p in every if len(p)==deep])
    holder = whole
    for k in above: holder = holder[k]
    change(holder, at)
    f.write_text(json.dumps(whole, indent=1), encoding='utf-8')

def odd(rng, f): within(rng, f, lambda o,at: o.__setitem__(at, rng.choice(ODD)))
def nudged(rng, f):
    "A number that is a little more, a word that is a little longer"
    def change(o, at):
        v = o[at]
        o[at] = not v if isinstance(v, bool) else v+1 if isinstance(v, (int, float)) else v+'x' if isinstance(v, str) else [v]
    within(rng, f, change)
def lacking(rng, f): within(rng, f, lambda o,at: o.pop(at))
def added(rng, f):
    def change(o, at):
        if isinstance(o, dict): o[rng.choice(['x', '', 'format', 'step', 'start', 'make'])] = rng.choice(ODD)
        else: o.insert(at, rng.choice(ODD))
    within(rng, f, change)
def later(rng, f):
    "As a later version would write it"
    whole = json.loads(f.read_text(encoding='utf-8'))
    if isinstance(whole, dict): f.write_text(json.dumps(whole | dict(format=rng.choice([3, '3', 2.5, None, [2]]), version=99)), encoding='utf-8')
    else: foreign(rng, f)

# Edits of tensors, arrays and tables

def tensors(rng, f, change):
    "Change the tensors of a file, and say the same words beside them"
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file
    with safe_open(f, 'pt') as o: words = o.metadata()
    save_file({k: v.contiguous() for k,v in change(load_file(f), torch).items()}, f, words)

def reshaped(rng, f): tensors(rng, f, lambda t,torch: {k: v[None] for k,v in t.items()})
def hollow(rng, f): tensors(rng, f, lambda t,torch: {k: torch.full_like(v, float('nan')) if v.is_floating_point() else v for k,v in t.items()})
def renamed(rng, f): tensors(rng, f, lambda t,torch: {f'x.{k}': v for k,v in t.items()})
def wordless(rng, f):
    from safetensors.torch import load_file, save_file
    save_file(load_file(f), f, rng.choice([None, dict(step='{}'), dict(step='x'), dict(splits='{}'), dict(splits='[]')]))

def pickled(rng, f): np.savez(f, images=np.array([None, {}], dtype=object))
def fewer(rng, f):
    there = dict(np.load(f))
    del there[rng.choice(sorted(there))]
    np.savez(f, **there)
def flat(rng, f): np.savez(f, **{k: v.ravel() for k,v in dict(np.load(f)).items()})

def cells(rng, f, change):
    "Change the lines of a table"
    lines = [l.split(',') for l in f.read_text(encoding='utf-8').splitlines()]
    change(lines)
    f.write_text('\n'.join(map(','.join, lines))+'\n', encoding='utf-8')

def column(rng, lines): return rng.randrange(min(map(len, lines)))
def cell(rng, f):
    def change(lines):
        line = rng.choice(lines[1:] or lines)
        line[column(rng, [line])] = rng.choice(['', 'x', 'nan', 'inf', '-1', '1e300', '9'*30, '"', 'True', '1.5', '[]'])
    cells(rng, f, change)
def without_column(rng, f):
    def change(lines):
        i = column(rng, lines)
        for l in lines: del l[i]
    cells(rng, f, change)
def without_rows(rng, f): cells(rng, f, lambda lines: lines.__delitem__(slice(rng.choice([0, 1]), rng.choice([1, len(lines)]))))
def twice(rng, f): cells(rng, f, lambda lines: lines.append(rng.choice(lines)))

WAYS = {'.json': (odd, odd, odd, nudged, nudged, lacking, lacking, added, later), '.safetensors': (reshaped, hollow, renamed, wordless),
    '.npz': (pickled, fewer, flat), '.csv': (cell, cell, without_column, without_rows, twice)}

# What is promised

def picked(rng, out):
    "A file, each place of the store as often as any other."
    every = sorted(f for f in out.rglob('[!.]*') if f.is_file())
    places = sorted({(f.parent.name, f.suffix) for f in every})
    place = rng.choice(places)
    return rng.choice([f for f in every if (f.parent.name, f.suffix)==place])

def edited(rng, out):
    "Edit one file; gives it and the edit."
    f = picked(rng, out)
    way = rng.choice([rng.choice(ANY), rng.choice(WAYS.get(f.suffix, ANY))])
    way(rng, f)
    return f,way.__name__

def refused(c, out, f):
    "What is wrong with a refusal: one line that names the file, or the folder."
    if c.code!=2: return []
    own = [l for l in c.err().splitlines() if l.startswith('aepretrain')]
    if len(own)!=1 or last(c)!=own[0][:200]: return [f'refused in {len(own)} lines: {last(c)}']
    return [] if f.name in own[0] or str(out) in own[0] else [f'no name of the file in: {own[0]}']

def read(out):
    "Read the tables of a folder as a page does."
    from aepretrain_nb.answers.results import Results
    def run(_):
        res = Results.read(out)
        print(res.text())
        if len(res.rows): res.label_curve()
        res.pretraining()
        return 0
    return Parser('aepretrain').main(run, [])

def attempt(rng, name, folder):
    "What is wrong after one edit, and what that was."
    out = folder/'out'
    shutil.copytree(finished(name), out, symlinks=True)
    f,what = edited(rng, out)
    readers = dict(report=['report', str(out)])
    if f.parent==out and f.suffix in WAYS: readers |= dict(power=['power', str(out), '--margin', '2'], read=lambda: read(out))
    said = []
    for verb,words in readers.items():
        c = Child(words, folder, without_pictures)
        c.wait()
        said += [f'{verb}: {o}' for o in told(c, [0, 2]) + refused(c, out, f)]
    said += again(name, out, folder, f)
    shutil.rmtree(out)
    return [f'{name}: {f.relative_to(out)} {what}: {o}' for o in said]

def without_figures():
    "No figure and no report, for the rest of the process: the report has made both a moment before."
    from aepretrain_nb.answers import report, results
    report.report = lambda res,*_: Path(res.folder)/'report.html'
    results.Results.label_curve = lambda self: SimpleNamespace(figure=None)
    results.Results.pretraining = lambda self,*_: None

def again(name, out, folder, f):
    "What is wrong when the command is given again"
    c = Child(lambda: compared(name, out), folder, without_figures)
    c.wait()
    said = told(c, [0, 2]) + refused(c, out, f)
    if c.code!=0: return [f'compare: {o}' for o in said]
    if rows(out)!=rows(finished(name)): said.append('the rows are others')
    if list(out.glob('failed/*.json')): said.append('a step counts as failed')
    return [f'compare: {o}' for o in said + unclean(out)]

def trial(rng, folder, edits=EDITS):
    "Edit a finished store, each time a new copy of it."
    failed = [as_one(attempt(rng, rng.choice(list(CALLS)), folder)) for _ in range(edits)]
    return edits,sum(failed, [])

KIND = Kind('edits', 'one file of a finished folder cut, emptied, removed, swapped, overwritten, a bit or a value of it changed; the report, the tables and the same command: '
    'exit code 0 or 2, on 2 one line that names it, else the same rows', trial)
