"Transfer: what would spoil the story of nbs/train/02_transfer.ipynb"
import pickle, os
from pathlib import Path
from collections import OrderedDict
import pytest, torch
from torch import nn
from safetensors.torch import load_file, save_file
from fastai.callback.schedule import *
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from aepretrain_nb.nets.autoencoder import Autoencoder, MirrorDecoder, TiedDecoder
from aepretrain_nb.nets.encoder import ConvEncoder, ConvStage
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.loader import image_dls
from aepretrain_nb.nets.layers import init_
from aepretrain_nb.train.transfer import (Classifier, TransferError, copy_weights, fc_head, features, freeze,
    load_encoder, prefixes_of, read_weights,
    save_encoder, unfreeze)
from torchvision.models import resnet18

def bn_encoder(seed=0, nf=4):
    m = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, nf, 3, padding=1), bn=nn.BatchNorm2d(nf), act=nn.ReLU(),
        drop=nn.Dropout(.3), pool=nn.MaxPool2d(2)))
    init_(m, dict(dist='normal', std=.3), generator('test', seed))
    for b in (m.bn.running_mean, m.bn.running_var): b.add_(torch.rand(nf, generator=generator('bn', seed)))
    return m

def stages(c=1):
    return OrderedDict(a=ConvStage(nn.Conv2d(c, 6, 3, padding=1)),
        b=ConvStage(nn.Conv2d(6, 5, 3, padding=1, stride=2), pool='stride'))

def tied(seed=0):
    enc = init_(ConvEncoder(stages()), dict(dist='normal', std=.3), generator('tied', seed))
    return Autoencoder(enc, TiedDecoder(enc))

def state(m): return {k: v.clone() for k,v in m.state_dict().items()}
def same(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def one_line(e): return '\n' not in str(e.value)

# Copying

def test_everything_arrives_buffers_included():
    src,dst = bn_encoder(0),bn_encoder(1)
    rep = copy_weights(src, dst)
    assert same(state(src), state(dst)) and rep.copied.all() and 'bn.running_var' in set(rep.name)
    assert src.conv.weight.data_ptr()!=dst.conv.weight.data_ptr()

@pytest.mark.parametrize('name', list(bn_encoder().state_dict()))
@pytest.mark.parametrize('how', ['missing','shape','dtype','nan'])
def test_any_tensor_that_does_not_fit_is_named_and_nothing_is_written(name, how):
    src,dst = state(bn_encoder(0)),bn_encoder(1)
    t = src.pop(name)
    if how in ('nan','missing') and not t.is_floating_point(): return
    if how!='missing':
        src[name] = dict(shape=t[None], dtype=t.to(torch.float64 if t.is_floating_point() else torch.int32),
            nan=t*float('nan'))[how]
    before = state(dst)
    with pytest.raises(TransferError, match=name) as e: copy_weights(src, dst)
    assert one_line(e) and same(state(dst), before)
    if how!='missing':
        with pytest.raises(TransferError, match=name): copy_weights(src, dst, strict=False)

def test_matching_nothing_raises():
    for kw in (dict(strict=False), dict(names='encodr.')):
        with pytest.raises(TransferError) as e: copy_weights({'x': torch.zeros(1)}, bn_encoder(), **kw)
        assert one_line(e)
    with pytest.raises(TransferError, match='no tensor of the receiver'): copy_weights(bn_encoder(), nn.ReLU())

def test_decoders_may_stay_behind():
    ae,enc = tied(0),tied(1).encoder
    copy_weights(ae, enc, names='encoder.')
    assert same(state(enc), state(ae.encoder))

def test_copies_that_do_not_stick_are_noticed():
    class Odd(nn.Linear):
        def state_dict(self, *a, **kw): return {k: v.clone() for k,v in super().state_dict(*a, **kw).items()}
    with pytest.raises(TransferError, match='does not hold what was copied'): copy_weights(nn.Linear(3,2), Odd(3,2))

def named(*names): return {k: torch.full((2,), float(i)) for i,k in enumerate(names, 1)}

class Slots(nn.Module):
    "A module with zeros of these names"
    def __init__(self, *names):
        super().__init__()
        for k in names:
            *path,last = k.split('.')
            m = self
            for p in path:
                if not hasattr(m, p): m.add_module(p, nn.Module())
                m = getattr(m, p)
            m.register_buffer(last, torch.zeros(2))

def test_the_longest_prefix_wins_and_what_is_not_covered_stays():
    dst = Slots('stem.w','body.0.w','body.1.w','head.w')
    rep = copy_weights(named('conv.w','layer.0.w','layer.1.w','fc.w'), dst,
        {'': 'stem.', 'conv.': 'stem.', 'layer.': 'body.', 'layer.1.': 'body.1.'})
    assert {k: v[0].item() for k,v in dst.state_dict().items()}=={'stem.w': 1, 'body.0.w': 2, 'body.1.w': 3,
        'head.w': 0}
    assert rep.set_index('name').source.to_dict()=={'stem.w': 'conv.w', 'body.0.w': 'layer.0.w',
        'body.1.w': 'layer.1.w', 'head.w': ''}

@pytest.mark.parametrize('names, strict, words', [
    ({'layr.': 'body.'}, True, "no name in the source begins with 'layr.'; names begin with conv., fc., layer."),
    ({'layr.': 'body.'}, False, "no name in the source begins with 'layr.'"),
    ({'layer.': 'bdy.'}, True, "no name in the receiver begins with 'bdy.'; names begin with body., head., stem."),
    ({'conv.': 'body.0.', 'layer.': 'body.'}, True, 'conv.w and layer.0.w of the source would both be body.0.w'),
    ({'layer.': ''}, True,
    'stem.w (2) is not in the source (layer.stem.w), and 3 more; the nearest name there is layer.'),
    ({'fc.': 'body.'}, True, 'body.0.w (2) is not in the source (fc.0.w), and 1 more; the nearest name there is fc.w'),
    ({'fc.': 'body.'}, False, 'no tensor of the receiver is in the source')])
def test_a_wrong_map_is_named_and_writes_nothing(names, strict, words):
    dst = Slots('stem.w','body.0.w','body.1.w','head.w')
    with pytest.raises(TransferError) as e:
        copy_weights(named('conv.w','layer.0.w','layer.1.w','fc.w'), dst, names, strict)
    assert words in str(e.value) and one_line(e) and all(not v.any() for v in dst.state_dict().values())

def test_a_source_that_never_counted_batches_fits_and_one_that_lost_a_count_does_not():
    src,dst = nn.Sequential(bn_encoder(0), bn_encoder(1)),nn.Sequential(bn_encoder(2), bn_encoder(3))
    whole = state(src)
    old = {k: v for k,v in whole.items() if not k.endswith('num_batches_tracked')}
    rep = copy_weights(old, dst)
    assert rep[~rep.copied].name.tolist()==['0.bn.num_batches_tracked','1.bn.num_batches_tracked']
    assert torch.equal(dst[1].bn.running_var, src[1].bn.running_var)
    del whole['0.bn.num_batches_tracked']
    with pytest.raises(TransferError, match='0.bn.num_batches_tracked'): copy_weights(whole, dst)

# Files of other makers

def resnet_stages(net):
    "The trunk of a resnet under names of our own"
    stem = nn.Sequential(OrderedDict(conv1=net.conv1, bn1=net.bn1, act=net.relu, pool=net.maxpool))
    return nn.ModuleDict(dict(stages=nn.ModuleDict(dict(stem=stem, one=net.layer1, two=net.layer2, three=net.layer3,
        four=net.layer4))))

RESNET = {'conv1.': 'stages.stem.conv1.', 'bn1.': 'stages.stem.bn1.', 'layer1.': 'stages.one.',
    'layer2.': 'stages.two.', 'layer3.': 'stages.three.', 'layer4.': 'stages.four.'}

def run(enc, x):
    for stage in enc['stages'].values(): x = stage(x)
    return x

@pytest.mark.parametrize('end', ['.pth','.pt','.bin','.safetensors'])
def test_a_torchvision_file_fills_an_encoder(end, tmp_path):
    torch.manual_seed(0)
    net,enc,f = resnet18(num_classes=4),resnet_stages(resnet18()),tmp_path/f'resnet18{end}'
    (save_file if end=='.safetensors' else torch.save)(net.state_dict(), f)
    weights,recipe = read_weights(f)
    rep = copy_weights(weights, enc, RESNET)
    assert recipe=={} and rep.copied.all() and len(rep)==120
    x = torch.rand(2,3,32,32, generator=generator('x'))
    want = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3,
        net.layer4).eval()(x)
    assert torch.equal(run(enc.eval(), x), want)
    with pytest.raises(TransferError,
        match=r'stages.two.0.conv1.weight is 256x128x3x3 in the source \(layer3.0.conv1.weight\) and 128x64x3x3 in the '
        r'receiver'):
        copy_weights(weights, enc, {'layer3.': 'stages.two.'})

def test_a_timm_file_fills_an_encoder(tmp_path):
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    net,f = timm.create_model('resnet18', pretrained=False, num_classes=4),tmp_path/'model.safetensors'
    save_file(net.state_dict(), f)
    enc = resnet_stages(resnet18())
    assert copy_weights(read_weights(f)[0], enc, RESNET).copied.all()
    assert torch.equal(enc['stages']['four'][1].bn2.weight, net.layer4[1].bn2.weight)

@pytest.mark.parametrize('wrap', [lambda d: d, lambda d: dict(state_dict=d, epoch=3),
    lambda d: dict(model=d, optimizer=dict(a=1)), lambda d: dict(teacher=d),
                                  lambda d: dict(state_dict=d, ema=d)])
def test_wrapped_weights_are_found(wrap, tmp_path):
    torch.save(wrap(state(bn_encoder())), tmp_path/'x.pth')
    assert same(read_weights(tmp_path/'x.pth')[0], state(bn_encoder()))

class Evil:
    def __reduce__(self): return os.mkdir, ('pwned',)

@pytest.mark.parametrize('what, words',
    [(Evil(), 'not a file of weights alone'), (bn_encoder(), 'not a file of weights alone'),
    (dict(a=named('x'), b=named('y')), 'found a, b'),
                                         (3, 'found int'), ({}, 'found dict')])
def test_a_pickle_runs_nothing_and_is_refused_in_a_line(what, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(what, 'x.pth')
    with pytest.raises(TransferError, match=words) as e: read_weights(tmp_path/'x.pth')
    assert one_line(e) and not Path('pwned').exists()

@pytest.mark.parametrize('content', [b'', b'hello there', b'PK\x03\x04 cut'])
def test_no_pickle_at_all(content, tmp_path):
    (tmp_path/'x.pt').write_bytes(content)
    with pytest.raises(TransferError, match='not a file of weights alone') as e: read_weights(tmp_path/'x.pt')
    assert one_line(e)

def test_prefixes_of_modules_states_and_files(tmp_path):
    torch.save(resnet18().state_dict(), tmp_path/'x.pth')
    one,two = prefixes_of(tmp_path/'x.pth'),prefixes_of(resnet18(), depth=2)
    assert one.prefix.tolist()==['conv1.','bn1.','layer1.','layer2.','layer3.','layer4.','fc.']
    assert one.tensors.sum()==122
    assert two.prefix.tolist()[2:4]==['layer1.0.','layer1.1.'] and one.numbers.sum()==two.numbers.sum()
    assert prefixes_of(named('w'))[['prefix','tensors','numbers']].values.tolist()==[['',1,2]]

# Heads

@pytest.mark.parametrize('hidden,n', [(None,2),(7,4)])
def test_heads(hidden, n):
    h = fc_head((3,4,2), 5, hidden, gen=generator('h'), init=dict(dist='normal', std=.1, bias=.5))
    assert h(torch.zeros(2,3,4,2)).shape==(2,5) and len(list(h.parameters()))==n and (h.out.bias==.5).all()

# Frozen

def frozen_fit(act, **kw):
    x = torch.randint(0, 256, (64,1,8,8), generator=generator('x')).to(torch.uint8)
    ds = ImageSet(x, torch.arange(64)%4)
    clf = Classifier(freeze(bn_encoder()), fc_head((4,4,4), 4, gen=generator('head')))
    before = state(clf)
    learn = Learner(image_dls(ds, ds, bs=16), clf, loss_func=CrossEntropyLossFlat(), wd=.1, **kw)
    with learn.no_bar(), learn.no_logging(): act(learn)
    return before,state(clf)

def unfreeze_fit(learn): learn.unfreeze(); learn.fit(2, .1)
def freeze_fit(learn): learn.freeze(); learn.fit(2, .1)

@pytest.mark.parametrize('train_bn', [True,False])
@pytest.mark.parametrize('act', [lambda l: l.fit(2, .1), lambda l: l.fit_one_cycle(2, .1), lambda l: l.fine_tune(1, .1),
    freeze_fit, unfreeze_fit])
def test_frozen_stays_to_the_byte(act, train_bn):
    before,after = frozen_fit(act, train_bn=train_bn)
    for k in before: assert torch.equal(before[k], after[k])==k.startswith('encoder'), k

def test_a_frozen_part_gives_the_same_features_in_training():
    clf = Classifier(freeze(bn_encoder()), fc_head((4,4,4), 4)).train()
    x = torch.rand(5,1,8,8, generator=generator('x'))
    assert torch.equal(clf.encoder(x), clf.encoder(x)) and not any(m.training for m in clf.encoder.modules())

def test_frozen_survives_copy_and_pickle_and_ends_with_unfreeze():
    enc = freeze(bn_encoder())
    for twin in (pickle.loads(pickle.dumps(enc)), pickle.loads(pickle.dumps(nn.Sequential(enc)))[0]):
        assert not twin.train().bn.training and twin.train() is twin
    holder = nn.Sequential(enc); unfreeze(holder)
    assert all(m.training for m in holder.modules()) and all(p.requires_grad for p in enc.parameters())
    assert not any(m.training for m in holder.eval().modules())

def test_part_of_an_encoder_can_be_frozen():
    enc = bn_encoder(); freeze(enc.bn); enc.train()
    assert enc.drop.training and not enc.bn.training and enc.conv.weight.requires_grad
    assert not enc.bn.weight.requires_grad

# Features

def images(n, c=1):
    return ImageSet(torch.randint(0, 256, (n,c,8,8), generator=generator('features', n)).to(torch.uint8))

@pytest.mark.parametrize('make', [bn_encoder, lambda: tied().encoder, lambda: freeze(bn_encoder()),
    lambda: Classifier(freeze(bn_encoder()), nn.Flatten()).train()])
def test_features_leave_no_trace(make):
    net = make(); before,flags = state(net),[m.training for m in net.modules()]
    grads = [p.requires_grad for p in net.parameters()]
    features(net, images(20), bs=6)
    assert same(before, state(net)) and flags==[m.training for m in net.modules()]
    assert grads==[p.requires_grad for p in net.parameters()]

@pytest.mark.parametrize('norm', [None, (.3,.2), ([.3],[.2])])
@pytest.mark.parametrize('n,bs', [(1,1), (1,1000), (20,1), (20,6), (20,20), (20,1000)])
def test_features_are_those_of_one_pass(norm, n, bs):
    net,ds = bn_encoder().train(),images(n)
    x = ds.x/255. if norm is None else (ds.x/255.-.3)/.2
    f = features(net, ds, norm=norm, bs=bs)
    # rounding: sums may be ordered by batch size
    with torch.no_grad(): torch.testing.assert_close(f, net.eval()(x).flatten(1), atol=1e-5, rtol=1e-5)
    assert f.dtype==torch.float32 and f.is_contiguous() and not f.requires_grad

def test_features_need_no_labels_and_serve_training():
    ds,net = images(20),bn_encoder()
    other = ImageSet(ds.x, torch.arange(20)%3)
    f = features(net, ds)
    assert torch.equal(f, features(net, other))
    nn.Linear(f.shape[1], 3)(f).sum().backward()

def test_features_of_other_results():
    ds = images(5)
    assert features(lambda_(lambda x: x.mean((1,2,3))), ds).shape==(5,1)
    assert features(nn.Flatten().double(), ds).dtype==torch.float32
    for net,msg in ((lambda_(lambda x: (x,x)), 'gives a tuple'),
        (lambda_(lambda x: x[:1]), 'gives 1 rows for 5 images')):
        with pytest.raises(TransferError, match=msg) as e: features(net, ds)
        assert one_line(e)
    with pytest.raises(TransferError, match='no images'): features(nn.Flatten(), ds.take([]))

class lambda_(nn.Module):
    def __init__(self, f): super().__init__(); self.f = f
    def forward(self, x): return self.f(x)

def test_flags_are_put_back_after_an_error():
    net = Classifier(freeze(bn_encoder()), nn.Linear(3,3)).train(); flags = [m.training for m in net.modules()]
    with pytest.raises(RuntimeError): features(net, images(5))
    assert flags==[m.training for m in net.modules()] and torch.is_grad_enabled()

# To disk and back

@pytest.mark.parametrize('make', [bn_encoder, tied, lambda seed=0: tied(seed).encoder,
    lambda seed=0: bn_encoder(seed).to(memory_format=torch.channels_last),
                                  lambda seed=0: bn_encoder(seed).bfloat16()])
def test_round_trip(make, tmp_path):
    m,recipe = make(0),dict(arm='denoising', sizes=[3,2], lr=.1, note='é')
    f = save_encoder(tmp_path/'deep/er/x.safetensors', m, recipe)
    back,r = load_encoder(f, lambda r: make(1))
    assert same(state(m), state(back)) and r==recipe
    assert load_encoder(f, make(2))[1]==recipe
    assert [o.name for o in f.parent.iterdir()]==['x.safetensors']
    assert save_encoder(tmp_path/'y.safetensors', m, recipe).read_bytes()==f.read_bytes()

def test_a_tied_autoencoder_reconstructs_the_same_after_a_round_trip(tmp_path):
    ae,x = tied(),torch.rand(2,1,9,7, generator=generator('x'))
    assert len(load_file(save_encoder(tmp_path/'a.safetensors', ae, {})))==len(list(ae.parameters()))
    assert torch.equal(load_encoder(tmp_path/'a.safetensors', tied(1))[0](x), ae(x))

def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    f = save_encoder(tmp_path/'x.safetensors', bn_encoder(0), dict(i=0)); old = f.read_bytes()
    def stop(a, b): raise KeyboardInterrupt
    monkeypatch.setattr(os, 'replace', stop)
    with pytest.raises(KeyboardInterrupt): save_encoder(f, bn_encoder(1), dict(i=1))
    assert f.read_bytes()==old and len(list(tmp_path.iterdir()))==1

def test_a_weight_registered_twice_is_refused(tmp_path):
    a,b = nn.Linear(3,3),nn.Linear(3,3); b.weight = a.weight
    with pytest.raises(TransferError, match='two names for one tensor') as e:
        save_encoder(tmp_path/'x', nn.Sequential(a,b), {})
    assert one_line(e) and not list(tmp_path.iterdir())

def bad_files(tmp_path):
    f = save_encoder(tmp_path/'good', bn_encoder(), {}); b = f.read_bytes()
    for name,content in dict(empty=b'', text=b'hello there, no weights', cut=b[:-20], pickle=pickle.dumps([1])).items():
        (tmp_path/name).write_bytes(content)
    save_file({'x': torch.zeros(1)}, tmp_path/'recipe', {'recipe': '{not json'})

@pytest.mark.parametrize('name,msg', [('empty','not a safetensors'), ('text','not a safetensors'),
    ('cut','not a safetensors'), ('pickle','not a safetensors'),
                                      ('recipe','not JSON'), ('none','no weight file'), ('.','no weight file')])
def test_not_a_weight_file(name, msg, tmp_path):
    bad_files(tmp_path)
    with pytest.raises(TransferError, match=msg) as e: load_encoder(tmp_path/name, bn_encoder())
    assert one_line(e)

def test_another_architecture_is_named(tmp_path):
    f = save_encoder(tmp_path/'x', bn_encoder(), {})
    for other,msg in ((bn_encoder(nf=8), 'conv.weight is 4x1x3x3'),
        (tied().encoder, 'bn.bias, which the encoder has not'),
        (nn.Sequential(bn_encoder(), nn.Linear(2,2)), 'has not')):
        before = state(other)
        with pytest.raises(TransferError, match=msg) as e: load_encoder(f, other)
        assert one_line(e) and same(before, state(other))

@pytest.mark.parametrize('factory,msg',
    [('os:system','is not in aepretrain_nb'), ('builtins:eval','is not in'),
    ('aepretrain_nb.imports:partial','not defined in'),
    ('aepretrain_nb.train.transfer:nothing','cannot be imported'), ('aepretrain_nb.nowhere:f','cannot be imported'),
    ('aepretrain_nb_evil:f','is not in'), ('','is not in')])
def test_a_file_cannot_call_what_it_likes(factory, msg, tmp_path):
    f = save_encoder(tmp_path/'x', bn_encoder(), dict(factory=factory, kwargs=dict(command='touch pwned')))
    with pytest.raises(TransferError, match=msg) as e: load_encoder(f)
    assert one_line(e)

def test_a_trusted_factory(tmp_path):
    f = save_encoder(tmp_path/'x', nn.Linear(3,2),
        dict(factory='torch.nn:Linear', kwargs=dict(in_features=3, out_features=2)))
    assert isinstance(load_encoder(f, trust='torch')[0], nn.Linear)
