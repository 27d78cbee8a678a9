"""What the scripts that record a guide share: a comparison in a folder of its own, and its tables in results/."""
import os
# read when torch is imported
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)

from contextlib import chdir
from pathlib import Path

import pandas as pd

from aepretrain_nb.cli import main
from aepretrain_nb.compare import read_results
from aepretrain_nb.data.ground import write_whole

RESULTS = Path(__file__).resolve().parents[1]/'results'

def tables(res, name):
    "Rows of fits and autoencoders with what was asked, and curves, by the name of their file."
    said = dict(command=res.told('command'), images=res.told('images'))
    return {name: pd.concat([res.rows, res.encoders]).assign(**said), f'{name}_curves': res.curves.round(4)}

def record(name, store, words, out, results=RESULTS, more=None):
    """Compare within `store`, with the results in its folder `out`, and write the tables, those of `more(res)` too;
    gives the exit code."""
    with chdir(store):
        code = main(['compare', *words, '--out', out])
        if code or '--dry-run' in words: return code
        res = read_results(out)
        found = tables(res, name) | (more(res) if more else {})
    for k,t in found.items(): write_whole(results/f'{k}.csv', lambda f: t.to_csv(f, index=False))
    print(', '.join(f'{len(t)} rows in {k}.csv' for k,t in found.items()))
    return 0
