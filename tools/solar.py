"""Record the comparison of the guide `own_images`: does pre-training help to find defective solar cells?

    python tools/solar.py STORE [OPTIONS of aepretrain compare, such as --processes 2 or --set pretrain.steps=1000]

Needs elpv-dataset (extra `examples`). STORE is a folder that goes on where it stopped; the same command again finds
what is finished. Writes results/solar.csv (a row per fit and per autoencoder), results/solar_curves.csv and
results/solar_subgroups.csv (a row per fit and subgroup of the test images).
"""
import guide  # before torch is imported

import sys
from pathlib import Path

import pandas as pd

from aepretrain_nb.data.examples import solar_cells
from aepretrain_nb.data.own import own_images
from aepretrain_nb.experiment.subgroups import column_of, rescored, subgroups_of

ASKED = '--score', 'balanced', '--keep', 'all'

def by_subgroup(res, table, size):
    "Rows by subgroup of the test images, of results beside a table of cells."
    splits = own_images(table, size=size)
    by = [rescored(res.rows, res.folder, splits, subgroups_of(splits, column_of(table, k))).assign(by=k)
        for k in ('type', 'certainty')]
    return dict(solar_subgroups=pd.concat(by))

def record(make, store, size, argv, results=guide.RESULTS):
    "Compare the cells that `make(folder)` gives, and write the tables; gives the exit code."
    table = make(store)
    words = [table.name, '--size', str(size), *ASKED, *argv]
    return guide.record('solar', store, words, 'results', results, lambda res: by_subgroup(res, table.name, size))

if __name__=='__main__':
    if len(sys.argv)<2: sys.exit(__doc__)
    sys.exit(record(solar_cells, Path(sys.argv[1]).resolve(), 64, sys.argv[2:]))
