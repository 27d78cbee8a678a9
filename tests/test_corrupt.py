"Properties of the corruptions over sizes, channels, dtypes and seeds."
from aepretrain_nb.imports import *
import pickle, pytest
from hypothesis import given, settings, strategies as st
from aepretrain_nb.data.corrupt import *

few = settings(max_examples=60, deadline=None)
kinds = st.one_of(st.builds(Masking, st.floats(0,1)), st.builds(Gaussian, st.floats(0,2)),
    st.builds(Blocks, st.integers(0,5), st.integers(1,3)))

@few
@given(k=kinds, n=st.integers(1,5), c=st.integers(1,3), h=st.integers(3,20), w=st.integers(3,20),
    seed=st.integers(0,99))
def test_new_tensor_same_bytes_for_a_seed(k, n, c, h, w, seed):
    x = torch.rand(n,c,h,w); clean = x.clone()
    state = torch.get_rng_state()
    a,b = (k(x, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(a, b) and torch.equal(x, clean)
    assert a.shape==x.shape and a.dtype==x.dtype and a.data_ptr()!=x.data_ptr()
    assert torch.equal(state, torch.get_rng_state())

@few
@given(k=kinds, space=st.sampled_from(['unit','normalised']))
def test_json_and_pickle_round_trip(k, space):
    k = replace(k, space=space)
    assert corruption(json.loads(json.dumps(k.config)))==k==pickle.loads(pickle.dumps(k))
    with pytest.raises(Exception): k.space = 'unit'

@few
@given(n=st.integers(0,4), size=st.integers(1,5), c=st.integers(1,3), h=st.integers(5,20), w=st.integers(5,20))
def test_blocks_cover_what_they_say(n, size, c, h, w):
    gone = Blocks(n,size)(torch.ones(8,c,h,w), torch.Generator().manual_seed(0))==0
    area = gone[:,0].sum((1,2))
    assert (gone==gone[:,:1]).all() and (area<=n*size*size).all() and (area>=min(n,1)*size*size).all()

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('k', [Masking(.5), Gaussian(.1), Blocks(1,2)])
def test_keeps_the_dtype(k, dtype): assert k(torch.rand(2,1,4,4).to(dtype), torch.Generator()).dtype==dtype

@pytest.mark.parametrize('k', [Masking(.3), Gaussian(.2), Blocks(2,3)])
def test_different_images_get_different_noise(k):
    out = k(torch.ones(2,1,16,16), torch.Generator().manual_seed(0))
    assert not torch.equal(out[0], out[1])
    g = torch.Generator().manual_seed(0)
    assert not torch.equal(k(torch.ones(2,1,16,16), g), k(torch.ones(2,1,16,16), g))

@pytest.mark.parametrize('bad', [dict(kind='masking'), dict(kind='masking',p=2), dict(kind='blocks',n=1),
    dict(kind='blocks',n=1,size=0), dict(kind='gaussian',sigma=1,space='x'), dict(p=.1),
    dict(kind='gaussian',sigma=float('nan'))])
def test_bad_configs_are_one_line(bad):
    with pytest.raises(ValueError) as e: corruption(bad)
    assert '\n' not in str(e.value)
