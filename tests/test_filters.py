"Measures of filters: bounds, invariances, chance, awkward input."
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from aepretrain_nb.nets.filters import *

few = settings(max_examples=60, deadline=None)
shapes = st.tuples(st.integers(1,4), st.integers(1,3), st.integers(1,7), st.integers(1,7))
def draw(shape, seed=0): return np.random.default_rng(seed).normal(size=shape)
MEASURES = localisation, spread, smoothness

@few
@given(shapes, st.integers(0,99))
def test_bounds(shape, seed):
    w = draw(shape, seed)
    n,c,h,wd = shape
    assert ((localisation(w)>=1/(h*wd)-1e-12) & (localisation(w)<=1+1e-12)).all()
    assert ((spread(w)>=0) & (spread(w)<=((h-1)**2+(wd-1)**2)**.5/2+1e-12)).all()
    assert (abs(cosine(w, draw(shape, seed+1)))<=1+1e-12).all()
    if h*wd>2: assert (abs(smoothness(w))<2).all()

@few
@given(shapes, st.floats(1e-150, 1e150), st.sampled_from([-1,1]))
def test_scale_and_sign_do_not_matter(shape, scale, sign):
    w = draw(shape)
    for f in MEASURES: np.testing.assert_allclose(f(sign*scale*w), f(w), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(cosine(w, sign*scale*w), sign, rtol=1e-6)

@pytest.mark.parametrize('c,h,w', [(1,3,3), (1,7,7), (3,5,5), (2,1,6)])
def test_chance_is_the_mean_of_noise(c, h, w):
    z,e = draw((20_000,c,h,w)),chance(c,h,w)
    for v,to in ((localisation(z), e['localisation']), (spread(z)**2, e['spread']**2), (smoothness(z), e['smoothness']),
        (cosine(z[::2], z[1::2]), 0)):
        assert abs(v.mean()-to) < 4*v.std()/len(v)**.5
    np.testing.assert_allclose(cosine(z[::2], z[1::2]).std(), e['cosine_sd'], rtol=.03)

def test_the_order_of_weights_matters_to_all_but_localisation():
    w = np.zeros((1,1,5,5)); w[...,:2,:2] = 1
    s = np.random.default_rng(0).permutation(w.ravel()).reshape(w.shape)
    np.testing.assert_allclose(localisation(w), localisation(s))
    assert spread(w)<spread(s) and smoothness(w)>smoothness(s)

def test_moran_against_its_definition():
    w = draw((1,2,4,3))
    num = var = pairs = 0
    for z in w[0]-w[0].mean((1,2), keepdims=True):
        var += (z**2).sum()/z.size
        for i in range(4):
            for j in range(3):
                for a,b in ((i+1,j), (i,j+1)):
                    if a<4 and b<3: num += z[i,j]*z[a,b]; pairs += 1
    np.testing.assert_allclose(smoothness(w), [num/pairs/(var/2)])

@pytest.mark.filterwarnings('error')
def test_degenerate_filters_are_nan_and_silent():
    w = draw((5,3,5,5))
    w[1] = 0; w[2,0,0,0] = np.nan; w[3,0,0,0] = np.inf; w[4] = np.array([.1,.2,.3])[:,None,None]
    for f in (localisation, spread): assert np.isfinite(f(w)).tolist()==[True,False,False,False,True]
    assert np.isfinite(smoothness(w)).tolist()==[True,False,False,False,False]
    assert np.isfinite(cosine(w[[0,0]], w[[0,1]])).tolist()==[True,False]
    assert np.isnan(smoothness(draw((2,1,1,1)))).all() and np.isnan(chance(1,1,1)['smoothness'])

def test_tensors_are_taken_and_nothing_is_changed():
    import torch
    w = torch.randn(4,2,5,5, requires_grad=True)
    before = w.detach().clone()
    t = measure_filters(w, w)
    assert list(t)==['localisation','spread','smoothness','sd','cosine'] and len(t)==4 and torch.equal(before, w)
    np.testing.assert_allclose(t.cosine, 1, rtol=1e-6)

@pytest.mark.parametrize('f', MEASURES)
def test_other_shapes_are_refused(f):
    with pytest.raises(ValueError, match=r'shape \(n,c,h,w\)'): f(np.ones((3,5,5)))
    with pytest.raises(ValueError, match='differ in shape'): cosine(np.ones((1,1,5,5)), np.ones((2,1,5,5)))
