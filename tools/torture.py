"""What the command holds out: kill it, fill its disk, edit its files, and see whether what was promised is kept.

    python tools/torture.py [N]              N trials of each kind; the same again goes on where it was interrupted
    python tools/torture.py 20 kills fuzz    of some kinds only
    python tools/torture.py --only kills:7   one trial again, as the list of failures names it

Prints a table, lists what failed with the command that repeats it, and writes results/torture.csv when every kind was
tried. Exit code 1 where something failed.
"""
import argparse, json, os, random, shutil, sys, tempfile, time
# read when torch is imported
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)

from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'tests'))
OUT,NOTES = ROOT/'results'/'torture.csv',ROOT/'.torture'

def attempt(kind, i, seed):
    "One trial: how much was tried, what failed, seconds."
    begun,folder = time.monotonic(),Path(tempfile.mkdtemp(prefix='torture-'))
    try: tried,failed = kind.trial(random.Random(f'{seed} {kind.name} {i}'), folder)
    finally: shutil.rmtree(folder, ignore_errors=True)
    return dict(tried=tried, failed=failed, seconds=round(time.monotonic()-begun, 2))

def noted(file):
    "What has been tried already: (kind, i) -> outcome."
    lines = file.read_text(encoding='utf-8').splitlines() if file.exists() else []
    return {(o.pop('kind'), o.pop('i')): o for o in map(json.loads, lines)}

def tortured(kinds, n, seed, file):
    "Every trial, those that are noted in a file from there; says each."
    done = noted(file)
    for kind in kinds:
        for i in range(n):
            if (kind.name, i) in done: continue
            done[kind.name, i] = o = attempt(kind, i, seed)
            with file.open('a', encoding='utf-8') as f: print(json.dumps(dict(kind=kind.name, i=i) | o), file=f)
            print(f'[{i+1}/{n}] {kind.name}: {len(o["failed"])} of {o["tried"]} failed, {o["seconds"]:.0f} s',
                file=sys.stderr)
    return done

def rows(kinds, n, done):
    "The table, a row a kind."
    out = []
    for kind in kinds:
        mine = [done[kind.name, i] for i in range(n)]
        tried,failed,seconds = sum(o['tried'] for o in mine),sum(len(o['failed']) for o in mine),sum(o['seconds']
            for o in mine)
        out.append(dict(kind=kind.name, what=kind.says, tried=tried, failed=failed, seconds=round(seconds)))
    return out

def processor():
    "What it says in /proc/cpuinfo, where there is one."
    f = Path('/proc/cpuinfo')
    names = [l.partition(': ')[2] for l in f.read_text().splitlines()
        if l.startswith('model name')] if f.exists() else []
    return names[0] if names else 'unknown'

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('n', nargs='?', type=int, default=20, help='trials of each kind')
    p.add_argument('kinds', nargs='*', help='some kinds; all by default')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--only', metavar='KIND:I', help='one trial')
    p.add_argument('--notes', type=Path, default=NOTES, help='where trials are noted')
    p.add_argument('--out', type=Path, default=OUT, help='the table')
    a = p.parse_args(argv)
    import pandas as pd
    from aepretrain_nb.experiment.records import revision
    from torture import kinds
    from torture.child import warm
    every = kinds()
    if unknown := [k for k in a.kinds if k not in every]:
        p.error(f'no kind {unknown[0]!r}. There are: {", ".join(every)}')
    warm()
    if a.only:
        name,_,i = a.only.partition(':')
        print(json.dumps(attempt(every[name], int(i), a.seed), indent=1))
        return 0
    chosen = [every[k] for k in a.kinds] or list(every.values())
    a.notes.mkdir(exist_ok=True)
    done = tortured(chosen, a.n, a.seed, a.notes/f'{revision()}-{a.seed}.jsonl')
    table = pd.DataFrame(rows(chosen, a.n, done))
    print(table.drop(columns='what').to_string(index=False))
    if not a.kinds:
        told = dict(n=a.n, seed=a.seed, revision=revision(), date=date.today().isoformat(), processor=processor())
        table.assign(**told).to_csv(a.out, index=False)
    for (name,i),o in done.items():
        for why in o['failed']: print(f'{name}: {why}\n  python tools/torture.py --seed {a.seed} --only {name}:{i}')
    return 1 if table.failed.any() else 0

if __name__=='__main__': sys.exit(main())
