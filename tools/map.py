"""Record a part of the map: several methods of pre-training beside each other, with all controls, on one data set.

    python tools/map.py DATA STORE [longer] [OPTIONS of aepretrain compare beside those below]

DATA is one of `SIZES`. STORE is a folder that goes on where it stopped; the same command again finds what is finished.
Writes results/map_DATA.csv (a row per fit and per autoencoder) and results/map_DATA_curves.csv. With `longer` it is the
default method alone, its start and the random one each with fits of both lengths, in map_DATA_longer.csv: it takes from
STORE what the map has there.
"""
import guide  # before torch is imported

import sys
from pathlib import Path

COMMON = '--seeds 5 --keep none'.split()
PARTS = dict(results='--method masked,skips,sparse,joint --set controls=all'.split(),
    longer='--set controls=longer'.split())
SIZES = dict(digits='50,200,800', mnist='100,1000', fashion_mnist='100,1000', cifar10='100,1000', cifar100='200,1000')

def record(data, store, argv, part='results', results=guide.RESULTS):
    "Compare on a data set, and write the tables; gives the exit code."
    store.mkdir(parents=True, exist_ok=True)
    taken = ['--reuse', 'results'] if part=='longer' and (store/'results').exists() else []
    name = f'map_{data}' + ('_longer' if part=='longer' else '')
    return guide.record(name, store, [data, *PARTS[part], *COMMON, *taken, '--labels', SIZES[data], *argv], part,
        results)

if __name__=='__main__':
    if len(sys.argv)<3 or sys.argv[1] not in SIZES: sys.exit(__doc__)
    data,store,*argv = sys.argv[1:]
    longer = argv[:1]==['longer']
    sys.exit(record(data, Path(store).resolve(), argv[longer:], 'longer' if longer else 'results'))
