"The learner's promise, beyond the notebook's one example: the stock Learner's bytes, for every optimiser and with layers that keep state or draw noise."
import pytest, torch
from fastai.callback.core import Callback, CancelBatchException, CancelEpochException, CancelFitException
from fastai.callback.training import GradientClip
from fastai.learner import Learner
from fastai.metrics import accuracy
from torch import nn
from torch.nn import functional as F
from aepretrain_nb.data import dataset, image_dls
from aepretrain_nb.train import OPTIMISERS, BestWeightsCB, ImageLearner, torch_opt

digits = dataset('digits')

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(.3), nn.Flatten(), nn.Linear(64, 10))

def fit(cls, opt, cbs=(), epochs=2, **kw):
    dls = image_dls(digits.train.take(range(200)), digits.train.take(range(200, 300)), bs=16, seed=3)
    model = net()
    learn = cls(dls, model, F.cross_entropy, torch_opt(opt, **kw), lr=.01, cbs=list(cbs), metrics=accuracy, train_bn=False, wd_bn_bias=True)
    torch.manual_seed(1)
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return learn

def same(a, b): return all(torch.equal(p, q) for p,q in zip(a.model.state_dict().values(), b.model.state_dict().values()))

@pytest.mark.parametrize('opt', OPTIMISERS)
def test_bytes_of_the_stock_learner(opt):
    a,b = fit(Learner, opt),fit(ImageLearner, opt)
    assert same(a, b)
    assert [v[1:] for v in a.recorder.values] == [v[1:] for v in b.recorder.values]

def test_stock_callbacks_act():
    a,b = (fit(c, 'sgd', cbs=[GradientClip(.1)]) for c in (Learner, ImageLearner))
    assert same(a, b) and not same(b, fit(ImageLearner, 'sgd'))

class Cancel(Callback):
    def __init__(self, event, ex): self.event,self.ex = event,ex; super().__init__(); setattr(self, event, self.go)
    def go(self):
        if self.learn.training and self.learn.iter==2: raise self.ex()

@pytest.mark.parametrize('event', ['before_batch', 'after_pred', 'after_loss', 'before_step', 'after_step'])
@pytest.mark.parametrize('ex', [CancelBatchException, CancelEpochException, CancelFitException])
def test_cancelling_means_what_it_means_in_fastai(event, ex):
    a,b = (fit(c, 'sgd', cbs=[Cancel(event, ex)]) for c in (Learner, ImageLearner))
    assert same(a, b)

def test_a_callback_added_in_the_middle_of_a_fit_is_heard():
    heard = []
    class Late(Callback):
        def after_batch(self): heard.append(self.learn.train_iter)
    class Adds(Callback):
        def after_batch(self):
            if self.learn.training and self.learn.train_iter==3: self.learn.add_cb(Late())
    fit(ImageLearner, 'sgd', cbs=[Adds()], epochs=1)
    assert heard and min(heard)>=3

@pytest.mark.parametrize('monitor,mode', [('accuracy', 'max'), ('valid_loss', 'min')])
def test_best_weights_survive_validate_and_refit(monitor, mode):
    cb = BestWeightsCB(monitor, mode)
    learn = fit(ImageLearner, 'sgd', cbs=[cb], epochs=6, momentum=.99)
    i = 2 if monitor=='accuracy' else 1
    best = (max if mode=='max' else min)(float(v[i]) for v in learn.recorder.values)
    for _ in range(2):
        with learn.no_logging(), learn.no_bar(): assert float(learn.validate()[i-1])==best
