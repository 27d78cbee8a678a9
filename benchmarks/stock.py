"""The steps of a default grid as a person would write them with fastai: pictures from a `DataBlock`, `RandomCrop` and
flips in the items, a plain `Learner`, `fit_one_cycle`."""
import time

import torch
from aepretrain_nb.data.corrupt import corruption
from aepretrain_nb.data.sets import generator
from aepretrain_nb.experiment.build import build_autoencoder, build_classifier
from aepretrain_nb.experiment.seen import labelled
from fastai.callback.core import Callback
from fastai.callback.schedule import fit_one_cycle  # adds the method
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter, ItemGetter
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.vision.augment import CropPad, FlipItem, RandomCrop
from fastai.vision.core import PILImage, PILImageBW
from fastai.vision.data import ImageBlock
from torch import nn

def pictures(images):
    "Pairs of a picture and its label, for a `DataBlock`"
    make,last = (PILImageBW, 0) if images.shape[0]==1 else (PILImage, slice(None))
    labels = images.y.tolist() if images.y is not None else [0]*len(images)
    return [(make.create(x.permute(1, 2, 0)[..., last].numpy()), y) for x,y in zip(images.x, labels)]

def loaders(items, block, n_train, step):
    "Batches of pictures, cropped and flipped as a step's images are; all but the first `n_train` validate"
    side,augment = items[0][0].size[0],step.data['augment']
    tfms = [CropPad(side+2*round(side*augment['crop'])), RandomCrop(side)] + [FlipItem()]*augment.get('flip', False)
    of,y = (ImageBlock(type(items[0][0])), 0) if block is ImageBlock else (block, 1)
    made = DataBlock((ImageBlock(type(items[0][0])), of), get_x=ItemGetter(0), get_y=ItemGetter(y),
        splitter=IndexSplitter(range(n_train, len(items))), item_tfms=tfms)
    return made.dataloaders(items, bs=min(step.fit['bs'], n_train), num_workers=0)

def fitted(learn, steps, lr):
    "Seconds of as many passes as come next to a number of steps"
    begun = time.perf_counter()
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(max(1, round(steps/len(learn.dls.train))), lr)
    return time.perf_counter()-begun

def classify(step, splits, lr):
    "Accuracy of what a person's script makes of a step's labelled images, in percent, and the seconds it took"
    tr,va,_ = labelled(step, splits)
    items = pictures(splits.train.take(torch.cat([tr, va])))
    torch.manual_seed(step.seeds['head'])
    dls = loaders(items, CategoryBlock(vocab=list(range(splits.train.n_classes))), len(tr), step)
    learn = Learner(dls, build_classifier(step, splits), metrics=accuracy)
    seconds,begun = fitted(learn, step.fit['steps'], lr),time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        scores = learn.get_preds(dl=dls.test_dl(pictures(splits.test), with_labels=True))
    return 100*accuracy(*scores).item(),seconds+time.perf_counter()-begun

class Hide(Callback):
    "Noise on what goes in"
    def __init__(self, noise, gen): self.noise,self.gen = noise,gen
    def before_batch(self): self.learn.xb = (self.noise(self.x, self.gen),)

def reconstruct(step, splits, lr, n_valid=500):
    "Seconds that a person's script takes to train a step's autoencoder"
    items = pictures(splits.train)
    noise = Hide(corruption(step.fit['corrupt']), generator('hidden'))
    dls = loaders(items, ImageBlock, len(items)-n_valid, step)
    return fitted(Learner(dls, build_autoencoder(step, splits), nn.MSELoss(), cbs=noise), step.fit['steps'], lr)
