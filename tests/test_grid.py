"The image grid: every image whole and in its place, text above it"
import numpy as np, pytest, torch
import matplotlib.pyplot as plt

from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.grid import as_pictures, show_images, tile

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

@pytest.mark.parametrize('n,ncol,above', [(1,None,0), (5,None,0), (7,3,2), (4,9,1)])
def test_every_image_is_found_whole(n, ncol, above):
    x = np.random.default_rng(0).random((n,4,6,3))
    t,c = tile(x, ncol, np.nan, above), ncol or int(np.ceil(n**.5))
    high,wide = above+5,7
    assert t.shape==(-(-n//c)*high-1, c*wide-1, 3) and np.isfinite(t).sum()==x.size
    for i in range(n):
        r,k = divmod(i, c)
        assert (t[r*high+above:r*high+above+4, k*wide:k*wide+6]==x[i]).all()

@pytest.mark.parametrize('dtype', ['uint8','uint16'])
def test_whole_numbers_are_shares_of_their_largest(dtype):
    top = np.iinfo(dtype).max
    assert as_pictures(np.array([[[0,top]]], dtype)).ravel().tolist()==[0,1]
    assert as_pictures(torch.tensor([[[0,255]]], dtype=torch.uint8)).ravel().tolist()==[0,1]

def test_two_channels_are_grey_and_three_are_colour():
    assert as_pictures(np.ones((2,2,4,4))).shape==(2,4,4,1) and as_pictures(np.ones((2,3,4,4))).shape==(2,4,4,3)
    with pytest.raises(DataError, match=r'not \(2, 3\)'): show_images(np.zeros((2,3)))

@pytest.mark.parametrize('shape', [(6,1,8,8), (6,3,5,9), (3,1,1,1)])
def test_titles_stand_above_their_image(shape):
    n,_,h,w = shape
    titles = [str(i) for i in range(n-1)]+['last\nof all']
    ax = show_images(np.ones(shape), 3, titles=titles, colors=['red']*n, rows=['a','b'][:-(-n//3)])
    got,data = ax.texts[:n],ax.images[0].get_array()
    assert [o.get_text() for o in got]==titles and {o.get_color() for o in got}=={'red'}
    high = (data.shape[0]+1)//(-(-n//3))
    for i,o in enumerate(got):
        x,y = o.get_position()
        assert i%3*(w+1)-.5<=x<=i%3*(w+1)+w-.5 and i//3*high-.5<=y<=(i//3+1)*high-1-h

def test_it_draws_where_it_is_told_and_clips():
    ax = plt.subplots()[1]
    assert show_images(np.array([[[-3.,.5],[1.,7.]]]), ax=ax) is ax
    assert ax.images[0].get_array().ravel().tolist()==[0,.5,1,1]
