"""The control of the default recipe beside the script that a person would write: `python benchmarks/plain.py [DATA ...]`.

The script is fastai as its documentation has it: pictures from a `DataBlock`, `RandomCrop` and flips, a `Learner`, `fit_one_cycle` at one of two usual rates. Net, first
weights, labelled images and the number of steps are the control's. Both are judged on a fifth of the training images that neither has seen; no test image is touched.
Writes results/plain.csv, the rows of a data set as it finishes; a comparison that was interrupted goes on from its folder.
"""
import os
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)  # read when torch is imported
import argparse, time
from pathlib import Path

import pandas as pd, torch
from aepretrain_nb.compare import compare
from aepretrain_nb.data.ground import write_whole
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.build import build_classifier
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.seen import labelled
from fastai.callback.schedule import fit_one_cycle  # adds the method
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter, ItemGetter
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.vision.augment import CropPad, FlipItem, RandomCrop
from fastai.vision.core import PILImage, PILImageBW
from fastai.vision.data import ImageBlock

OUT = Path(__file__).resolve().parents[1]/'results'/'plain.csv'
SIZES,USUAL = dict(digits=[50, 200, 800]),[100, 500, 2000]
RATES = .001,.003  # fastai's own, and the one that our search begins with
SHARED = 'data','setting','labels','subset_seed','encoder_seed','head_seed','subset','unit','chance','device','versions','revision'

def held_out(splits, most=None):
    "At most `most` training images alone, a fifth of them in the place of the test images"
    order = torch.randperm(len(splits.train), generator=generator('held out')).tolist()[:most]
    n = len(order)//5
    return Splits(splits.name, splits.train.take(order[n:]), splits.train.take(order[:n]))

def pictures(images):
    "Pairs of a picture and its label, for a `DataBlock`"
    make,last = (PILImageBW, 0) if images.shape[0]==1 else (PILImage, slice(None))
    return [(make.create(x.permute(1, 2, 0)[..., last].numpy()), int(y)) for x,y in zip(images.x, images.y)]

def script(step, splits, lr):
    "Accuracy of what the script makes of a step's labelled images, in percent, and the seconds it took"
    tr,va,_ = labelled(step, splits)
    items = pictures(splits.train.take(torch.cat([tr, va])))
    side,augment,bs = splits.train.shape[-1],step.data['augment'],step.fit['bs']
    tfms = [CropPad(side+2*round(side*augment['crop'])), RandomCrop(side)] + [FlipItem()]*augment.get('flip', False)
    block = DataBlock((ImageBlock(type(items[0][0])), CategoryBlock(vocab=list(range(splits.train.n_classes)))),
        get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(len(tr), len(items))), item_tfms=tfms)
    torch.manual_seed(step.seeds['head'])
    dls = block.dataloaders(items, bs=min(bs, len(tr)), num_workers=0)
    learn = Learner(dls, build_classifier(step, splits, ()), metrics=accuracy)
    begun = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(max(1, round(step.fit['steps']/len(dls.train))), lr)
        seconds = time.perf_counter()-begun
        scores = learn.get_preds(dl=dls.test_dl(pictures(splits.test), with_labels=True))
    return 100*accuracy(*scores).item(), round(seconds, 2)

def beside(name, store):
    "The rows of a data set: the control's, as its grid recorded them, and the script's"
    splits,sizes = held_out(dataset(name)),SIZES.get(name, USUAL)
    recipe = find_recipe('default', 'digits' if name=='digits' else 'quick', name)
    res = compare(splits, 'random', sizes, 5, recipe, store=store/name)
    rows,own = res.rows,[]
    for step,(_,r) in zip(res.steps, rows.iterrows()):
        for lr in RATES:
            value,seconds = script(step, splits, lr)
            own.append({k: r[k] for k in SHARED} | dict(arm=f'script_{lr:g}', kind='fit', value=round(value, 2), seconds=seconds, lr=lr))
            print(f'{name}, {r.labels} labels, seed {r.head_seed}: control {r.value:.1f}, script {value:.1f} at {lr:g}', flush=True)
    return pd.concat([rows, pd.DataFrame(own)])

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data', nargs='*', default=['digits', 'fashion_mnist', 'cifar10'])
    p.add_argument('--store', type=Path, default=Path('plain'), help='folder of the grids')
    args = p.parse_args(argv)
    for name in args.data:
        new = beside(name, args.store)
        old = pd.read_csv(OUT) if OUT.exists() else new[:0]
        table = pd.concat([old[old['data']!=name], new]).dropna(axis=1, how='all')
        write_whole(OUT, lambda t: table.to_csv(t, index=False))

if __name__=='__main__': main()
