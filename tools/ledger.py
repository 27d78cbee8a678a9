"""Settle every claim of the papers from the recorded rows, and write results/ledger.csv.

    python tools/ledger.py                    write results/ledger.csv
    python tools/ledger.py --against OLD.csv  write nothing; how each claim came out there, and how it does now
"""
import argparse
from pathlib import Path

import pandas as pd

from aepretrain_nb.answers.ledger import counts, ledger

ROOT = Path(__file__).resolve().parents[1]

def write(path, results=ROOT/'results'):
    "Write the ledger of all papers; gives it"
    t = ledger(results=results)
    t.to_csv(path, index=False, float_format='%.6g', lineterminator='\n')
    return t

def against(old, new):
    "How each claim came out in two ledgers, those that one of them lacks among them: a row each"
    key = ['paper', 'claim']
    t = old[[*key, 'outcome', 'setting']].merge(new[[*key, 'outcome', 'scale', 'why']], on=key, how='outer',
        suffixes=('_old', '_new'), sort=False)
    t = t.fillna('').assign(before=t.outcome_old.fillna('no such claim'), after=t.outcome_new.fillna('withdrawn'))
    moved = t.setting.where(t.setting.ne(t.scale) & t.setting.ne('') & t.scale.ne(''), '')
    return t.assign(why=t.why.where(moved.eq(''),
        'was told at ' + moved + t.why.map(lambda w: '; ' + w if w else '')))[[*key, 'before', 'after', 'scale', 'why']]

def main(args=None):
    "The command; its exit status is 0"
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--against', type=Path, metavar='OLD.csv', help='an earlier ledger to compare with')
    old = p.parse_args(args).against
    if old:
        if not old.is_file(): p.error(f'no file {old}')
        t = against(pd.read_csv(old, keep_default_na=False), ledger(results=ROOT/'results'))
        print(t.to_csv(index=False), f'{(t.before==t.after).sum()} of {len(t)} claims as before', sep='\n')
        return
    t = write(ROOT/'results'/'ledger.csv')
    print(counts(t).to_string(index=False))
    print(f'results/ledger.csv: {len(t)} claims' +
        ''.join(f', {k} {n}' for k, n in t.outcome.value_counts(sort=False).items()))

if __name__=='__main__': main()
