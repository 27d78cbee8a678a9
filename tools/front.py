"""Record the comparisons of the first page: scikit-learn's digits, as `make demo` has them; photographs of CIFAR-10;
and these at 2,000 labels again, beside all controls, of which one sees as many images as autoencoder and classifier
together.

    python tools/front.py STORE [OPTIONS of aepretrain compare, such as --processes 2]

STORE is a folder that goes on where it stopped; the same command again finds what is finished. Writes results/demo.csv,
results/photographs.csv, results/photographs_equal.csv and results/photographs_longer.csv (a row per fit and per
autoencoder), and the curves of each.
"""
import guide  # before torch is imported

import sys
from pathlib import Path

_PHOTOGRAPHS = 'cifar10 --n-unlabelled 10000'
ASKED = dict(demo='digits', photographs=_PHOTOGRAPHS,
    photographs_equal=f'{_PHOTOGRAPHS} --set controls=all --labels 2000 --reuse photographs',  # what has finished there
    photographs_longer=f'{_PHOTOGRAPHS} --set controls=longer --labels 2000 --reuse photographs,photographs_equal')

def record(store, argv=(), asked=ASKED, results=guide.RESULTS):
    "Compare as `asked` says, by name of the tables that are written; gives the first exit code that is not 0, or 0."
    return next((c for k,words in asked.items() if (c := guide.record(k, store, [*words.split(), *argv], k, results))),
        0)

if __name__=='__main__':
    if len(sys.argv)<2: sys.exit(__doc__)
    sys.exit(record(Path(sys.argv[1]).resolve(), sys.argv[2:]))
