"""The learner's promise, beyond the notebook's one example: the stock Learner's bytes, for every optimiser and with
layers that keep state or draw noise."""
import matplotlib.pyplot as plt, numpy as np, pytest, torch
from PIL import Image
from fastai.callback.core import Callback, CancelBatchException, CancelEpochException, CancelFitException
from fastai.callback.training import GradientClip
from fastai.interpret import ClassificationInterpretation
from fastai.learner import Learner, load_learner
from fastai.metrics import accuracy
from sklearn.metrics import confusion_matrix
from torch import nn
from torch.nn import functional as F
from aepretrain_nb.nets.autoencoder import Autoencoder, TiedDecoder
from aepretrain_nb.nets.encoder import ConvEncoder, ConvStage
from aepretrain_nb.nets.loss import ReconLoss
from aepretrain_nb.data.corrupt import Masking
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.loader import image_dls
from aepretrain_nb.train.callbacks import BestWeightsCB, CorruptCB, DropoutOnCB, SparsityCB
from aepretrain_nb.train.learner import ImageLearner, OPTIMISERS, torch_opt
from aepretrain_nb.experiment.pretrain import CheckpointCB

digits = dataset('digits')

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(.3),
        nn.Flatten(), nn.Linear(64, 10))

def fit(cls, opt, cbs=(), epochs=2, **kw):
    dls = image_dls(digits.train.take(range(200)), digits.train.take(range(200, 300)), bs=16, seed=3)
    model = net()
    learn = cls(dls, model, F.cross_entropy, torch_opt(opt, **kw), lr=.01, cbs=list(cbs), metrics=accuracy,
        train_bn=False, wd_bn_bias=True)
    torch.manual_seed(1)
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return learn

def same(a, b):
    return all(torch.equal(p, q) for p,q in zip(a.model.state_dict().values(), b.model.state_dict().values()))

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

# A fit that is broken off

class Break(Callback):
    "Raises in the middle of an epoch, after `after` batches"
    order = 99
    def __init__(self, kind, after): super().__init__(); self.kind,self.after = kind,after
    def after_loss(self):
        if self.learn.training and self.learn.train_iter>=self.after: raise self.kind('stop')

def learner(cls=ImageLearner, cbs=(), **kw):
    dls = image_dls(digits.train.take(range(64)), digits.train.take(range(64, 128)), bs=16)
    return cls(dls, net(), F.cross_entropy, torch_opt('sgd'), lr=.1, cbs=list(cbs), metrics=accuracy, **kw)

def broken_off(learn, kind, after=6, **kw):
    with learn.no_logging(), learn.no_bar(), pytest.raises(kind):
        learn.fit(3, cbs=[Break(kind, after), *kw.pop('cbs', ())], **kw)

def quiet(learn, n=1, lr=None, **kw):
    with learn.no_logging(), learn.no_bar(): learn.fit(n, lr, **kw)

kinds = pytest.mark.parametrize('kind', [KeyboardInterrupt, RuntimeError, IndexError])

@kinds
def test_noise_leaves_the_loaders_when_a_fit_is_broken_off(kind):
    learn = learner()
    broken_off(learn, kind, cbs=[CorruptCB(Masking(.5))])
    assert [dl.corrupt for dl in learn.dls]==[None, None]

@kinds
def test_a_stock_learner_gives_the_noise_back_with_its_next_event(kind):
    learn = learner(Learner, [CorruptCB(Masking(.9))])
    broken_off(learn, kind)
    assert learn.dls.valid.corrupt is not None
    with learn.no_logging(), learn.no_bar(): learn.validate()
    assert [dl.corrupt for dl in learn.dls]==[None, None]
    quiet(learn)
    assert [dl.corrupt for dl in learn.dls]==[None, None]

@kinds
@pytest.mark.parametrize('cls', [ImageLearner, Learner])
def test_best_weights_of_a_broken_fit_do_not_come_back(kind, cls):
    learn = learner(cls, [BestWeightsCB('accuracy', 'max')])
    broken_off(learn, kind, after=9)
    fresh = {k: torch.zeros_like(v) for k,v in learn.model.state_dict().items()}
    learn.model.load_state_dict(fresh)
    quiet(learn, lr=0.)
    weights = dict(learn.model.named_parameters())
    assert all(not v.any() for v in weights.values()) and learn.best_weights.best_epoch==0

@kinds
@pytest.mark.parametrize('cls', [ImageLearner, Learner])
def test_a_sparsity_hook_is_there_once_and_gone_at_the_end(kind, cls):
    enc = ConvEncoder(dict(c1=ConvStage(nn.Conv2d(1, 4, 3, padding=1))))
    ae = Autoencoder(enc, TiedDecoder(enc))
    learn = cls(image_dls(digits.unlabelled.take(range(64)), digits.unlabelled.take(range(64)), bs=16, target='x'), ae,
        ReconLoss(), torch_opt('sgd'), lr=.1, cbs=[SparsityCB(.1)])
    broken_off(learn, kind)
    heard = []
    class Hooks(Callback):
        def after_loss(self): heard.append(len(ae.decoder._forward_pre_hooks))
    quiet(learn, cbs=Hooks())
    assert set(heard)=={1} and not ae.decoder._forward_pre_hooks

@kinds
def test_checkpoints_are_those_of_the_last_fit(kind):
    learn = learner(cbs=[kept := CheckpointCB([1, 2, 'best'])])
    broken_off(learn, kind, after=9)
    assert 2 in kept.states
    learn.model.load_state_dict({k: torch.zeros_like(v) for k,v in learn.model.state_dict().items()})
    quiet(learn, lr=0.)
    assert set(kept.states)=={1, 'best'} and not kept.states['best']['5.weight'].any()
    with learn.no_logging(), learn.no_bar(): learn.validate()
    assert set(kept.states)=={1, 'best'}

def test_dropout_that_was_left_on_is_off_after_validating():
    learn = learner(cbs=[DropoutOnCB()])
    with learn.no_logging(), learn.no_bar(): learn.validate()
    assert not any(m.training for m in learn.model.modules())

@kinds
def test_a_fit_after_a_broken_one_is_as_any_other(kind):
    "Same weights and order of batches given, the same bytes as a learner to which nothing happened"
    one,other = (learner(cbs=[BestWeightsCB()]) for _ in range(2))
    broken_off(one, kind)
    one.model.load_state_dict(net().state_dict()); one.create_opt()
    for l in (one, other):
        l.dls.train.reset()
        torch.manual_seed(5)
        quiet(l, 2)
    assert same(one, other) and [v[:2] for v in one.recorder.values]==[v[:2] for v in other.recorder.values]

# After training

names = [f'digit {i}' for i in range(10)]

def trained(**kw):
    named = [ImageSet(o.x, o.y, names) for o in (digits.train, digits.test)]
    learn = ImageLearner(image_dls(*named, bs=64, norm=(.3, .35), **kw), net(), F.cross_entropy, torch_opt('adam'),
        lr=.01, metrics=accuracy, bar=False)
    with learn.no_logging(): learn.fit(2)
    return learn

@pytest.fixture(scope='module')
def fitted(): return trained()

def test_predictions_are_the_nets_own(fitted):
    x = digits.test.x[:9]
    with torch.no_grad(): want = fitted.model.eval()((x.float()/255-.3)/.35).softmax(1)
    for i,o in enumerate(x):
        for image in (o, o[0], o.numpy(), o.float()/255, Image.fromarray(o[0].numpy())):
            name,k,p = fitted.predict(image)
            assert torch.allclose(p, want[i], atol=1e-5) and name==names[int(p.argmax())] and k==p.argmax()
    p,y,d = fitted.get_preds(dl=fitted.dls.test_dl(list(x)), with_decoded=True)
    assert y is None and torch.allclose(p, want, atol=1e-5) and torch.equal(d, want.argmax(1))
    assert torch.allclose(fitted.predict(x[0], with_input=True)[0], x[0].float()/255, atol=1e-6)

def test_an_image_of_another_shape_is_refused_in_one_line(fitted):
    for image in (torch.zeros(3, 8, 8), torch.zeros(9, 8), np.zeros((8, 8, 3), dtype='uint8')):
        with pytest.raises(DataError, match='the loader is for 1x8x8'): fitted.predict(image)

def test_interpretation_counts_what_was_confused(fitted, capsys):
    seen = ClassificationInterpretation.from_learner(fitted)
    p,y = fitted.get_preds()
    counts = seen.confusion_matrix()
    assert np.array_equal(counts, confusion_matrix(y, p.argmax(1))) and list(seen.vocab)==names
    losses,idx = seen.top_losses(3)
    assert torch.allclose(losses, F.cross_entropy(p.log(), y, reduction='none').topk(3)[0], atol=1e-4)
    assert torch.equal(seen.top_losses(3, items=True)[2].x, digits.test.x[idx])
    assert seen.most_confused()[0][2]==(counts-np.diag(np.diag(counts))).max()
    seen.plot_confusion_matrix(); seen.plot_top_losses(3); seen.show_results([0, 1, 2]); fitted.show_results(max_n=3)
    seen.print_classification_report()
    assert 'digit 3' in capsys.readouterr().out
    plt.close('all')

def test_an_exported_learner_answers_as_before(fitted, tmp_path):
    fitted.path = tmp_path
    fitted.export('net.pkl')
    assert len(fitted.dls.train.dataset)==len(digits.train)  # the learner itself keeps its images
    with pytest.warns(UserWarning, match='insecure'): again = load_learner(tmp_path/'net.pkl')
    for x in digits.test.x[:5]: assert torch.equal(fitted.predict(x)[2], again.predict(x)[2])
    assert (tmp_path/'net.pkl').stat().st_size<100_000 and list(again.dls.vocab)==names

def test_an_autoencoder_predicts_its_reconstruction(tmp_path):
    enc = ConvEncoder(dict(c1=ConvStage(nn.Conv2d(1, 4, 3, padding=1))))
    ae = Autoencoder(enc, TiedDecoder(enc))
    learn = ImageLearner(image_dls(digits.unlabelled.take(range(64)), digits.unlabelled.take(range(64, 96)), bs=16,
        target='x'), ae, ReconLoss(), bar=False, path=tmp_path)
    learn.export('ae.pkl')
    with pytest.warns(UserWarning, match='insecure'): again = load_learner(tmp_path/'ae.pkl')
    x = digits.test.x[0]
    with torch.no_grad(): want = ae.eval().reconstruct(x[None].float()/255)[0]
    assert torch.allclose(learn.predict(x)[0], want, atol=1e-6) and torch.allclose(again.predict(x)[0], want, atol=1e-6)
