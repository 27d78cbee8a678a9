"""Own images: what is taken, what is refused in one line, what is said before anything is trained, and that workers see
the same data"""
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset, TensorDataset
from aepretrain_nb.data.check import check_splits
from aepretrain_nb.data.files import BrokenFile
from aepretrain_nb.data.named import DATASETS, dataset
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.labels import label_subset, split_valid
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.experiment.work import keep_splits, read_splits
from aepretrain_nb.experiment.grid import run_grid
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.step import chain
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.imports import torchvision
from aepretrain_nb.experiment.recipe import find_recipe

FakeData,ImageFolder = torchvision.datasets.FakeData,torchvision.datasets.ImageFolder

def bars(n, k=4, size=16, seed=0, c=3):
    "Class = position and colour of a bright bar, plus noise"
    r = np.random.default_rng(seed); y = np.arange(n)%k; x = r.normal(90, 25, (n,c,size,size))
    for i,o in enumerate(y): x[i, o%c, :, (o*size)//k:((o+1)*size)//k] += 110
    return np.clip(x, 0, 255).astype('uint8'), y

X,Y = bars(80)
TX,TY = bars(40, seed=1)
ABCD = list('abcd')

def own(train=None, test=None, **kw):
    return Splits('own', ImageSet(X, Y, ABCD) if train is None else train,
        ImageSet(TX, TY, ABCD) if test is None else test, **kw)
def says(f, *words):
    "`f` raises a `DataError` of one line that holds `words`"
    with pytest.raises(DataError) as e: f()
    assert '\n' not in str(e.value)
    for w in words: assert w in str(e.value), str(e.value)

# Images

FLOAT = X.astype('float32')
NAN = np.where(np.arange(80)[:,None,None,None]==3, np.nan, FLOAT/255)

class Held(Dataset): data,targets = X,Y

@pytest.mark.parametrize('x,words', [
    (FLOAT, ['found 0 to 255', 'write x/255']),
    (FLOAT*257, ['write x/65535']),
    (FLOAT.astype('float64')/127.5-1, ['found -1 to 1', 'x-x.min()']),
    (FLOAT/254, ['write x.clip(0,1)']),
    (torch.from_numpy(FLOAT).half(), ['write x/255']),
    (NAN, ['1 of 80 images', 'first number 3']),
    (np.full((4,3,8,8), np.inf, 'float32'), ['4 of 4 images', 'infinite']),
    (X.transpose(0,2,3,1), ['(80, 16, 16, 3)', 'write x.transpose(0,3,1,2)', '16 channels of 16x3']),
    (torch.from_numpy(X).permute(0,2,3,1), ['write x.permute(0,3,1,2)']),
    (X[0].transpose(1,2,0), ['one image', 'write x.transpose(2,0,1)[None]']),
    (np.zeros((20,32,32,6), 'uint8'), ['32 channels of 32x6']),
    (X.astype('int64'), ['got int64', "x.astype('uint8')"]),
    (X>90, ['got bool', "x.astype('uint8')*255"]),
    (X[:,0,0], ['expected images of shape']),
    ('photos', ['a path holds no pixels', 'Image.open']),
    (Path('photos'), ['a path holds no pixels']),
    ([Path('a.png'), Path('b.png')], ['a path holds no pixels']),
    (np.array(['a.png', 'b.png']), ['a path holds no pixels']),
    ([Image.new('RGB', (8,8))]*3, ['PIL images', 'np.stack']),
    (Image.new('RGB', (8,8)), ['PIL images']),
    (FakeData(4), ['FakeData gives one image at a time', 'ImageSet(np.stack', 'data.classes']),
    (FakeData(4, transform=lambda o: o), ['torch.stack']),
    (TensorDataset(torch.zeros(3)), ['TensorDataset']),
    ([np.zeros((3,8,8)), np.zeros((3,9,8))], ['not all of one size']),
    (np.array([dict(), dict()]), ['array of objects', 'np.stack(list(x))']),
    (None, ['a NoneType is no array of images']),
    (DataLoader(TensorDataset(torch.zeros(3))), ['a DataLoader is no array']),
    (Held(), ['ImageSet(data.data, data.targets)']),
    (np.zeros((2,3,4,4), complex), ['complex'])])
def test_images_that_are_refused(x, words): says(lambda: ImageSet(x, name='mine'), 'mine', *words)

def test_an_image_folder_is_refused_and_the_line_it_is_given_works(tmp_path):
    for i,c in enumerate('cat dog'.split()):
        (tmp_path/c).mkdir()
        for j in range(3): Image.fromarray(X[3*i+j].transpose(1,2,0)).save(tmp_path/c/f'{j}.png')
    data = ImageFolder(tmp_path)
    with pytest.raises(DataError) as e: ImageSet(data)
    line = str(e.value).split('stack them: ')[1]
    got = eval(line, dict(ImageSet=ImageSet, np=np, data=data))
    assert (len(got), got.shape, got.classes, got.y.tolist())==(6, (3,64,64), ['cat','dog'], [0,0,0,1,1,1])

@settings(max_examples=60, deadline=None)
@given(st.integers(12,40), st.integers(12,40), st.sampled_from([1,2,3,4,6]), st.booleans())
def test_channels_last_is_told_from_channels_first(h, w, c, as_array):
    w = h if c in (2,6) and min(h,w)<4*c else w
    first = np.random.default_rng(h*w+c).integers(0, 256, (3,c,h,w), dtype='uint8')
    last = first.transpose(0,2,3,1)
    if not as_array: first,last = torch.from_numpy(first),torch.from_numpy(last)
    assert ImageSet(first).shape==(c,h,w)
    says(lambda: ImageSet(last), 'channels last', 'transpose' if as_array else 'permute')
    assert ImageSet(last, layout='nhwc').digest==ImageSet(first).digest and ImageSet(last, layout='nchw').shape==(h,w,c)

@pytest.mark.parametrize('x', [X, X[:,0], FLOAT/255, (FLOAT/255).astype('float64'), X.astype('uint16')*257,
    X[:,::-1,::-1], X.astype('>u2'), list(X),
    X[:,:,:1,:1], np.zeros((0,3,8,8), 'float32')])
def test_images_that_are_taken(x):
    s = ImageSet(x)
    assert np.array_equal(s.x.numpy().reshape(np.shape(x)), x)

def test_layout_is_a_word_of_two(): says(lambda: ImageSet(X, layout='chw'), "layout 'chw' is none of nchw, nhwc")

# Labels, classes, groups

WORDS = np.array(['dog','cat','emu','cat'])
@pytest.mark.parametrize('y', [WORDS, WORDS.tolist(), tuple(WORDS), WORDS.astype(object), pd.Series(WORDS),
    pd.Series(WORDS).astype('category'), pd.Series(WORDS, dtype='string')])
def test_labels_in_words(y):
    s = ImageSet(X[:4], y)
    assert (s.y.tolist(), s.classes, s.task)==([1,0,2,0], ['cat','dog','emu'], 'classify')
    assert ImageSet(X[:4], y, ['emu','dog','cat']).y.tolist()==[1,2,0,2]

@pytest.mark.parametrize('y', [[1.,0.,2.,0.], np.array([1,0,2,0], 'uint8'), pd.Series([1,0,2,0], dtype='Int64'),
    [np.int64(1),0,2,0], torch.tensor([1.,0,2,0]), [torch.tensor(i) for i in (1,0,2,0)]])
def test_labels_in_numbers(y):
    s = ImageSet(X[:4], y)
    assert (s.y.tolist(), s.y.dtype, s.classes)==([1,0,2,0], torch.int64, ['0','1','2'])

def test_true_and_false_are_classes(): assert ImageSet(X[:2], np.array([True,False])).y.tolist()==[1,0]

@pytest.mark.parametrize('y,kw,words', [
    (['a',None,'b','a'], {}, ['image 1 is missing']), (['a','','b','a'], {}, ['image 1 is missing']),
    (pd.Series(['a',np.nan,'b','a']), {}, ['image 1 is missing']),
    ([0,None,1,2], {}, ['image 1 is missing']), ([0,float('nan'),1,2], {}, ['nan (at 1) is no whole number']),
    ([0,1.5,1,2], {}, ['1.5 (at 1) is no whole number']),
    (['a','b','c','a'], dict(classes=['a','b']), ["'c' is none of the classes a, b"]),
    ([[0],[1],[2],[1]], {}, ['y.ravel()']),
    ([0,1,2,3], dict(classes=['a','b','c']), ['0..2, found 0..3']),
    ([0,1,0,1], dict(classes=['a','a']), ["'a' is named twice"]), ([0,1,0,1], dict(classes='ab'), ['a list of names']),
    (np.eye(4)[:,:3], dict(classes=['a','b']), ['(4, 2)', '(4, 3)']), (np.zeros((4,8,8), int), {}, ['(4, 16, 16)']),
    ([[0],[1,2],[0],[1]], {}, ['targets of images', 'size']),
    (np.arange(4)%2, dict(task='multi-label'), ['needs targets of shape', 'got (4,)']),
    ([0,-1,0,1], {}, ['found -1..1']),
    ([[255,0]]*4, {}, ['found 255 and no 1: write y/255']), ([[1,-1]]*4, {}, ['0 or 1, found -1..1']),
    ([[1,np.nan]]*4, {}, ['0 or 1']), ([[1,254]]*4, {}, ['found 1..254'])])
def test_labels_that_are_refused(y, kw, words): says(lambda: ImageSet(X[:4], y, **kw), *words)

def test_groups_by_name_are_the_same_in_every_part():
    a,b = ImageSet(X[:4], groups=['ann','bob','ann','cid']),ImageSet(X[:2], groups=np.array(['cid','eve']))
    assert a.groups[0]==a.groups[2] and len(a.groups.unique())==3
    assert set(a.groups.tolist()) & set(b.groups.tolist())=={int(a.groups[3])}
    assert ImageSet(X[:3], groups=[np.int32(4),np.int64(4),7]).groups.tolist()==[4,4,7]
    assert ImageSet(X[:2], groups=[1.,2.]).groups.tolist()==[1,2]
    says(lambda: ImageSet(X[:2], groups=[1.5,2]), '1.5 (at 0) is no whole number')

@pytest.mark.parametrize('make,words', [(lambda: Splits('own', X, ImageSet(TX, TY)), ['train is of type ndarray']),
    (lambda: Splits('own', ImageSet(X, Y), (TX, TY)), ['test is of type tuple']),
    (lambda: own(unlabelled=X), ['unlabelled is of type ndarray'])])
def test_parts_are_image_sets(make, words): says(make, 'own', *words)

# Classes of train and test

@settings(max_examples=40, deadline=None)
@given(st.permutations(ABCD), st.sampled_from(['classify','multi-label','segment']))
def test_classes_are_matched_by_name(order, task):
    hot = lambda y: np.stack([y==i for i in range(4)], 1)
    masks = lambda y: np.broadcast_to(y[:,None,None], (len(y),16,16)).copy()
    form = {'classify': lambda y: y, 'multi-label': hot, 'segment': masks}[task]
    at = np.array([order.index(c) for c in ABCD])
    straight,turned = (own(ImageSet(X, form(Y), ABCD), ImageSet(TX, form(y), names))
        for y,names in ((TY, ABCD), (at[TY], order)))
    assert torch.equal(turned.test.y, straight.test.y) and turned.test.classes==ABCD and turned.digest==straight.digest
    assert [('matched by name' in w) for w in check_splits(turned).warnings]==[True]*(order!=ABCD)

def test_other_names_of_the_same_images_score_the_same():
    r = find_recipe('kohlbrenner', 'digits', encoder=dict(width=.1), head=dict(width=.1),
        pretrain=dict(steps=20, evals=1), finetune=dict(steps=100, evals=2))
    run = lambda test: compare(own(test=test), ['random_paper'], [40], 1, r, progress=False).rows.value.tolist()
    assert run(ImageSet(TX, TY, ABCD))==run(ImageSet(TX, 3-TY, list('dcba')))!=[0.]

def test_a_test_set_with_fewer_classes_or_without_names():
    keep = TY!=1
    fewer = own(test=ImageSet(TX[keep], np.array(ABCD)[TY[keep]]))
    assert torch.equal(fewer.test.y, torch.tensor(TY[keep])) and fewer.test.n_classes==4
    assert any('no test image of class b' in w for w in check_splits(fewer).warnings)
    nameless = own(test=ImageSet(TX, TY))
    assert nameless.test.classes==ABCD and any('by number' in w for w in check_splits(nameless).warnings)
    assert check_splits(own()).warnings==[]

def test_a_class_that_only_test_has_is_refused():
    five = bars(40, 5, seed=1)
    says(lambda: check_splits(Splits('own', ImageSet(X, Y), ImageSet(*five))),
        'own: there are test images of class 4, but no training image')
    says(lambda: check_splits(own(test=ImageSet(*five, list('abcde')))), 'class e')
    says(lambda: check_splits(own(test=ImageSet(TX, TY, list('ABCD')))), 'class A, B, C, D', 'a, b, c, d')
    says(lambda: check_splits(own(ImageSet(X, Y, list('abcde')), ImageSet(*five, list('abcde')))), 'class e')

def test_wrong_data_is_said_before_anything_is_trained_or_written(tmp_path):
    "In one line, and `compare` leaves no folder behind; what is odd is among the warnings of the result"
    s = Splits('own', ImageSet(X, Y), ImageSet(*bars(40, 5, seed=1)))
    says(lambda: compare(s, ['random'], [40], 2, store=tmp_path/'s', progress=False),
        'own: there are test images of class 4')
    assert not (tmp_path/'s').exists()
    leak = own(test=ImageSet(np.concatenate([TX, X[:2]]), np.r_[TY, Y[:2]], ABCD))
    res = compare(leak, ['random_paper'], [4], 1, find_recipe('kohlbrenner', 'smoke'), store=tmp_path/'t',
        progress=False)
    for words in ('2 of 42 test images are among the training images', '4 labels leave none to train on'):
        assert any(words in w for w in res.warnings) and words in res.text()
    assert any('2 of 42' in w for w in read_results(tmp_path/'t').warnings)

def test_a_declared_class_without_images_is_a_warning():
    s = own(ImageSet(X, Y, list('abcdefg')), ImageSet(TX, TY, list('abcdefg')))
    assert check_splits(s).warnings==['there is no image of class e, f, g, which the classes name']

# Parts that do not fit

@pytest.mark.parametrize('make,words', [
    (lambda: own(test=ImageSet(TX[:,:1], TY, ABCD)), ['images of train are 3x16x16', 'those of test 1x16x16']),
    (lambda: own(unlabelled=ImageSet(X[...,:8])), ['those of unlabelled 3x16x8']),
    (lambda: own(unlabelled=lambda: ImageSet(X[:,:1])), ['those of unlabelled 1x16x16']),
    (lambda: own(ImageSet(X)), ['train has no labels']), (lambda: own(test=ImageSet(TX)), ['test has no labels']),
    (lambda: own(test=ImageSet(TX, TY, ABCD).take([])), ['test is empty']),
    (lambda: own(unlabelled=ImageSet(X).take([])), ['unlabelled is empty']),
    (lambda: own(ImageSet(X, Y, ABCD).take([])), ['train is empty']),
    (lambda: own(test=ImageSet(TX, np.eye(4)[TY], ABCD)), ['the task of train is classify, that of test multi-label']),
    (lambda: own(folds=[[0,1],[80]]), ['fold 1', '0 to 79'])])
def test_parts_that_do_not_fit(make, words): says(lambda: check_splits(make()), 'own: ', *words)

def test_groups_on_both_sides():
    part = lambda x, y, g: ImageSet(x, y, ABCD, groups=g)
    g = np.arange(80)//8
    says(lambda: check_splits(own(part(X, Y, g), part(TX, TY, 9+np.arange(40)//8))), 'share 1 group (the first is 9)')
    assert check_splits(own(part(X, Y, g), part(TX, TY, 9+np.arange(40)//8), derived=True)).warnings
    assert check_splits(own(part(X, Y, g), part(TX, TY, 10+np.arange(40)//8))).warnings==[]
    seen = own(part(X, Y, g), part(TX, TY, 10+np.arange(40)//8), unlabelled=ImageSet(X, groups=g+3))
    assert ['the autoencoder has seen them' in w for w in check_splits(seen).warnings]==[True]

# The same image twice

@settings(max_examples=60, deadline=None)
@given(st.integers(1,30), st.integers(1,30), st.integers(1,30), st.integers(0,99))
def test_repeated_images_are_found_as_by_comparing_all_with_all(n, m, u, seed):
    g = generator('repeats', seed)
    tr,te,un = (torch.randint(0, 2, (k,1,1,3), generator=g).to(torch.uint8)*255 for k in (n,m,u))
    s = Splits('own', ImageSet(tr, torch.zeros(n)), ImageSet(te, torch.zeros(m)), ImageSet(un))
    first = lambda x, o: next((j for j,z in enumerate(o) if torch.equal(x, z)), None)
    slow = {(i,part,j) for part,o in (('train',tr), ('unlabelled',un))
        for i,x in enumerate(te) if (j := first(x, o)) is not None}
    found = check_splits(s)
    if not torch.equal(tr, un): assert set(found.same[['test','part','index']].itertuples(index=False, name=None))==slow
    assert found.twice=={i: j for i,x in enumerate(tr) if (j := first(x, tr))<i}

@pytest.mark.parametrize('kind', ['uint8','uint16','float32','float64'])
def test_a_leak_is_counted_listed_and_said_whatever_the_type(kind):
    x = X.astype('uint16')*257 if kind=='uint16' else X if kind=='uint8' else (X/255).astype(kind)
    test = ImageSet(np.concatenate([TX, X[[5,9]]]), np.r_[TY, Y[5], 3-Y[9]], ABCD)
    found = check_splits(own(ImageSet(x, Y, ABCD), test))
    assert found.same.test.tolist()==[40,41] and found.same['index'].tolist()==[5,9]
    assert found.same.labels_agree.tolist()==[True,False]
    assert found.warnings==['2 of 42 test images are among the training images, too: number 40, 41; 1 with another '
        'label']
    assert 'number 40, 41' in repr(found)

def test_test_images_that_an_autoencoder_sees_are_said():
    assert ['among the unlabelled images' in w
        for w in check_splits(own(unlabelled=ImageSet(np.concatenate([X, TX[:3]])))).warnings]==[True]
    far = own(unlabelled=ImageSet(np.concatenate([255-X, TX[[4,2]]])))
    assert check_splits(far).warnings==['2 of 40 test images are among the unlabelled images, too: number 2, 4']
    other = Splits('other', ImageSet(TX, TY), ImageSet(X, Y))
    assert ['40 of 40 test images are among the unlabelled images of other' in w
        for w in check_splits(own(), others=[other]).warnings]==[True]

def test_training_images_that_repeat_are_counted():
    s = own(ImageSet(np.concatenate([X, X[:3]]), np.r_[Y, Y[:2], 3-Y[2]], ABCD))
    assert check_splits(s).warnings==['3 of 83 training images occur before, 1 of them with another label']

@pytest.mark.parametrize('name,repeats,twice',
    [('mnist',0,0), ('fashion_mnist',0,0), ('cifar10',0,0), ('cifar100',10,14)])
def test_what_real_data_sets_repeat(name, repeats, twice, real):
    found = check_splits(dataset(name, real))
    assert (len(found.same), len(found.twice), len(found.warnings))==(repeats, twice, 2*(repeats>0))

def test_nearly_black_images_are_a_warning():
    black = (X/255).astype('uint8')
    assert ['images of train are nearly black' in w
        for w in check_splits(own(ImageSet(np.maximum(black, Y[:,None,None,None]==0), Y, ABCD))).warnings
        if 'occur' not in w]==[True]

# Sizes

@pytest.mark.parametrize('k', [2,3,10])
def test_a_size_that_leaves_a_class_without_labels_is_said(k):
    s = Splits('own', ImageSet(*bars(20*k, k)), ImageSet(*bars(2*k, k, seed=1)))
    for n in range(k, 3*k+3):
        left = n-max(1, round(.2*n))
        got = check_splits(s, labels=[n]).warnings
        assert bool(got)==(left<k)
        if got: assert f'{n} labels leave none to train on of class' in got[0]
        y = s.train.y
        assert (len(y[split_valid(label_subset(y, n, 0, digest=s.train.digest), y, 0,
            digest=s.train.digest)[0]].unique())<k)==bool(got)
    assert check_splits(s, labels=[k], valid='extra', n_valid=k).warnings==check_splits(s, labels=[k],
        valid='test').warnings==[]
    says(lambda: check_splits(s, labels=[k-1]), f'{k-1} labels asked for')

# What identifies the data

def test_class_names_tasks_and_folds_are_part_of_the_digest_and_of_no_draw():
    plain = Splits('own', ImageSet(X, Y), ImageSet(TX, TY))
    seven = list('abcdefg')
    others = [own(), own(ImageSet(X, Y, seven), ImageSet(TX, TY, seven)), own(folds=[[0,1]]), own(folds=[[1,0]])]
    assert len({s.digest for s in (plain, *others)})==5 and {s.content for s in others}=={plain.content}=={plain.digest}
    assert len({s.train.digest for s in (plain, *others)})==1 and own(ImageSet(X, Y, seven)).digest==others[1].digest
    hot = np.eye(4)[TY]
    assert own(ImageSet(X, np.eye(4)[Y]), ImageSet(TX, hot)).digest!=plain.digest

def test_groups_are_part_of_both():
    grouped = own(ImageSet(X, Y, ABCD, groups=np.arange(80)//4))
    assert grouped.content!=own().content and grouped.digest!=own().digest

def test_other_class_names_train_the_same_nets(tmp_path):
    r = find_recipe('kohlbrenner', 'smoke')
    run = lambda names, at: compare(Splits('own', ImageSet(X, Y, names), ImageSet(TX, TY, names)),
        ['pretrained','random_paper'], [40], 1, r, store=tmp_path/at, progress=False)
    a,b = run(ABCD, 'a'),run(list('wxyz'), 'b')
    assert a.rows.value.tolist()==b.rows.value.tolist() and a.encoders.value.tolist()==b.encoders.value.tolist()
    assert not set(a.rows.key) & set(b.rows.key)

def test_a_named_data_set_has_the_digest_of_its_content():
    s = dataset('digits')
    assert s.digest==s.content=='67f42ea146ae791dd3214c3d52fd8e3a86f79dfe591b7b838395f204ee6ec850' and s.as_loaded()
    again = Splits('digits', s.train, s.test)
    assert not again.as_loaded() and again.digest==s.digest
    named = 'zero one two three four five six seven eight nine'.split()
    assert Splits('digits', *(ImageSet(o.x, o.y, named) for o in (s.train, s.test))).digest!=s.digest

def test_a_change_in_place_is_another_data_set():
    x = torch.from_numpy(X.copy())
    s = Splits('own', ImageSet(x, Y), ImageSet(TX, TY), root='here')
    before = s.digest
    assert s.as_loaded()
    x[0] = 0
    assert s.digest!=before and not s.as_loaded()
    a = X.copy()
    s = Splits('own', ImageSet(a, Y), ImageSet(TX, TY)); before = s.digest
    a[0] = 0
    check_splits(s)
    assert s.digest!=before==Splits('own', ImageSet(X, Y), ImageSet(TX, TY)).digest

# Workers

KINDS = dict(uint8=X, uint16=X.astype('uint16')*257, float32=FLOAT/255, float64=X/255, grey=X[:,:1],
    insisted=X.transpose(0,2,3,1))

@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('target', ['classes','multi-hot','masks'])
def test_what_a_file_keeps_is_all(tmp_path, kind, target):
    x,layout = KINDS[kind],'nchw' if kind=='insisted' else None
    y = {'classes': Y, 'multi-hot': np.eye(4)[Y],
        'masks': np.random.default_rng(0).integers(0, 4, (80, *x.shape[2:]))}[target]
    part = lambda i, **kw: ImageSet(x[i], y[i], list('abcdefg') if target!='multi-hot' else ABCD, layout=layout,
        name='mine', **kw)
    s = Splits('digits', part(slice(0,50), groups=np.arange(50)//5), part(slice(50,80)),
        ImageSet(x[20:60], layout=layout), folds=[[0,4], [3]], derived=True)
    f = tmp_path/'own.safetensors'
    keep_splits(s, f)
    got = read_splits(f)
    assert got.digest==s.digest
    assert (got.name, got.derived, [o.tolist() for o in got.folds])==('digits', True, [[0,4],[3]])
    for k in ('train','test','unlabelled'):
        a,b = getattr(s, k),getattr(got, k)
        assert torch.equal(a.x, b.x) and (a.x.dtype, a.classes, a.task, a.name)==(b.x.dtype, b.classes, b.task, b.name)
        for t,u in ((a.y, b.y), (a.groups, b.groups)): assert t is u is None or torch.equal(t, u) and t.dtype==u.dtype

@pytest.mark.parametrize('words', ['[]', '{}', 'null',
    '{"name": "a", "folds": 3, "train": {}, "test": {}, "unlabelled": {}, "derived": false}'])
def test_images_of_a_file_that_was_edited_are_refused_by_its_name(tmp_path, words):
    f = tmp_path/'own.safetensors'
    keep_splits(Splits('mine', ImageSet(X, Y, list('abcd')), ImageSet(TX, TY, list('abcd')), ImageSet(X)), f)
    with safe_open(f, 'pt') as o: tensors = {k: o.get_tensor(k) for k in o.keys()}
    save_file(tensors, f, dict(splits=words))
    with pytest.raises(BrokenFile, match='own.safetensors holds no images of a store'): read_splits(f)

def test_workers_and_readers_get_own_data_whatever_it_is_called(tmp_path):
    """Named like a known set, float, with groups, seven declared classes of which four occur, and changed by NumPy
    after its digest was taken"""
    a = (X/255).astype('float32')
    seven = list('abcdefg')
    s = Splits('digits', ImageSet(a, Y, seven, groups=np.arange(80)//4), ImageSet(TX, TY, seven), ImageSet(X[:60]),
        folds=[list(range(40))])
    before = s.digest
    a[:3] = 0
    r = find_recipe('kohlbrenner', 'smoke')
    runs = {ex: compare(s, ['pretrained','random_paper'], [40], 1, r, store=tmp_path/str(ex), executor=ex,
        progress=False) for ex in (None, 'processes:1')}
    own,away = runs.values()
    assert not len(own.missing) and not len(away.missing) and own.rows.key.tolist()==away.rows.key.tolist()
    assert s.fresh()!=before
    losses = lambda res: [res.store.get(t.key)['losses'] for o in res.steps for t in chain(o)]
    assert losses(own)==losses(away) and own.rows.value.tolist()==away.rows.value.tolist()
    read = read_results(tmp_path/'processes:1')
    assert read.splits.train.classes==seven and read.rows.value.tolist()==own.rows.value.tolist()

def test_data_that_changes_after_planning_is_said(tmp_path):
    a = X.copy()
    s,r = Splits('own', ImageSet(a, Y), ImageSet(TX, TY)),find_recipe('kohlbrenner', 'smoke')
    ts = plan(s, r, ['random_paper'], [40], 1)
    a[0] = 0
    store = Store(tmp_path/'s')
    run_grid(ts, store, s, progress=False)
    assert 'own changed after the grid was planned' in next((tmp_path/'s'/'failed').glob('*.json')).read_text()
