"Two streams side by side: each as if it were alone, whatever stands beside it"
import pytest, torch

from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.augment import Augment
from aepretrain_nb.data.corrupt import Gaussian
from aepretrain_nb.data.loader import ImageDL
from aepretrain_nb.data.sets import ImageSet, generator, seed_of
from aepretrain_nb.data.streams import JointDL

def images(n): return torch.randint(0, 256, (n,1,8,8), generator=generator('images', n)).byte()
def pair(n=30, m=50, **kw):
    labelled,unlabelled = ImageSet(images(n), torch.arange(n)%3, list('abc')),ImageSet(images(m))
    return ImageDL(labelled, 4, seed=5, **kw), ImageDL(unlabelled, 16, seed=6, target='x', corrupt=Gaussian(.1), **kw)

def same(a, b):
    return all(torch.equal(p, q) for one,two in zip(a, b) for p,q in zip((*one[0],*one[1]), (*two[0],*two[1])))

def test_each_stream_is_what_it_is_alone():
    a,b = pair()
    joint = list(JointDL(a, b, steps=12))
    alone = [list(dl.new(shuffle=True, steps=12)) for dl in (a,b)]
    assert len(joint)==12
    for ((x,u),(y,t)),(xa,ya),(ub,tb) in zip(joint, *alone):
        assert torch.equal(x, xa) and torch.equal(y, ya) and torch.equal(u, ub) and torch.equal(t, tb)

def test_same_seed_same_bytes_and_epochs_go_on():
    dl = JointDL(*pair(augment=Augment(flip=True, crop=2)), steps=7, seed=1)
    first,second = list(dl), list(dl)
    assert same(dl.reset(), first) and same(dl, second) and not same(first, second)
    assert same(dl.new(), first) and not same(dl.new(seed=2), first)
    assert same([dl.one_batch()], first[:1]) and same(dl, list(dl.new(steps=21))[14:])

def test_streams_of_one_seed_and_size_walk_apart():
    a,b = pair(40, 40)
    b.dataset = ImageSet(a.dataset.x)
    (x,_),(_,t) = JointDL(a.new(bs=40), b.new(bs=40, corrupt=None), steps=1, seed=0).one_batch()
    assert not torch.equal(x, t) and torch.equal(x.sum(0).round(decimals=3), t.sum(0).round(decimals=3))

def test_each_stream_passes_over_its_images_evenly():
    dl = JointDL(*pair(10, 50), steps=25)
    seen = torch.cat([y for _,(y,_) in dl])
    assert torch.bincount(seen).tolist()==[40,30,30]

def test_named_batches_hold_the_same():
    pairs,named = JointDL(*pair(), steps=3),JointDL(*pair(), steps=3, named=True)
    for ((x,u),(y,t)),(a,b) in zip(pairs, named):
        assert torch.equal(x, a['labelled']) and torch.equal(u, a['unlabelled'])
        assert torch.equal(y, b['labelled']) and torch.equal(t, b['unlabelled'])

def test_wrong_requests():
    a,b = pair()
    for kw,words in ((dict(labelled=b), "labelled: ImageSet"), (dict(unlabelled=a), "give target='x'"),
        (dict(steps=0), 'steps is 0'), (dict(steps=2.5), 'steps is 2.5')):
        with pytest.raises(DataError, match=words): JointDL(**dict(labelled=a, unlabelled=b, steps=3)|kw)
    with pytest.raises(DataError, match='labelled: .* has no images'): JointDL(a.new(a.dataset.take([])), b, steps=3)
    assert JointDL(a, b, 3, seed=4).labelled.seed==seed_of(4, 'labelled')
