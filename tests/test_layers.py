"Properties of the layers over sizes, channels and geometries."
from aepretrain_nb.imports import *
import pytest
from hypothesis import given, settings, strategies as st
from aepretrain_nb.nets.layers import *
from aepretrain_nb.nets import layers as L
from aepretrain_nb.nets.upsampling import *
from aepretrain_nb.nets.upsampling import _cells

sizes = st.integers(1, 40)
few = settings(max_examples=60, deadline=None)

@few
@given(h=sizes, w=sizes, ni=st.integers(1,4), nf=st.integers(1,5), k=st.sampled_from([1,3,5,7]), s=st.integers(1,3),
    seed=st.integers(0,99))
def test_tied_is_the_transpose(h, w, ni, nf, k, s, seed):
    g = torch.Generator().manual_seed(seed)
    conv = nn.Conv2d(ni, nf, k, s, k//2, bias=False).double()
    x = torch.randn(2, ni, h, w, generator=g, dtype=torch.double)
    y = conv(x)
    z = torch.randn(y.shape, generator=g, dtype=torch.double)
    back = tied_conv_transpose(z, conv, (h,w))
    assert back.shape==x.shape
    assert torch.allclose((y*z).sum(), (x*back).sum())

@few
@given(h=st.integers(9,40), w=st.integers(9,40), k=st.integers(2,5), p=st.integers(0,2), d=st.integers(1,2),
    groups=st.sampled_from([1,2]))
def test_tied_any_geometry(h, w, k, p, d, groups):
    "Filters of even size, dilation, groups, and no padding all invert."
    conv = nn.Conv2d(2, 4, k, 2, p, dilation=d, groups=groups)
    assert tied_conv_transpose(conv(torch.rand(1,2,h,w)), conv, (h,w)).shape==(1,2,h,w)

def test_tied_bias_and_pool_stride():
    conv = nn.Conv2d(3, 4, 5, padding=2)
    z = F.max_pool2d(conv(torch.rand(2,3,65,7)), 2, ceil_mode=True)
    b = torch.tensor([1.,2.,3.])
    diff = tied_conv_transpose(z, conv, (65,7), 2, b) - tied_conv_transpose(z, conv, (65,7), (2,2))
    assert torch.allclose(diff, b[:,None,None].expand_as(diff), atol=1e-5)

@pytest.mark.parametrize('size', [(6,8), (8,9), (3,3), (100,100)])
def test_tied_refuses_sizes_it_cannot_come_from(size):
    conv = nn.Conv2d(1, 2, 5, 2, 2)
    with pytest.raises(ValueError, match='to 7..8'): tied_conv_transpose(torch.rand(1,2,4,4), conv, size)

@few
@given(h=sizes, w=sizes, k=st.integers(2,4), pos=st.sampled_from(['center','upper_left','nearest']))
def test_pooling_undoes_unpooling(h, w, k, pos):
    z = torch.rand(2, 3, -(-h//k), -(-w//k))
    out = FixedUnpool(k, pos)(z, (h,w))
    assert out.shape==(2,3,h,w) and torch.equal(F.max_pool2d(out, k, ceil_mode=True), z)
    if pos!='nearest': assert (out!=0).sum()==(z!=0).sum()

@few
@given(h=sizes, w=sizes, k=st.integers(2,4))
def test_switches_restore_the_maxima(h, w, k):
    x = torch.rand(2, 3, h, w) + .1
    z,sw = F.max_pool2d(x, k, ceil_mode=True, return_indices=True)
    out = SwitchUnpool(k)(z, (h,w), sw)
    assert torch.equal(out[out!=0], x[out!=0]) and (out!=0).sum()==z.numel()

@few
@given(h=sizes, w=sizes, c=st.integers(1,5), k=st.integers(1,4), pos=st.sampled_from(['center','upper_left']),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_unpooling_is_the_same_in_both_layouts(h, w, c, k, pos, dtype):
    "Values, gradients, and the layout that stays, with whole blocks and cut ones."
    z,there = torch.rand(2, c, -(-h//k), -(-w//k), dtype=dtype),torch.rand(2, c, h, w, dtype=dtype)
    def both(layout):
        own = z.to(memory_format=layout).requires_grad_()
        out = FixedUnpool(k, pos)(own, (h,w))
        assert out.is_contiguous(memory_format=layout) or z.is_contiguous(memory_format=torch.channels_last)
        return out.detach(),torch.autograd.grad(out, own, there)[0]
    (out,grad),last = both(torch.contiguous_format),both(torch.channels_last)
    assert torch.equal(out, last[0]) and torch.equal(grad, last[1])
    assert torch.equal(grad, there[:, :, _cells(h, k, pos)[:, None], _cells(w, k, pos)])

def test_unpool_errors():
    with pytest.raises(ValueError, match='center, upper_left, nearest'): FixedUnpool(2, 'middle')
    with pytest.raises(ValueError, match='switches=True'): SwitchUnpool()(torch.rand(1,1,2,2), (4,4), None)

@pytest.mark.parametrize('position', ['center','upper_left','nearest'])
def test_unpool_gradient(position):
    z = torch.rand(1, 1, 3, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: FixedUnpool(2, position)(z, (5,4)), z)

def test_center_of_2x2_is_lower_right(): assert _cells(4, 2, 'center').tolist()==[1,3]

@pytest.mark.parametrize('name', ACTS)
def test_monotone_never_lies(name):
    x,act = torch.linspace(-9, 9, 4001),act_layer(name)
    if monotone(act): assert (act(x).diff()>=0).all()

def test_unknown_layer_is_not_taken_for_monotone(): assert not monotone(nn.Softplus(1)) and not monotone(nn.SiLU())

specs = [dict(dist='normal', std=.2, bias=1e-4), dict(dist='trunc_normal', mean=.001, std=.05, bias=.001),
    dict(dist='default')]
def net():
    return nn.Sequential(nn.Conv2d(3,20,5), nn.BatchNorm2d(20), nn.ConvTranspose2d(20,10,3), nn.Linear(50,30),
        nn.Conv1d(4,4,3,bias=False))

@pytest.mark.parametrize('spec', specs)
def test_init_is_a_function_of_spec_and_seed(spec):
    a,b = net(),net()
    state = torch.get_rng_state()
    init_(a, spec, torch.Generator().manual_seed(5))
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(100)
    init_(b, spec, torch.Generator().manual_seed(5))
    for p,q in zip(a.parameters(), b.parameters()): assert torch.equal(p, q)
    init_(b, spec, torch.Generator().manual_seed(6))
    assert not torch.equal(a[0].weight, b[0].weight)

@pytest.mark.parametrize('spec', specs[:2])
def test_init_statistics(spec):
    m = init_(nn.Linear(1000, 200), spec, torch.Generator().manual_seed(0))
    sd = spec['std']*(.8796 if spec['dist']=='trunc_normal' else 1)  # a normal cut at two sd keeps .8796 of its sd
    assert abs(m.weight.mean()-spec.get('mean',0)) < 5*sd/200_000**.5
    assert abs(m.weight.std()/sd-1) < .01
    assert (m.bias==spec['bias']).all()
    if spec['dist']=='trunc_normal': assert (m.weight-spec['mean']).abs().max() <= 2*sd/.8796+1e-6

def test_default_init_is_pytorchs():
    g = torch.Generator().manual_seed(1)
    seed = torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(1)).item()
    torch.manual_seed(seed)
    want = nn.Conv2d(3, 8, 5)
    got = init_(nn.Conv2d(3, 8, 5), dict(dist='default'), g)
    assert torch.equal(got.weight, want.weight) and torch.equal(got.bias, want.bias)

def test_spec_is_json_and_untouched():
    spec = json.loads(json.dumps(specs[0]))
    init_(net(), spec, torch.Generator())
    assert spec==specs[0]

@pytest.mark.parametrize('n,m,bs', [(784,1000,20), (1000,784,1), (3,5,7)])
@pytest.mark.parametrize('bias', (True, False))
def test_wide_linear_is_linear(n, m, bs, bias, monkeypatch):
    if L._onednn is None: pytest.skip('this PyTorch has no mkldnn._linear_pointwise')
    monkeypatch.setattr(L, 'slow_matmul', lambda: True); monkeypatch.setattr(L.WideLinear, 'least', 0)
    wide,plain = L.WideLinear(n, m, bias=bias),nn.Linear(n, m, bias=bias)
    plain.load_state_dict(wide.state_dict())
    x = torch.rand(bs, n)
    assert wide.quick(x) and not wide.quick(x.to('meta')) and not wide.quick(x.bfloat16())
    got = []
    for l in (wide, plain):
        xi = x.clone().requires_grad_()
        y = l(xi); y.tanh().sum().backward()
        got.append([y, xi.grad, *(p.grad for p in l.parameters())])
    for a,b in zip(*got): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    with torch.autocast('cpu', torch.bfloat16): assert wide(x).dtype==torch.bfloat16

def test_wide_linear_falls_back(monkeypatch):
    monkeypatch.setattr(L, '_onednn', None); monkeypatch.setattr(L.WideLinear, 'least', 0)
    l,x = L.WideLinear(9, 4),torch.rand(2, 9)
    assert not l.quick(x) and torch.equal(l(x), nn.functional.linear(x, l.weight, l.bias))
    assert torch.equal(copy.deepcopy(l).double()(x.double()),
        nn.functional.linear(x.double(), l.weight.double(), l.bias.double()))
