"""Record a part of the map: several methods of pre-training beside each other, with all controls, on one data set.

    python tools/map.py DATA STORE [OPTIONS of aepretrain compare beside those below]

DATA is one of `SIZES`. STORE is a folder that goes on where it stopped; the same command again finds what is finished. Writes results/map_DATA.csv
(a row per fit and per autoencoder) and results/map_DATA_curves.csv.
"""
import guide  # before torch is imported

import sys
from pathlib import Path

ASKED = '--method masked,skips,sparse,joint --set controls=all --seeds 5 --keep none'.split()
SIZES = dict(digits='50,200,800', mnist='100,1000', fashion_mnist='100,1000', cifar10='100,1000', cifar100='200,1000')

def record(data, store, argv, results=guide.RESULTS):
    "Compare on a data set, and write the tables; gives the exit code."
    store.mkdir(parents=True, exist_ok=True)
    return guide.record(f'map_{data}', store, [data, *ASKED, '--labels', SIZES[data], *argv], 'results', results)

if __name__=='__main__':
    if len(sys.argv)<3 or sys.argv[1] not in SIZES: sys.exit(__doc__)
    sys.exit(record(sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3:]))
