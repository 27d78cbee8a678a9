"Properties of encoders, decoders and losses over heights, widths, channels and ways to shrink."
from aepretrain_nb.imports import *
import pytest
from hypothesis import given, settings, strategies as st
from safetensors.torch import save, load
from aepretrain_nb.nets.encoder import *
from aepretrain_nb.nets.autoencoder import *
from aepretrain_nb.nets.loss import *
from aepretrain_nb.nets.layers import ACTS
from aepretrain_nb.nets.upsampling import SwitchUnpool

few = settings(max_examples=60, deadline=None)
pools = st.lists(st.sampled_from(['max','stride',None]), min_size=1, max_size=4)
sizes = st.one_of(st.integers(1, 40), st.sampled_from([65,68]))

def encoder(c, pools, ks=3, act='scaled_tanh', norm=False, nf=3):
    nfs = [c] + [nf+i for i in range(len(pools))]
    mk = lambda i,p: ConvStage(nn.Conv2d(nfs[i], nfs[i+1], ks, 2 if p=='stride' else 1, ks//2), act, p,
        norm=nn.BatchNorm2d(nfs[i+1]) if norm else None)
    return ConvEncoder(OrderedDict((f'conv{i+1}', mk(i,p)) for i,p in enumerate(pools)))

@few
@given(c=st.integers(1,4), h=sizes, w=sizes, pools=pools, ks=st.sampled_from([1,3,5]), tied=st.booleans(),
    norm=st.booleans())
def test_reconstruction_has_the_inputs_size(c, h, w, pools, ks, tied, norm):
    enc = encoder(c, pools, ks, norm=norm)
    ae = Autoencoder(enc, (TiedDecoder if tied else MirrorDecoder)(enc))
    assert ae(torch.rand(2,c,h,w)).shape==(2,c,h,w)

@few
@given(c=st.integers(1,4), h=sizes, w=sizes, pools=pools, norm=st.booleans())
def test_feature_sizes_are_the_real_ones(c, h, w, pools, norm):
    enc = encoder(c, pools, norm=norm)
    before = {k: t.clone() for k,t in enc.state_dict().items()}
    got = feature_sizes(enc, c, h, w)
    assert all(torch.equal(before[k], t) for k,t in enc.state_dict().items())
    code = enc.encode(torch.rand(2,c,h,w), taps=tuple(enc.stages))
    assert got=={n: tuple(t.shape[1:]) for n,t in code.taps.items()}
    assert list(code.sizes.values())==[(h,w)] + [s[1:] for s in got.values()][:-1]

@few
@given(h=sizes, w=sizes, pools=pools, at=st.integers(0,3))
def test_cut_at_any_stage(h, w, pools, at):
    enc,x = encoder(2, pools),torch.rand(2,2,h,w)
    name = list(enc.stages)[min(at, len(pools)-1)]
    low = enc.cut(name)
    assert torch.equal(low(x), enc.encode(x, taps=[name]).taps[name])
    assert not {p.data_ptr() for p in low.parameters()} & {p.data_ptr() for p in enc.parameters()}
    assert Autoencoder(low, TiedDecoder(low))(x).shape==x.shape

@pytest.mark.parametrize('act', ACTS)
@pytest.mark.parametrize('size', [(8,8), (7,9), (1,5)])
def test_pooling_first_changes_nothing(act, size):
    s = ConvStage(nn.Conv2d(1,5,3,padding=1), act)
    x = torch.randn(4,1,*size)
    torch.testing.assert_close(s(x), F.max_pool2d(s.act(s.conv(x)), 2, ceil_mode=True))

@pytest.mark.parametrize('act', ['scaled_tanh','gelu'])
def test_switches_point_at_the_maxima(act):
    enc,x = encoder(1, ['max',None], act=act),torch.randn(2,1,7,6)
    code = enc.encode(x, switches=True, taps=['conv1'])
    s = enc.stages.conv1
    full = s.act(s.conv(x))
    torch.testing.assert_close(full.flatten(2).gather(2, code.switches['conv1'].flatten(2)).view_as(code.taps['conv1']),
        code.taps['conv1'])
    assert code.switches['conv2'] is None
    assert SwitchUnpool()(code.taps['conv1'], code.sizes['conv1'], code.switches['conv1']).shape==full.shape

def test_gradient_reaches_the_tied_weight_from_both_sides():
    enc = encoder(1, ['max','max',None]); dec = TiedDecoder(enc)
    x = torch.rand(4,1,9,9)
    for n in enc.stages:
        W = enc.stages[n].conv.weight
        frozen = copy.deepcopy(enc).requires_grad_(False)
        through_decoder = torch.autograd.grad(dec(Code(frozen.encode(x).z, frozen.encode(x).sizes), enc).pow(2).sum(),
            W)[0]
        through_encoder = torch.autograd.grad(dec(enc.encode(x), frozen).pow(2).sum(), W)[0]
        both = torch.autograd.grad(dec(enc.encode(x), enc).pow(2).sum(), W)[0]
        assert through_decoder.norm()>0 and through_encoder.norm()>0
        torch.testing.assert_close(both, through_encoder+through_decoder, rtol=1e-3, atol=1e-4)

def test_hooks_on_stages_fire():
    enc,seen = encoder(1, ['max',None]),[]
    for s in enc.stages.values(): s.register_forward_hook(lambda m,i,o: seen.append(tuple(o.shape)))
    enc(torch.rand(1,1,8,8))
    assert len(seen)==2

@pytest.mark.parametrize('D', [TiedDecoder, MirrorDecoder])
def test_state_dict_has_each_tensor_once(D):
    enc = encoder(2, ['max','stride',None], norm=True)
    ae = Autoencoder(enc, D(enc))
    sd = ae.state_dict()
    assert len({t.data_ptr() for t in sd.values()})==len(sd)
    other = Autoencoder(e:=encoder(2, ['max','stride',None], norm=True), D(e))
    other.load_state_dict(load(save(sd)))
    x = torch.rand(2,2,11,10)
    assert torch.equal(ae.eval()(x), other.eval()(x))

def test_decoder_follows_its_encoder():
    "The tied decoder holds no filter: it decodes with whatever encoder it is handed."
    enc = encoder(1, ['max']); dec,x = TiedDecoder(enc),torch.rand(1,1,8,8)
    other = encoder(1, ['max'])
    assert not torch.equal(dec(enc.encode(x), enc), dec(enc.encode(x), other))

@pytest.mark.parametrize('size', [(4,9), (9,4), (1,1)])
def test_too_small_an_image_is_named(size):
    enc = ConvEncoder(dict(a=ConvStage(nn.Conv2d(1,2,5))))
    with pytest.raises(ValueError, match=f"stage 'a' gets {size[0]}x{size[1]}"): enc(torch.rand(1,1,*size))
    with pytest.raises(ValueError, match="stage 'a'"): feature_sizes(enc, 1, *size)

def test_feature_sizes_of_any_module():
    m = nn.Sequential(nn.Conv2d(3,4,3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(.5))
    state = torch.get_rng_state()
    assert feature_sizes(m, 3, 5, 6)=={'0':(4,3,4), '1':(4,3,4), '2':(48,), '3':(48,)}
    assert torch.equal(state, torch.get_rng_state())
    assert not any(mod._forward_hooks for mod in m.modules())

@few
@given(n=st.integers(1,5), c=st.integers(1,3), h=st.integers(1,9), w=st.integers(1,9),
    act=st.sampled_from(['scaled_tanh','sigmoid']))
def test_losses_against_the_slow_formulas(n, c, h, w, act):
    pre,t = torch.randn(n,c,h,w,dtype=torch.double),torch.rand(n,c,h,w,dtype=torch.double)
    y = ACTS[act]()(pre)
    mse,bce = (y-t)**2,-(t*y.log()+(1-t)*(1-y).log())
    for kind,want in (('mse',mse), ('bce',bce)):
        torch.testing.assert_close(ReconLoss(kind, act, 'none')(pre, t), want)
        torch.testing.assert_close(ReconLoss(kind, act)(pre, t), want.mean())
        torch.testing.assert_close(ReconLoss(kind, act, 'sum_pixels')(pre, t), want.sum((1,2,3)).mean())

@pytest.mark.parametrize('kw,names', [(dict(kind='l1'),'mse, bce'), (dict(reduction='sum'),'sum_pixels'),
    (dict(kind='bce',out_act='tanh'),'scaled_tanh or sigmoid'), (dict(out_act='x'),'relu')])
def test_loss_errors(kw, names):
    with pytest.raises(ValueError, match=names): ReconLoss(**kw)

def test_bce_stays_finite_where_the_activation_saturates():
    pre = torch.tensor([[-200.,200.]], requires_grad=True)
    l = ReconLoss('bce')(pre, torch.tensor([[1.,0.]])); l.backward()
    assert l.isfinite() and pre.grad.isfinite().all()

@pytest.mark.parametrize('kw,msg', [(dict(pool='avg'),'max, stride, None'), (dict(pool='stride'),'stride 1'),
    (dict(act='nope'),'scaled_tanh')])
def test_stage_errors(kw, msg):
    with pytest.raises(ValueError, match=msg): ConvStage(nn.Conv2d(1,2,3,padding=1), **kw)
