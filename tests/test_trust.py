"What is read is what was verified, what is filed is what was seen, and no file of a folder runs because the folder names it"
import hashlib, json, os, pickle, shutil, subprocess, sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.ckplus import draw_ckplus
from aepretrain_nb.data.named import DATASETS, dataset, verify
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.step import from_json, sealed, to_json
from aepretrain_nb.experiment.trust import paths_in

# Files of named data sets

class Touch:
    "Pickled: who loads it writes a file"
    def __init__(self, f): self.f = f
    def __reduce__(self): return Path.touch, (self.f,)

def evil(f, ran):
    f.parent.mkdir(parents=True, exist_ok=True)
    f.write_bytes(pickle.dumps(Touch(ran)))

FILES = [k for k,s in DATASETS.items() if isinstance(s.reader, type)]

def test_the_pickles_of_these_tests_run_where_they_are_loaded(tmp_path):
    evil(tmp_path/'f', tmp_path/'RAN')
    pickle.loads((tmp_path/'f').read_bytes())
    assert (tmp_path/'RAN').exists()

@pytest.mark.parametrize('name', FILES)
def test_a_file_that_is_not_the_official_one_is_refused_before_it_is_parsed(name, tmp_path):
    for f in verify(name, tmp_path).file: evil(tmp_path/f, tmp_path/'RAN')
    with pytest.raises(DataError, match=f'{name}: .* is altered') as e: dataset(name, tmp_path)
    assert '\n' not in str(e.value) and not (tmp_path/'RAN').exists()

@pytest.fixture
def cifar(tmp_path, monkeypatch):
    "A tiny tree in CIFAR's layout, with a reader that holds its digests"
    x,folder = np.arange(2*3072, dtype=np.uint8).reshape(2, 3072),tmp_path/'tiny'
    files = dict(train=dict(data=x, labels=[0, 1]), test=dict(data=x[::-1], labels=[1, 0]), names=dict(names=['a', 'b']))
    folder.mkdir()
    for k,v in files.items(): (folder/k).write_bytes(pickle.dumps(v))
    def known(k): return [k, hashlib.md5((folder/k).read_bytes()).hexdigest()]
    meta = dict(zip(('filename', 'md5'), known('names')), key='names')
    own = dict(base_folder='tiny', train_list=[known('train')], test_list=[known('test')], meta=meta)
    reader = type('Tiny', (DATASETS['cifar10'].reader,), own)
    monkeypatch.setitem(DATASETS, 'cifar10', replace(DATASETS['cifar10'], reader=reader))
    return folder

@pytest.mark.parametrize('which', ['train', 'test', 'names'])
def test_a_file_that_was_changed_after_it_was_verified_is_refused(cifar, which):
    root = cifar.parent
    assert set(verify('cifar10', root).status)=={'ok'} and len(dataset('cifar10', root).train)==2
    evil(cifar/which, root/'RAN')
    with pytest.raises(DataError, match=f'tiny/{which} is altered'): dataset('cifar10', root)
    assert not (root/'RAN').exists()

@pytest.mark.parametrize('name', ['mnist', 'fashion_mnist'])
def test_pickles_beside_raw_files_are_not_opened_by_a_download(name, tmp_path, monkeypatch):
    reader = DATASETS[name].reader
    for f in ('training.pt', 'test.pt'): evil(tmp_path/reader.__name__/'processed'/f, tmp_path/'RAN')
    asked = []
    monkeypatch.setattr(reader, 'download', lambda self: asked.append(1))
    with suppress(RuntimeError, DataError): dataset(name, tmp_path, download=True)
    assert asked and not (tmp_path/'RAN').exists()

@pytest.mark.parametrize('name', ['mnist', 'fashion_mnist'])
def test_pickles_beside_verified_raw_files_are_not_what_is_read(name, real, tmp_path):
    folder = tmp_path/DATASETS[name].reader.__name__
    (folder/'processed').mkdir(parents=True)
    (folder/'raw').symlink_to(real/folder.name/'raw')
    for f,n in dict(training=60000, test=10000).items():
        torch.save((torch.zeros(n, 28, 28, dtype=torch.uint8), torch.arange(n)%10), folder/f'processed/{f}.pt')
    assert set(verify(name, tmp_path).status)=={'ok'} and int(dataset(name, tmp_path).train.x.max())==255

def test_the_kept_faces_of_ckplus_are_arrays_or_made_again(tmp_path):
    root = draw_ckplus(tmp_path/'CK+', subjects=3, films=2, frames=2)
    before = dataset('ckplus', tmp_path).digest
    kept, = root.rglob('ckplus_faces.npz')
    evil(kept, tmp_path/'RAN')
    assert dataset('ckplus', tmp_path).digest==before and not (tmp_path/'RAN').exists()

# What was seen

ONE = dict(arms=['pretrained', 'random_default'], labels=50, seeds=1, setting='digits', progress=False)

def own():
    d = dataset('digits')
    def part(o, n): return ImageSet(o.x[:n].clone(), o.y[:n].clone(), groups=torch.arange(n)+1000*n)
    more = ImageSet(d.train.x[300:400].clone())
    return Splits('own', part(d.train, 300), part(d.test, 100), more, folds=[torch.arange(100), torch.arange(100, 200)])

@pytest.fixture(scope='module')
def seen(tmp_path_factory):
    splits,store = own(),tmp_path_factory.mktemp('seen')/'s'
    compare(splits, store=store, **ONE | dict(arms=['random_default']))
    return splits,store

EDITS = dict(pixel=lambda s: s.train.x, test=lambda s: s.test.x, unlabelled=lambda s: s.unlabelled.x, label=lambda s: s.train.y,
    group=lambda s: s.train.groups, fold=lambda s: s.folds[0])

@pytest.mark.parametrize('what', EDITS)
def test_one_number_that_was_changed_in_memory_makes_other_data(seen, what):
    "NumPy writes, of which PyTorch knows nothing"
    splits,store = seen
    a = EDITS[what](splits).numpy().reshape(-1)
    before,was = {f: f.read_bytes() for f in store.rglob('*') if f.is_file()},a[0].copy()
    a[0] = {'label': (was+1)%10, 'group': 10**6, 'fold': 250}.get(what, was^1)
    try:
        with pytest.raises(ExperimentError, match='the data differ') as e: compare(splits, store=store, **ONE)
    finally: a[0] = was
    assert '\n' not in str(e.value) and {f: f.read_bytes() for f in store.rglob('*') if f.is_file()}==before
    assert splits.fresh()==own().digest

@pytest.mark.parametrize('edit', [
    lambda s: s.train.x.numpy().fill(7), lambda s: setattr(s, 'folds', [torch.arange(50)]), lambda s: s.train.classes.__setitem__(0, 'zero'),
    lambda s: setattr(s, 'train', s.train.take(range(900)))], ids=['pixels', 'folds', 'class', 'part'])
def test_a_named_data_set_that_was_edited_does_not_go_by_its_name(edit):
    "Whether or not its digest was asked for before"
    whole = dataset('digits').fresh()
    s,asked = dataset('digits'),dataset('digits')
    asked.fresh()
    for o in (s, asked):
        edit(o)
        assert o.fresh()!=whole and not o.as_loaded()
    assert s.digest==asked.digest
