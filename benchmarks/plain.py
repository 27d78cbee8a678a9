"""The control of the default recipe beside the script that a person would write: `python benchmarks/plain.py [DATA
...]`.

The script is fastai as its documentation has it: pictures from a `DataBlock`, `RandomCrop` and flips, a `Learner`,
`fit_one_cycle` at one of two usual rates. Net, first weights, labelled images and the number of steps are the
control's. Both are judged on a fifth of at most 10,000 training images, which neither has seen; no test image is
touched. Writes results/plain.csv, the rows of a data set as it finishes; a comparison that was interrupted goes on from
its folder.
"""
import os
# read when torch is imported
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)
import argparse, json
from pathlib import Path

import pandas as pd, torch
from aepretrain_nb.compare import compare
from aepretrain_nb.data.ground import write_whole
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.recipe import find_recipe
from stock import classify

OUT = Path(__file__).resolve().parents[1]/'results'/'plain.csv'
SIZES,USUAL = dict(digits=[50, 200, 800]),[100, 500, 2000]
RATES = .001,.003  # fastai's own, and the one that our search begins with
SHARED = ('data', 'setting', 'labels', 'subset_seed', 'encoder_seed', 'head_seed', 'subset', 'unit', 'chance',
    'device', 'versions', 'revision')

def held_out(splits, most=None):
    "At most `most` training images alone, a fifth of them in the place of the test images"
    order = torch.randperm(len(splits.train), generator=generator('held out')).tolist()[:most]
    n = len(order)//5
    return Splits(splits.name, splits.train.take(order[n:]), splits.train.take(order[:n]))

def script(step, splits, lr, folder):
    "Accuracy and seconds of the script, from its file where it has run before"
    file = folder/f'{step.key}-{lr:g}.json'
    if file.exists(): return json.loads(file.read_text())
    found = classify(step, splits, lr)
    write_whole(file, lambda t: t.write_text(json.dumps(found)))
    return found

def beside(name, store):
    "The rows of a data set: the control's, as its grid recorded them, and the script's"
    splits,sizes = held_out(dataset(name), 10_000),SIZES.get(name, USUAL)
    recipe = find_recipe('default', 'digits' if name=='digits' else 'quick', name)
    res = compare(splits, 'random', sizes, 5, recipe, store=store/name)
    rows,own = res.rows,[]
    for step,(_,r) in zip(res.steps, rows.iterrows()):
        for lr in RATES:
            value,seconds = script(step, splits, lr, store/'scripts'/name)
            own.append({k: r[k] for k in SHARED} | dict(arm=f'script_{lr:g}', kind='fit', value=round(value, 2),
                seconds=seconds, lr=lr))
            print(f'{name}, {r.labels} labels, seed {r.head_seed}: control {r.value:.1f}, script {value:.1f} at {lr:g}',
                flush=True)
    return pd.concat([rows, pd.DataFrame(own)])

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data', nargs='*', default=['digits', 'fashion_mnist', 'cifar10'])
    p.add_argument('--store', type=Path, default=Path('plain'), help='folder of the grids, and of what the script gave')
    args = p.parse_args(argv)
    for name in args.data:
        new = beside(name, args.store)
        old = pd.read_csv(OUT) if OUT.exists() else new[:0]
        table = pd.concat([old[old['data']!=name], new]).dropna(axis=1, how='all')
        write_whole(OUT, lambda t: table.to_csv(t, index=False))

if __name__=='__main__': main()
