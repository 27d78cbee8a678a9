"""Settle every claim of the papers from the recorded rows, and write results/ledger.csv.

    python tools/ledger.py
"""
import sys
from pathlib import Path

from aepretrain_nb.ledger import ledger

ROOT = Path(__file__).resolve().parents[1]

def write(path, results=ROOT/'results'):
    "Write the ledger of all papers; gives it"
    t = ledger(results=results)
    t.to_csv(path, index=False, float_format='%.6g', lineterminator='\n')
    return t

if __name__=='__main__':
    if len(sys.argv)>1: sys.exit(__doc__)
    t = write(ROOT/'results'/'ledger.csv')
    print(f'results/ledger.csv: {len(t)} claims' + ''.join(f', {k} {n}' for k,n in t.outcome.value_counts(sort=False).items()))
