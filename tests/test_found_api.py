"""The library in Python, as a hostile reader found it: modules that stand twice, classes that are numbered otherwise,
surroundings."""
import sys
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from torch import nn
from aepretrain_nb.compare import compare
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.loader import image_dls
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.own import own_images
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.alone import pretrain
from aepretrain_nb.experiment.build import build_autoencoder
from aepretrain_nb.experiment.carry import KNOWN
from aepretrain_nb.experiment.chosen import with_encoder
from aepretrain_nb.experiment.fitted import fitted, read_images
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.plan import Do
from aepretrain_nb.nets.autoencoder import Autoencoder
from aepretrain_nb.nets.decoders import decoder_of
from aepretrain_nb.nets.encoder import ConvEncoder, ConvStage, Staged, feature_sizes, levels
from aepretrain_nb.nets.layers import monotone
from aepretrain_nb.nets.staged import StagedAE
from aepretrain_nb.train.callbacks import BestWeightsCB, PatienceCB
from aepretrain_nb.train.learner import ImageLearner
from aepretrain_nb.train.probe import ProbeError, linear_probe, probe
from aepretrain_nb.train.schedule import Phase, run_schedule, stacked
from aepretrain_nb.train.transfer import TransferError, load_encoder, save_encoder
from test_found import tiny
from test_kept import BRIEF

digits = dataset('digits')

# Nets

def twice():
    "A net in which a convolution and its norm stand twice"
    conv,norm = nn.Conv2d(8, 8, 3, padding=1),nn.BatchNorm2d(8)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), conv, norm, nn.ReLU(), conv, norm)

def test_looking_at_a_net_leaves_modules_that_stand_twice_as_they_are():
    net = twice()
    before = {k: v.clone() for k,v in net.state_dict().items()}
    assert list(feature_sizes(net, 1, 8, 8).values())==[(8, 8, 8)]*6
    after = net.state_dict()
    assert list(before)==list(after) and all(v.equal(after[k]) for k,v in before.items())

def pooled(shared):
    pools = [nn.MaxPool2d(2)]*2 if shared else [nn.MaxPool2d(2), nn.MaxPool2d(2)]
    def block(a, b): return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU())
    torch.manual_seed(0)
    return Staged(dict(a=block(1, 8), p=pools[0], b=block(8, 16), q=pools[1]))

def test_a_pool_that_is_used_twice_is_two_stages():
    assert levels(pooled(True), 1, 16, 16)==levels(pooled(False), 1, 16, 16)==[(1, 16, 16), (8, 16, 16), (8, 8, 8),
        (16, 8, 8), (16, 4, 4)]
    nets = [Autoencoder(o, decoder_of('mirror')(o, 1, 16, 16, gen=torch.Generator().manual_seed(0)))
        for o in map(pooled, (True, False))]
    x = torch.rand(2, 1, 16, 16)
    assert nets[0](x).equal(nets[1](x))

def test_a_leaky_relu_that_turns_is_not_monotone():
    assert [monotone(nn.LeakyReLU(s)) for s in (.1, 0., -1.)]==[True, True, False]

def test_a_schedule_that_cannot_be_ends_before_anything_is_trained():
    ae = StagedAE(ConvEncoder({f'conv{a}': ConvStage(nn.Conv2d(a, 4, 3, padding=1)) for a in (1, 4)}), (1, 8, 8))
    before,(low,high) = {k: v.clone() for k,v in ae.state_dict().items()},ae.names
    dls = image_dls(ImageSet(torch.rand(20, 1, 8, 8)), ImageSet(torch.rand(10, 1, 8, 8)), bs=10, target='x')
    bad = Phase('bad', (low,), high, 3, noise=low, target=low)
    with pytest.raises(ValueError, match='cannot learn'): run_schedule(ae, [*stacked(ae.names, 3, 3)[:1], bad], dls)
    assert all(v.equal(ae.state_dict()[k]) for k,v in before.items()) and all(p.requires_grad for p in ae.parameters())

def test_fastai_may_ask_for_training_metrics():
    learn = ImageLearner(image_dls(digits.train.take(range(100)), digits.test.take(range(50)), bs=50),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), loss_func=nn.CrossEntropyLoss())
    learn.recorder.train_metrics = True
    with learn.no_logging(), learn.no_bar(): learn.fit(1)
    assert np.isfinite(list(learn.recorder.values[0])).all()

# Classes

def test_classes_of_two_sets_are_matched_by_name_or_refused():
    x = torch.rand(6, 1, 8, 8)
    train,valid = ImageSet(x, ['cat', 'dog', 'eel']*2),ImageSet(x[1:2], ['dog'])
    assert image_dls(train, valid).valid.one_batch()[1].tolist()==[1]
    fox = ImageSet(x[:2], ['fox', 'dog'])
    for ask in (lambda: image_dls(train, fox), lambda: probe(nn.Flatten(), (train, fox), 'linear', 'input', labels=6)):
        with pytest.raises(DataError, match="class 'fox' is none of those to learn from"): ask()
    numbers = ImageSet(x, torch.arange(6)),ImageSet(x, torch.arange(6)+4)
    # a head may have more classes than few images show
    assert image_dls(*numbers).valid.one_batch()[1].tolist()==[4, 5, 6, 7, 8, 9]

def test_a_column_of_numbers_with_gaps_holds_whole_classes(tmp_path):
    for i in range(40): Image.fromarray(digits.train.x[i, 0].numpy()*15).save(tmp_path/f'{i}.png')
    labels = [float(i%12) if i%3 else np.nan for i in range(40)]
    frame = pd.DataFrame(dict(file=[f'{i}.png' for i in range(40)], label=labels))
    classes = own_images(frame, root=tmp_path, cache=False).train.classes
    assert classes==sorted({str(int(v)) for v in labels if v==v}, key=int)

def test_a_probe_refuses_rows_without_a_label():
    x,y = np.array([[0.], [1.], [5.]]*5),np.array([-1, 0, 1]*5)
    with pytest.raises(ProbeError, match='class number -1'): linear_probe(x, y, x[:3], lams=.001)

# Steps

def bare(step, splits, weights=(), device='cpu'): return build_autoencoder(step, splits, weights),{}
BARE = Do(f'{__name__}:bare', 'aepretrain_nb.experiment.build:build_autoencoder', 'pretrain', 'images',
    ('encoder', 'decoder'))

def test_a_step_of_ones_own_that_lacks_a_key_is_found_before_anything_runs(tmp_path):
    own = BRIEF | dict(arms=BRIEF['arms'] | dict(bare=dict(steps=[f'{__name__}:BARE', 'classify'])))
    with pytest.raises(ExperimentError, match=f'gives no steps: what it tells of a net has {", ".join(KNOWN)}'):
        compare(digits, ['bare', 'random'], [50], 1, recipe=own, store=tmp_path/'s', progress=False)
    assert not (tmp_path/'s'/'steps').exists()

@pytest.mark.parametrize('around', [lambda: torch.autocast('cpu', torch.bfloat16), torch.no_grad, torch.inference_mode])
def test_a_step_does_the_same_in_whatever_surroundings(around):
    def rows():
        return compare(digits, ['pretrained', 'random'], [50], 1, recipe=tiny(), progress=False).rows.value.tolist()
    plain = rows()
    with around(): assert rows()==plain

def test_keywords_that_nothing_reads_are_refused():
    with pytest.raises(ExperimentError, match='size is for reading images'): pretrain(digits, setting='smoke', size=16)

def test_an_encoder_that_is_no_name_is_refused_in_one_line():
    for other in (lambda c, h, w: None, nn.Conv2d(1, 2, 3), {}):
        with pytest.raises(ExperimentError, match='its name, or a section with make'): with_encoder(tiny(), other)
        with pytest.raises(ExperimentError): compare(digits, ['random'], [50], 1, recipe=tiny(), encoder=other)

def test_folders_to_take_over_from_may_be_one(tmp_path):
    asked = dict(labels=[50], seeds=1, recipe=BRIEF, progress=False)
    first = compare(digits, ['random'], store=tmp_path/'a', **asked)
    for one in (tmp_path/'a', str(tmp_path/'a')):
        assert compare(digits, ['random'], reuse=one, **asked).rows.seconds.equals(first.rows.seconds)

def test_rates_may_be_an_array():
    rows = compare(digits, ['random'], [50], 1, recipe=tiny(), lr=np.array([.01, .02]), tune='first',
        progress=False).rows
    assert rows.lr.isin([.01, .02]).all()

# Files

def test_trust_is_by_whole_names(tmp_path):
    gone = tmp_path/'made'
    save_encoder(tmp_path/'e.safetensors', nn.Linear(1, 1), dict(factory='os:makedirs', kwargs=dict(name=str(gone))))
    with pytest.raises(TransferError, match='not in aepretrain_nb, mycosmos'):
        load_encoder(tmp_path/'e.safetensors', trust='mycosmos')
    assert not gone.exists()

def test_an_encoder_of_ones_own_comes_back_where_its_package_is_trusted(tmp_path, monkeypatch):
    (tmp_path/'mine.py').write_text('from aepretrain_nb.nets.residual import residual_encoder\n')
    monkeypatch.syspath_prepend(tmp_path)
    short = tiny(encoder=dict(make='mine:residual_encoder'))
    file = pretrain(digits, recipe=short).save(tmp_path/'e.safetensors')
    with pytest.raises((TransferError, ExperimentError), match='mine'): load_encoder(file)
    assert sum(p.numel() for p in load_encoder(file, trust='mine')[0].parameters())>0
    del sys.modules['mine']

def test_what_a_classifier_is_given(tmp_path):
    thin = ImageSet(torch.rand(60, 5, 16, 1), torch.arange(60)%3, layout='nchw')
    res = compare(Splits('thin', thin, thin.take(range(30))), ['random'], [30], 1, recipe=BRIEF, store=tmp_path/'s',
        progress=False)
    assert len(fitted(res.folder).predict(thin))==60
    with pytest.raises(DataError, match='no images'): read_images(digits.test.x[:0], (1, 8, 8))
    with pytest.raises(DataError, match='take its pixels|ImageSet'):
        own_images(dict(train=digits.train, test=digits.test))

# What is asked wrongly

@pytest.mark.parametrize('asked, said',
    [(dict(margin='a'), "margin is 'a': a number above 0"), (dict(recipe=3), 'recipe is 3: its name'),
    (dict(method=3), 'method is 3: a name of plain'), (dict(method=[]), 'at least one')])
def test_a_comparison_that_is_asked_wrongly(asked, said):
    with pytest.raises(ValueError, match=said): compare(digits, ['random'], [50], 1, **dict(recipe=tiny()) | asked)

def test_a_probe_that_is_asked_wrongly():
    for data in ('digits', (1, 2, 3), ((digits.train.x, digits.train.y),)*2):
        with pytest.raises(ProbeError, match='a pair of `ImageSet`'): probe(nn.Flatten(), data)
    with pytest.raises(ProbeError, match="labels are 'all'"): probe(nn.Flatten(), digits, labels='all')

@pytest.mark.parametrize('cb, said', [(PatienceCB('acc', 'max', 2), "nothing called 'acc' is recorded"),
    (BestWeightsCB('acc'), "nothing called 'acc' is recorded"), (BestWeightsCB(), 'there are no validation images')])
def test_callbacks_name_what_is_not_recorded(cb, said):
    dls = image_dls(digits.train.take(range(100)), None if 'no validation' in said else digits.test.take(range(50)),
        bs=50)
    learn = ImageLearner(dls, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), loss_func=nn.CrossEntropyLoss(), cbs=cb)
    with learn.no_logging(), learn.no_bar(), pytest.raises(ValueError, match=said): learn.fit(1)
