"""What the default recipe was chosen from: `python benchmarks/default.py [DATA ...]`.

Nets: two residual ones, whose first maps are as large as the image or sixteen positions a side, without pre-training
(at 64x64 the first would take thirteen times as long, and is left out). Methods: two ways to pre-train the net that was
chosen, beside none. Budgets, asked last and of CIFAR-10 alone: the steps that all of these were given, and fewer, and a
decoder that is one linear map. At most 10,000 training images of digits, FashionMNIST, CIFAR-10 and the solar cells
(extra `examples`), judged on a fifth of them that nothing has seen; no test image is touched. Writes
results/default.csv, the rows of a data set as it finishes; a comparison that was interrupted goes on from its folder.
"""
import os
# read when torch is imported
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)
import argparse
from pathlib import Path

import pandas as pd
from aepretrain_nb.compare import compare
from aepretrain_nb.data.examples import solar_cells
from aepretrain_nb.data.ground import write_whole
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.own import own_images
from aepretrain_nb.experiment.default import default_recipe
from aepretrain_nb.experiment.methods import with_method
from aepretrain_nb.experiment.recipe import merged
from plain import held_out

OUT = Path(__file__).resolve().parents[1]/'results'/'default.csv'
SIZES = dict(digits=[50, 200])
USUAL,SCORES = [100, 500],dict(cells='balanced')  # the cells' classes are unequal
NETS = dict(whole=dict(width=16, stem=1), early=dict(width=32, stem='auto'))
METHODS = 'masked','skips'
CHOICES = ['net', 'method', 'budget']
LONG,SHORT = {'0': 300, '500': 500, '2000': 1000},{'0': 200, '500': 400, '2000': 800}
MIRROR = dict(decoder=dict(make='mirror', norm=True, out_act='identity'))
# what nets and methods were chosen with
FIRST = MIRROR | dict(pretrain=dict(steps=1500, evals=15), finetune=dict(steps=LONG))
ONE_RATE = dict(lr=.003, seek='all', first_lr=None)

def splits_of(name, folder, n=10_000):
    "At most `n` training images of a data set, a fifth of them in the place of the test images"
    splits = own_images(solar_cells(folder/'cells'), size=64) if name=='cells' else dataset(name)
    return held_out(splits, n)

def variants(name, shape):
    "(choice, its name, arm, recipe) of everything that is tried on a data set"
    digits = name=='digits'
    r = default_recipe('digits' if digits else 'quick', name, **(MIRROR if digits else FIRST))
    for k,net in NETS.items():
        if k=='early' or shape[-1]<64: yield 'net',k,'random',r | dict(encoder=r['encoder'] | net)
    yield 'method','none','random',r
    for m in METHODS: yield 'method',m,'pretrained',merged(with_method(r, m, shape), MIRROR if m=='masked' else {})
    if name=='cifar10': yield from budgets(name)

def budgets(name):
    "Shorter and longer training, at one rate, and a lighter decoder"
    def recipe(fits, steps=1500, **kw):
        return default_recipe('quick', name, pretrain=dict(steps=steps, evals=15), finetune=ONE_RATE | dict(steps=fits),
            **kw)
    yield 'budget','long','random',recipe(LONG, **MIRROR)
    yield 'budget','short','random',recipe(SHORT, **MIRROR)
    for steps in (1500, 1000): yield 'budget',f'{steps}','pretrained',recipe(SHORT, steps, **MIRROR)
    yield 'budget','linear','pretrained',recipe(SHORT)

def rows_of(name, choices, store, processes):
    "The rows of some choices on a data set, of fits and of autoencoders"
    splits,out,usual = splits_of(name, store),[],SIZES.get(name, USUAL)
    for choice,which,arm,recipe in variants(name, splits.train.shape):
        if choice not in choices: continue
        res = compare(splits, arm, None if choice=='budget' else usual, 3, recipe, store=store/name/which,
            score=SCORES.get(name), executor=f'processes:{processes}')
        out.append(pd.concat([res.rows, res.encoders]).assign(data=name, choice=choice, variant=which))
        print(name, which, res.rows.groupby('labels').value.mean().round(1).to_dict(), flush=True)
    return pd.concat(out)

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data', nargs='*', default=['digits', 'fashion_mnist', 'cifar10', 'cells'])
    p.add_argument('--choices', nargs='+', default=CHOICES, choices=CHOICES, help='what is asked')
    p.add_argument('--store', type=Path, default=Path('default'), help='folder of the grids')
    p.add_argument('--processes', type=int, default=1, help='worker processes')
    args = p.parse_args(argv)
    for name in args.data:
        new = rows_of(name, args.choices, args.store.resolve(), args.processes)
        old = pd.read_csv(OUT) if OUT.exists() else new[:0]
        anew = (old['data']==name) & old.choice.isin(args.choices)
        table = pd.concat([old[~anew], new]).dropna(axis=1, how='all')
        write_whole(OUT, lambda t: table.to_csv(t, index=False))

if __name__=='__main__': main()
