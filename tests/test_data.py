"Data: what would spoil the story of nbs/data"
import hashlib, os, shutil, subprocess, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
import matplotlib; matplotlib.use('agg')
import matplotlib.pyplot as plt
from hypothesis import given, settings, strategies as st
from torch import nn
from aepretrain_nb.data.named import DATASETS, data_root, dataset, verify
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.loader import ImageDL, image_dls
from aepretrain_nb.data.sets import ImageSet, generator, seed_of
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.labels import idx_digest, label_subset, split_valid
from aepretrain_nb.imports import torchvision
from fastai.learner import Learner
from fastai.callback.schedule import *
from fastai.losses import CrossEntropyLossFlat, MSELossFlat, BCEWithLogitsLossFlat

repo = Path(__file__).resolve().parents[1]

def images(n=24, c=1, size=8, dtype=torch.uint8, seed=0):
    top = 256 if dtype==torch.uint8 else 65536
    return torch.randint(0, top, (n,c,size,size), generator=generator('test', seed)).to(dtype)

def labelled(n=24, k=3, **kw): return ImageSet(images(n, **kw), torch.arange(n)%k)

# Streams

def test_seeds_are_pinned():
    assert seed_of('labels', 'abc', 'stratified', 0)==seed_of('labels/abc/stratified/0')
    assert seed_of('encoder', 1)==int.from_bytes(hashlib.sha256(b'encoder/1').digest()[:8], 'big')>>1
    assert len({seed_of(s, i) for s in ('order','augment','corrupt') for i in range(100)})==300

def test_no_draw_touches_the_global_generator():
    before = torch.get_rng_state()
    ds = labelled()
    split_valid(label_subset(ds.y, 12, 0), ds.y, 0)
    for _ in ImageDL(ds, 5, shuffle=True): pass
    assert torch.equal(before, torch.get_rng_state())

# ImageSet

@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_a_memory_map_stays_on_disk(tmp_path, dtype, recwarn):
    a = np.lib.format.open_memmap(tmp_path/'x.npy', 'w+', dtype, (10,3,6,5))
    a[:] = np.arange(900).reshape(a.shape)%200/(200 if dtype==np.float32 else 1)
    a.flush()
    m = np.load(tmp_path/'x.npy', mmap_mode='r')
    ds = ImageSet(m)
    assert ds.x.data_ptr()==m.ctypes.data and not recwarn.list
    assert ds.digest==ImageSet(torch.from_numpy(np.array(a))).digest
    xb = ImageDL(ds, 4, shuffle=True, target='x').one_batch()[0]
    assert xb.dtype==torch.float32 and 0<=xb.min()<=xb.max()<=1

def test_digest_sees_shape_and_type():
    x = images(6)
    assert len({ImageSet(o).digest for o in (x, x.view(6,1,4,16), x.view(3,2,8,8), x.float()/255)})==4

@pytest.mark.parametrize('bad,msg', [
    (lambda: ImageSet(torch.zeros(3,8)), 'expected images of shape'),
    (lambda: ImageSet(torch.zeros(3,8,8, dtype=torch.int64)), 'uint8, uint16 or float'),
    (lambda: ImageSet(images(3), [0,1]), '3 images but 2 targets'),
    (lambda: ImageSet(images(3), [0,1,-1]), 'found -1..1'),
    (lambda: ImageSet(images(3), task='classify'), 'needs targets'),
    (lambda: ImageSet(images(3), task='colour'), 'none of reconstruct')])
def test_bad_images_are_named_in_one_line(bad, msg):
    with pytest.raises(DataError, match=msg) as e: bad()
    assert '\n' not in str(e.value)

def test_splits_digest_covers_every_part():
    a,b = labelled(seed=0), labelled(seed=1)
    assert len({Splits('x', *o).digest for o in ((a,a), (a,b), (b,a), (a,a,b.unlabelled()))})==4

# Labels

ys = st.lists(st.integers(1,40), min_size=2, max_size=8).flatmap(
    lambda counts: st.permutations([c for c,n in enumerate(counts) for _ in range(n)])).map(torch.tensor)

@settings(max_examples=60, deadline=None)
@given(ys, st.integers(0,5), st.data())
def test_stratified_is_fair_and_nested(y, seed, data):
    k = len(y.unique())
    n = data.draw(st.integers(k, len(y)))
    m = data.draw(st.integers(k, n))
    large,small = label_subset(y, n, seed), label_subset(y, m, seed)
    assert torch.equal(large[:m], small) and len(set(large.tolist()))==n
    got,share = torch.bincount(y[large], minlength=k), torch.bincount(y)*n/len(y)
    assert got.min()>=1
    assert (got-share).abs().max()<=k

@pytest.mark.parametrize('k,per', [(2,50),(10,20),(7,13)])
def test_equal_classes_get_equal_shares(k, per):
    y = torch.arange(k).repeat(per)
    for n in range(k, k*per+1):
        c = torch.bincount(y[label_subset(y, n, 1)], minlength=k)
        assert c.max()-c.min()<=(n%k>0)

def test_subset_depends_on_digest_policy_size_and_seed_only():
    y = torch.arange(400)%10
    torch.manual_seed(1); a = label_subset(y, 50, 0, digest='d')
    torch.manual_seed(2); b = label_subset(y, 50, 0, digest='d')
    assert idx_digest(a)==idx_digest(b)
    others = label_subset(y, 50, 1, digest='d'), label_subset(y, 50, 0, digest='e'), label_subset(y, 50, 0, 'uniform',
        digest='d')
    assert len({idx_digest(o) for o in (a, *others)})==4

def test_other_policies():
    y = torch.arange(100)%10
    assert torch.equal(label_subset(y, 30, 3, 'uniform')[:7], label_subset(y, 7, 3, 'uniform'))
    assert label_subset(y, 5, 3, 'first_n').tolist()==[0,1,2,3,4]
    with pytest.raises(DataError, match='none of stratified, uniform'): label_subset(y, 5, 0, 'lucky')
    with pytest.raises(DataError, match='official folds'): label_subset(y, 5, 0, 'fold')
    with pytest.raises(DataError, match='one class per image'): label_subset(torch.zeros(9,3), 5, 0)

@settings(max_examples=40, deadline=None)
@given(ys, st.integers(0,3), st.floats(.05,.5))
def test_validation_within_costs_no_class(y, seed, frac):
    k = len(y.unique())
    idx = label_subset(y, max(k, len(y)*3//4), seed)
    if len(idx)<2: return
    tr,va = split_valid(idx, y, seed, frac=frac)
    assert sorted(tr.tolist()+va.tolist())==sorted(idx.tolist()) and len(va)>=1
    if len(tr)>=k: assert len(y[tr].unique())==k

def test_validation_extra_is_outside_and_fair():
    y = torch.arange(200)%10
    idx = label_subset(y, 40, 0)
    tr,va = split_valid(idx, y, 0, 'extra', n_valid=50, pool=torch.arange(150))
    assert torch.equal(tr, idx) and va.max()<150 and not set(va.tolist()) & set(idx.tolist())
    assert torch.bincount(y[va]).tolist()==[5]*10
    with pytest.raises(DataError, match="neither 'within' nor 'extra'"): split_valid(idx, y, 0, 'outside')
    with pytest.raises(DataError, match='n_valid'): split_valid(idx, y, 0, 'extra')

# Images that belong together

def test_groups_are_kept_and_are_part_of_the_digest_only_where_there_are_any():
    ds,g = labelled(24), torch.arange(24)//4
    grouped = ImageSet(ds.x, ds.y, ds.classes, groups=g)
    assert ds.groups is None and ds.take([1]).groups is None and ds.unlabelled().groups is None
    assert grouped.digest!=ds.digest and grouped.digest!=ImageSet(ds.x, ds.y, ds.classes, groups=g.flip(0)).digest
    assert ImageSet(ds.x, ds.y, ds.classes, groups=g.to(torch.int32).numpy()).digest==grouped.digest
    assert grouped.take([9,0]).groups.tolist()==[2,0] and grouped.take(g==5).groups.tolist()==[5]*4
    assert torch.equal(grouped.unlabelled().groups, g) and torch.equal(grouped.unlabelled().to('meta').groups, g)
    assert grouped.take([9,0]).groups.dtype==torch.int64

@pytest.mark.parametrize('groups', [torch.zeros(23), torch.zeros(24,1), torch.tensor(1)])
def test_groups_that_do_not_fit_are_refused(groups):
    with pytest.raises(DataError, match='24 images but groups of shape'): ImageSet(images(24), groups=groups)

def test_digests_and_splits_without_groups_are_as_they_were():
    ds = ImageSet(torch.arange(24*64, dtype=torch.uint8).view(24,8,8), torch.arange(24)%3)
    assert ds.digest=='c5e3e9cf307be521fdfbe4800cc3b1f8ab578d723f742dd48020200ba74f1779'
    idx = label_subset(ds.y, 15, 0, digest=ds.digest)
    assert [idx_digest(o) for o in split_valid(idx, ds.y, 0, digest=ds.digest)]==['c48b1bad5aa09bbb',
        '9562e7f5650c2080']
    assert [idx_digest(o) for o in split_valid(idx, ds.y, 0, 'extra', n_valid=5,
        digest=ds.digest)]==['45efda35a15c541f', 'b65d407c436dff19']

# groups, images of the largest, classes, seed
people = st.tuples(st.integers(2,12), st.integers(1,6), st.integers(2,5), st.integers(0,9))

@settings(max_examples=80, deadline=None)
@given(people, st.floats(.05,.6))
def test_whole_groups_validate(o, frac):
    k,most,c,seed = o
    gen = generator('people', *o)
    g = torch.repeat_interleave(torch.randperm(k, generator=gen)*7-3, torch.randint(1, most+1, (k,), generator=gen))
    y = torch.randint(0, c, (len(g),), generator=gen)
    idx = torch.randperm(len(g), generator=gen)
    tr,va = split_valid(idx, y, seed, frac=frac, groups=g)
    assert len(tr) and len(va) and sorted(tr.tolist()+va.tolist())==list(range(len(g)))
    assert not set(g[tr].tolist()) & set(g[va].tolist())
    assert [tr.tolist(), va.tolist()]==[o.tolist() for o in split_valid(idx, y, seed, frac=frac, groups=g.numpy())]
    assert len(va)<=max(1, round(frac*len(idx)))+most

def test_equal_groups_meet_the_number_and_keep_every_class():
    g,y = torch.arange(200)//4, torch.arange(200)%4
    for seed in range(5):
        for n in (4,20,40,100):
            tr,va = split_valid(torch.arange(200), y, seed, n_valid=n, groups=g)
            assert len(va)==n and len(y[tr].unique())==4
    firsts = {tuple(split_valid(torch.arange(200), y, s, groups=g)[1].tolist()) for s in range(5)}
    assert len(firsts)==5

def test_the_only_one_of_a_class_stays_with_the_training_labels():
    g,y = torch.arange(30)//3, torch.zeros(30, dtype=torch.long)
    y[4] = 1
    assert all(4 in split_valid(torch.arange(30), y, s, frac=.3, groups=g)[0].tolist() for s in range(20))

@pytest.mark.parametrize('seed', range(5))
def test_extra_groups_are_strangers(seed):
    g,y = torch.arange(60)//3, torch.arange(60)%5
    tr,va = split_valid(torch.arange(30), y, seed, 'extra', n_valid=9, groups=g)
    assert tr.tolist()==list(range(30)) and len(va)==9 and va.min()>=30
    with pytest.raises(DataError, match='n_valid from 1 to 27 here'):
        split_valid(torch.arange(31), y, seed, 'extra', n_valid=28, groups=g)

def test_groups_that_cannot_be_parted_are_refused_in_one_line():
    y = torch.arange(12)%3
    for bad in (lambda: split_valid(torch.arange(12), y, 0, groups=torch.zeros(12, dtype=torch.long)),
                lambda: split_valid(torch.arange(0,12,2), y, 0, 'extra', n_valid=3, groups=torch.arange(12)//2)):
        with pytest.raises(DataError, match='group') as e: bad()
        assert '\n' not in str(e.value)

# Named data sets

def test_digits():
    sp = dataset('digits')
    assert (len(sp.train), len(sp.test), sp.train.shape)==(1297, 500, (1,8,8))
    assert sp.train.x.max()==255 and sp.train.x.unique().tolist()==[round(i*255/16) for i in range(17)]
    assert sp.digest=='67f42ea146ae791dd3214c3d52fd8e3a86f79dfe591b7b838395f204ee6ec850'

def test_root(monkeypatch, tmp_path):
    for v in ('AEPRETRAIN_DATA','XDG_CACHE_HOME'): monkeypatch.delenv(v, raising=False)
    assert data_root()==Path.home()/'.cache/aepretrain_nb'
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path)); assert data_root()==tmp_path/'aepretrain_nb'
    monkeypatch.setenv('AEPRETRAIN_DATA', str(tmp_path/'d')); assert data_root()==tmp_path/'d'
    assert data_root('x')==Path('x')

@pytest.mark.parametrize('name', [o for o in DATASETS if o!='digits' and not isinstance(DATASETS[o].reader, str)])
def test_missing_data_names_file_digest_and_command(name, tmp_path):
    with pytest.raises(DataError) as e: dataset(name, tmp_path)
    msg = str(e.value)
    assert '\n' not in msg and 'missing' in msg and 'md5' in msg
    assert f'aepretrain data get {name} --root {tmp_path}' in msg
    assert set(verify(name, tmp_path).status)=={'missing'}

def md5(b): return hashlib.md5(b).hexdigest()

@pytest.fixture
def stl10(tmp_path, monkeypatch):
    "A tiny tree in STL-10's binary layout, with a reader that holds its digests"
    rng,files = np.random.default_rng(0), {}
    for part,n in (('train',20),('test',6),('unlabeled',9)):
        files[f'{part}_X.bin'] = rng.integers(0, 256, (n,3,96,96), dtype=np.uint8).tobytes()
        if part!='unlabeled': files[f'{part}_y.bin'] = (np.arange(n, dtype=np.uint8)%10+1).tobytes()
    md5s = {k: md5(v) for k,v in files.items()}
    files['class_names.txt'] = '\n'.join(torchvision.datasets.CIFAR10.__name__+str(i) for i in range(10)).encode()
    files['fold_indices.txt'] = '\n'.join(' '.join(map(str, [i, i+10])) for i in range(10)).encode()
    root = tmp_path/'stl10_binary'; root.mkdir()
    for k,v in files.items(): (root/k).write_bytes(v)
    class Tiny(torchvision.datasets.STL10):
        train_list = [[k, md5s[k]] for k in ('train_X.bin','train_y.bin','unlabeled_X.bin')]
        test_list = [[k, md5s[k]] for k in ('test_X.bin','test_y.bin')]
    monkeypatch.setitem(DATASETS, 'stl10', replace(DATASETS['stl10'], reader=Tiny))
    return root

def test_stl10_layout_and_folds(stl10):
    sp = dataset('stl10', stl10.parent)
    assert (len(sp.train), len(sp.test), len(sp.unlabelled), sp.train.shape)==(20, 6, 9, (3,96,96))
    raw = np.frombuffer((stl10/'train_X.bin').read_bytes(), np.uint8).reshape(20,3,96,96)
    assert np.array_equal(sp.train.x.numpy(), raw.transpose(0,1,3,2))  # stored column by column
    assert sp.train.y.tolist()==[i%10 for i in range(20)] and sp.unlabelled.y is None
    assert label_subset(sp.train.y, None, 3, 'fold', folds=sp.folds).tolist()==[3,13]
    with pytest.raises(DataError, match='fold 3 has 2'): label_subset(sp.train.y, 5, 3, 'fold', folds=sp.folds)

def test_stl10_unlabelled_is_read_when_asked_for(stl10):
    sp = dataset('stl10', stl10.parent)
    assert callable(sp._unlabelled)
    assert sp.unlabelled is sp.unlabelled

def test_stl10_altered_is_refused(stl10):
    f = stl10/'test_X.bin'; b = bytearray(f.read_bytes()); b[100] ^= 1; f.write_bytes(b)
    with pytest.raises(DataError, match='stl10_binary/test_X.bin is altered'): dataset('stl10', stl10.parent)

@pytest.mark.parametrize('text', ['0 1\n'*9, '0 99\n'*10, ''])
def test_stl10_bad_folds_are_refused(stl10, text):
    (stl10/'fold_indices.txt').write_text(text)
    with pytest.raises(DataError, match='ten lines of indices below 20'): dataset('stl10', stl10.parent)

def test_download_happens_only_when_asked_and_replaces_what_is_altered(stl10, monkeypatch):
    f = stl10/'train_y.bin'; good = f.read_bytes(); f.write_bytes(b'bad')
    calls,reader = [], DATASETS['stl10'].reader
    def get(self):
        calls.append(Path(self.root))
        shutil.copytree(f.parent, calls[-1]/'stl10_binary')
        (calls[-1]/'stl10_binary'/f.name).write_bytes(good)
    monkeypatch.setattr(reader, 'download', get)
    with pytest.raises(DataError, match='train_y.bin is altered'): dataset('stl10', stl10.parent)
    assert not calls
    assert len(dataset('stl10', stl10.parent, download=True).train)==20 and calls!=[stl10.parent]
    assert f.read_bytes()==good
    dataset('stl10', stl10.parent, download=True)
    assert len(calls)==1

# Batches

@pytest.mark.parametrize('dtype', [torch.uint8, torch.uint16])
@pytest.mark.parametrize('c', [1,3])
@pytest.mark.parametrize('fmt', [torch.contiguous_format, torch.channels_last])
def test_batches_are_the_images(dtype, c, fmt):
    ds = ImageSet(images(11, c=c, dtype=dtype), torch.arange(11))
    for shuffle in (False,True):
        seen = []
        for xb,yb in ImageDL(ds, 4, shuffle=shuffle, memory_format=fmt):
            assert xb.is_contiguous(memory_format=fmt)
            assert torch.equal(xb, ds.x[yb].float()/(255 if dtype==torch.uint8 else 65535))
            seen += yb.tolist()
        assert sorted(seen)==list(range(11))

def test_conversion_is_torchvisions_to_the_bit():
    x = images(5, c=3)
    ref = torch.stack([torchvision.transforms.functional.to_tensor(o.permute(1,2,0).numpy()) for o in x])
    assert torch.equal(ImageDL(ImageSet(x), 5, target='x').one_batch()[0], ref)

@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_changing_a_batch_in_place_leaves_the_data_alone(dtype):
    x = images(6).to(dtype)/(1 if dtype==torch.uint8 else 255) if dtype!=torch.uint8 else images(6)
    ds = ImageSet(x); before = ds.x.clone()
    for shuffle in (False,True):
        for xb,_ in ImageDL(ds, 4, shuffle=shuffle, target='x'): xb.zero_()
    assert torch.equal(ds.x, before)

@pytest.mark.parametrize('n,bs,steps', [(10,4,7),(10,16,3),(5,2,9),(64,16,4)])
def test_endless_stream(n, bs, steps):
    ds = ImageSet(images(n), torch.arange(n))
    dl = ImageDL(ds, bs, shuffle=True, steps=steps)
    got = [yb.tolist() for _ in range(4) for _,yb in dl]
    assert len(dl)==steps and len(got)==4*steps and {len(o) for o in got}=={min(n,bs)}
    flat = sum(got, [])
    for i in range(0, len(flat)-n+1, n): assert sorted(flat[i:i+n])==list(range(n))
    one = ImageDL(ds, bs, shuffle=True, steps=4*steps)
    assert [yb.tolist() for _,yb in one]==got  # where epochs end does not matter

def test_arms_share_batches_whatever_noise_they_draw():
    ds = labelled(50)
    def noise(x, gen): return x + torch.randn(x.shape, generator=gen)
    noise.space = 'normalised'
    a,b = (ImageDL(ds, 8, shuffle=True, seed=5, corrupt=c, norm=(.5,.2)) for c in (None,noise))
    for _ in range(3):
        for (xa,ya),(xb,yb) in zip(a,b): assert torch.equal(ya, yb) and not torch.equal(xa, xb)

@pytest.mark.parametrize('space', ['unit','normalised'])
def test_corruption_falls_in_its_space_and_spares_the_target(space):
    ds = labelled(6)
    def zero(x, gen): return torch.zeros_like(x)
    zero.space = space
    x,t = ImageDL(ds, 6, target='x', corrupt=zero, norm=(.5,.25)).one_batch()
    assert torch.equal(x, torch.full_like(x, -2. if space=='unit' else 0.)) and torch.equal(t, ds.x/255)
    assert torch.allclose(ImageDL(ds, 6, target='x', norm=(.5,.25), norm_target=True).one_batch()[1], (ds.x/255-.5)/.25)

def test_augmentation_moves_masks_too():
    ds = ImageSet(images(6), images(6)[:,0]//64)
    dl = ImageDL(ds, 6, augment=lambda x,y,gen: (x.flip(-1), y.flip(-1)))
    x,y = dl.one_batch()
    assert ds.task=='segment' and y.dtype==torch.int64
    assert torch.equal(y, (x[:,0]*255).round().long()//64)

def test_wrong_requests():
    ds = labelled()
    with pytest.raises(DataError, match="target='x' asks"): ImageDL(ds.unlabelled())
    with pytest.raises(DataError, match='neither'): ImageDL(ds, target='z')
    with pytest.raises(DataError, match='shuffle=True'): ImageDL(ds, steps=3)
    with pytest.raises(DataError, match='leaves no batch'): ImageDL(ds, 64, drop_last=True)
    with pytest.raises(TypeError): ImageDL(ds).new(batch=3)

# In fastai's hands

def net(k): return nn.Sequential(nn.Flatten(), nn.Linear(64,k))

def learner(dls, model, loss):
    torch.manual_seed(0)
    return Learner(dls, model, loss_func=loss)

def test_a_learner_classifies(tmp_path):
    sp = dataset('digits')
    learn = learner(image_dls(sp.train, sp.test, 64, norm=(.3,.3)), net(10), CrossEntropyLossFlat())
    learn.path = tmp_path
    with learn.no_bar(), learn.no_logging():
        assert 1e-6<learn.lr_find(num_it=30, show_plot=False).valley<10
        learn.fit_one_cycle(2, .01)
        p,t = learn.get_preds()
        assert torch.equal(t, sp.test.y) and (p.argmax(1)==t).float().mean()>.85
        assert torch.allclose(p.sum(1), torch.ones(500))
        p,t = learn.get_preds(ds_idx=0)
        assert torch.equal(t, sp.train.y)
        assert learn.validate()[0]<1
        learn.show_results(); learn.dls.show_batch()
    plt.close('all')

def test_a_learner_reconstructs_and_its_validation_repeats():
    sp = dataset('digits')
    def noise(x, gen): return x*(torch.rand(x.shape, generator=gen)>.2)
    noise.space = 'unit'
    model = nn.Sequential(net(16), nn.Linear(16,64), nn.Unflatten(1, (1,8,8)))
    learn = learner(image_dls(sp.unlabelled, sp.test.unlabelled(), 64, target='x', corrupt=noise, steps=5), model,
        MSELossFlat())
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, .01)
        assert learn.validate()[0]==learn.validate()[0]
        learn.show_results(max_n=4); learn.dls.show_batch(max_n=3)
    plt.close('all')

def test_a_learner_without_validation_images():
    learn = learner(image_dls(labelled(), bs=8), net(3), CrossEntropyLossFlat())
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .01)
    assert len(learn.recorder.losses)==6

def test_several_labels_an_image():
    y = torch.arange(24)[:,None]>>torch.arange(3)&1
    ds = ImageSet(images(), y, classes=['a','b','c'])
    learn = learner(image_dls(ds, ds, bs=8), net(3), BCEWithLogitsLossFlat())
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, .01); learn.show_results()
    assert ds.task=='multi-label' and learn.get_preds()[1].dtype==torch.float32
    plt.close('all')

def test_a_mask_can_be_shown():
    ImageDL(ImageSet(images(6, c=3), images(6)[:,0]//64), 6).show_batch()
    plt.close('all')

# Real images

@pytest.mark.parametrize('name', ['mnist','fashion_mnist','cifar10','cifar100'])
def test_real_images(name, real):
    sp,src = dataset(name, real), DATASETS[name]
    assert (len(sp.train), len(sp.test), sp.train.shape, sp.train.n_classes)==(src.train, src.test, src.shape,
        src.n_classes)
    assert set(verify(name, real).status)=={'ok'}
    o = src.reader(real, train=True)
    assert np.array_equal(sp.train.x[7].permute(1,2,0).squeeze().numpy(), np.asarray(o[7][0]))
    assert sp.train.y[7]==o[7][1]

@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='reads /proc')
@pytest.mark.parametrize('name,mb', [('mnist',60),('cifar10',200)])
@pytest.mark.slow
def test_memory(name, mb, real):
    "Anonymous memory: what the data take, not the pages of library code that reading them touches"
    code = f'''
from aepretrain_nb.data.named import dataset
def kb(): return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1])
before = kb(); sp = dataset({name!r}, {str(real)!r}); print((kb()-before)*1.024/1000)'''
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, cwd=repo).stdout
    assert float(out)<mb, out
