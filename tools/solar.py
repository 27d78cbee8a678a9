"""Record the comparison of the guide `own_images`: does pre-training help to find defective solar cells?

    python tools/solar.py STORE [OPTIONS of aepretrain compare, such as --processes 2 or --set pretrain.steps=1000]

Needs elpv-dataset (extra `examples`). STORE is a folder that goes on where it stopped; the same command again finds what is finished. Writes results/solar.csv
(a row per fit and per autoencoder), results/solar_curves.csv and results/solar_subgroups.csv (a row per fit and subgroup of the test images).
"""
import os, sys
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)  # read when torch is imported

from contextlib import chdir
from pathlib import Path

import pandas as pd

from aepretrain_nb.cli import main
from aepretrain_nb.compare import read_results
from aepretrain_nb.data.examples import solar_cells
from aepretrain_nb.data.ground import write_whole
from aepretrain_nb.data.own import own_images
from aepretrain_nb.experiment.subgroups import column_of, rescored, subgroups_of

RESULTS = Path(__file__).resolve().parents[1]/'results'
ASKED = '--score', 'balanced', '--keep', 'all'

def tables(table, size):
    "Rows of fits and autoencoders, curves, and rows by subgroup, of the folder `results` beside a table of cells."
    res,splits = read_results('results'),own_images(table, size=size)
    said = dict(command=res.told('command'), images=res.told('images'))
    by = [rescored(res.rows, 'results', splits, subgroups_of(splits, column_of(table, k))).assign(by=k) for k in ('type', 'certainty')]
    return pd.concat([res.rows, res.encoders]).assign(**said), res.curves.round(4), pd.concat(by)

def record(make, store, size, argv, results=RESULTS):
    "Compare the cells that `make(folder)` gives, and write the tables; gives the exit code."
    table = make(store)
    with chdir(store):
        code = main(['compare', table.name, '--size', str(size), *ASKED, *argv, '--out', 'results'])
        if code: return code
        found = dict(zip(('solar', 'solar_curves', 'solar_subgroups'), tables(table.name, size)))
    for name,t in found.items(): write_whole(results/f'{name}.csv', lambda f: t.to_csv(f, index=False))
    print(', '.join(f'{len(t)} rows in {name}.csv' for name,t in found.items()))
    return 0

if __name__=='__main__':
    if len(sys.argv)<2: sys.exit(__doc__)
    sys.exit(record(solar_cells, Path(sys.argv[1]).resolve(), 64, sys.argv[2:]))
