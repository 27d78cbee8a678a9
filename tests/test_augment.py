"""What would spoil the narrative: every window against torchvision, chance against its distribution, masks against
their images"""
import json

import pytest, torch

from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.augment import (Augment, Fixed, augmentation, nearest_places, resampling, take_pixels,
    window_sizes)
from aepretrain_nb.data.loader import ImageDL, image_dls
from aepretrain_nb.data.sets import ImageSet, generator
# after the package, which sees that it can be imported
from torchvision.transforms.v2 import InterpolationMode, RandomResizedCrop, functional as TF

def images(n=5, c=3, h=17, w=23): return torch.rand(n, c, h, w, generator=generator('images', n, c, h, w))
def each(n, v): return torch.full((n,), v)

@pytest.mark.parametrize('size', [(17,23), (8,9), (32,40), (29,11), (1,1)])
@pytest.mark.parametrize('window', [(0,0,17,23), (3,4,9,12), (10,2,5,20), (16,22,1,1)])
def test_windows_are_torchvisions(size, window):
    x,m,(top,left,high,wide) = images(),torch.randint(0, 9, (5,17,23)),window
    rows,cols = resampling(17, size[0], each(5, top), each(5, high)), resampling(23, size[1], each(5, left),
        each(5, wide))
    assert torch.allclose(rows[:,None] @ x @ cols[:,None].mT, TF.resized_crop(x, *window, list(size), antialias=True),
        atol=1e-5)
    got = take_pixels(m, nearest_places(size[0], each(5, top), each(5, high)),
        nearest_places(size[1], each(5, left), each(5, wide)))
    assert torch.equal(got, TF.resize(TF.crop(m, *window), list(size), InterpolationMode.NEAREST_EXACT))

@pytest.mark.parametrize('aug', [Augment(flip=True, crop=3), Augment(crop=5, pad='reflect'), Augment(size=(9,12)),
    Augment(flip=True, crop=4, size=20),
    Augment(flip=True, resized=(.1,.9)), Augment(resized=(.3,.3), ratio=(1,1), size=(30,8))])
def test_each_image_is_cut_as_torchvision_cuts_it(aug):
    x = images(40)
    got,windows = aug(x, None, generator(0))[0], torch.stack(aug.windows(40, 17, 23, generator(0)), 1).tolist()
    mode,out = 'reflect' if aug.pad=='reflect' else 'constant',aug.out_size(17, 23)
    assert got.shape==(40, 3, *out)
    for o,im,(top,left,high,wide,mirrored) in zip(got, x, windows):
        if aug.crop: im = TF.pad(im, aug.crop, padding_mode=mode)
        want = TF.resized_crop(im, top+aug.crop, left+aug.crop, high, wide, list(out), antialias=True)
        assert torch.allclose(o, want.flip(-1) if mirrored else want, atol=1e-5)

@pytest.mark.parametrize('aug', [Augment(flip=True, crop=6), Augment(flip=True, crop=6, pad='reflect'),
    Augment(flip=True, size=9)])
def test_moved_pixels_keep_their_value_and_masks_their_image(aug):
    x = torch.randint(1, 200, (30,1,17,23), generator=generator('pixels'))/255
    got,mask = aug(x, (x[:,0]*255).round().long(), generator(1))
    value = (got[:,0]*255).round().long()
    assert torch.equal(mask.masked_fill(mask==255, 0), value)
    assert bool((mask==255).any())==(aug.pad=='zeros' and aug.crop>0)

def test_resized_masks_lie_under_their_images():
    x = torch.zeros(60, 1, 32, 32)
    x[:,:,8:24,4:20] = 1
    got,mask = Augment(flip=True, resized=(.2,1), size=64)(x, x[:,0].long(), generator(2))
    assert (mask==(got[:,0]>.5)).float().mean()>.995

def test_other_targets_stay():
    x,aug = images(),Augment(flip=True, crop=2)
    for y in (torch.arange(5), torch.ones(5,3)): assert aug(x, y, generator(0))[1] is y
    assert aug(x)[1] is None

def test_same_seed_same_bytes_and_nothing_is_written_in_place():
    x = images()
    before = x.clone()
    for aug in (Augment(flip=True, crop=2), Augment(flip=True, resized=(.2,1))):
        a,b,c = (aug(x, None, generator(s))[0] for s in (0,0,1))
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(x, before)
    assert torch.equal(Augment()(x)[0], x)

def test_arms_that_flip_and_arms_that_do_not_cut_the_same_windows():
    a,b = (Augment(flip=f, resized=(.2,1)).windows(50, 32, 32, generator(0)) for f in (True,False))
    for i in range(4): assert torch.equal(a[i], b[i])
    assert 10<int(a[4].sum())<40 and not b[4].any()

def test_window_sizes_have_torchvisions_distribution():
    n,area,ratio = 4000,(.2,1),(3/4,4/3)
    high,wide = window_sizes(n, 32, 48, area, ratio, generator(0))
    torch.manual_seed(0)
    other = RandomResizedCrop(8, area, ratio)
    drawn = [other.make_params([torch.zeros(1,32,48)]) for _ in range(n)]
    theirs = torch.tensor([[o['height'],o['width']] for o in drawn])
    for ours,t in ((high, theirs[:,0]), (wide, theirs[:,1])):
        assert abs(ours.float().mean()-t.float().mean())<4*2**.5*t.float().std()/n**.5

def test_a_window_that_never_fits_is_cut_to_the_image():
    high,wide = window_sizes(20, 4, 64, (1,1), (1,1), generator(0))
    assert high.tolist()==[4]*20 and wide.tolist()==[16]*20

@pytest.mark.parametrize('kw, words', [(dict(pad='mirror'), 'one of zeros, reflect'), (dict(crop=-1), 'crop is -1'),
    (dict(crop=1.5), "crop is 1.5"),
    (dict(resized=(0,1)), 'resized is (0, 1)'), (dict(resized=.5), 'resized is 0.5'), (dict(resized=(.5,2)), 'up to 1'),
    (dict(ratio=(2,1)), 'ratio is (2, 1)'),
    (dict(size=0), 'size is 0'), (dict(size=(1,2,3)), 'size is (1, 2, 3)'),
    (dict(evaluate='center'), 'centre, resize, whole'), (dict(flip='yes'), "flip is 'yes'"),
    (dict(crop=1, resized=(.5,1)), 'give one')])
def test_wrong_fields(kw, words):
    with pytest.raises(DataError) as e: Augment(**kw)
    assert words in str(e.value) and '\n' not in str(e.value)

def test_sizes_that_do_not_fit():
    with pytest.raises(DataError, match='no window of 30x30 in images of 17x23 with crop=3'):
        Augment(crop=3, size=30)(images())
    with pytest.raises(DataError, match='cannot mirror images of 17x23: give at most 16'):
        Augment(crop=17, pad='reflect')(images())

def test_evaluation_has_the_size_of_training():
    x,y = images(),torch.randint(0, 3, (5,17,23))
    for aug in (Augment(flip=True, size=9), Augment(resized=(.2,1), size=(30,8)), Augment(crop=9, size=31),
        Augment(resized=(.2,1), size=40, evaluate='centre')):
        (a,m),(b,k) = aug(x, y, generator(0)), aug.evaluation()(x, y)
        assert a.shape==b.shape and m.shape==k.shape==(5, *aug.out_size(17, 23))
    assert torch.equal(Fixed((9,12))(x)[0], TF.center_crop(x, [9,12]))
    assert torch.equal(Fixed((9,9))(x, y)[1], Fixed((9,9))(y[:,None].float(), None)[0][:,0].long())
    assert Augment(flip=True, size=9, evaluate='whole').evaluation() is Augment(resized=(.2,1)).evaluation() is None

@pytest.mark.parametrize('aug', [None, Augment(), Augment(flip=True, crop=4, pad='reflect'),
    Augment(resized=(.2,1), ratio=(1,2), size=(24,32), evaluate='centre', outside=0)])
def test_json(aug):
    assert augmentation(json.loads(json.dumps(aug and aug.config)))==aug

def test_loaders_augment_what_trains_and_resize_what_validates():
    x = (images(24, 3, 32, 32)*255).byte()
    ds = ImageSet(x, x[:,0].long()%3, ['a','b','c'])
    dls = image_dls(ds, ds, bs=8, augment=Augment(flip=True, size=24), memory_format=torch.channels_last)
    (a,m),(b,k) = dls.train.one_batch(), dls.valid.one_batch()
    assert a.shape==b.shape==(8,3,24,24) and m.shape==k.shape==(8,24,24)
    assert a.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(b, x[:8,:,4:28,4:28]/255) and torch.equal(k, ds.y[:8,4:28,4:28])
    assert torch.equal(dls.train.one_batch()[0], a)
    noisy,clean = ImageDL(ds.unlabelled(), 8, target='x', augment=Augment(flip=True, size=24)).one_batch()
    assert torch.equal(noisy, clean) and clean.shape==(8,3,24,24)
