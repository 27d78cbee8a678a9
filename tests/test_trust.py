"""What is read is what was verified, what is filed is what was seen, and no file of a folder runs because the folder
names it"""
import hashlib, json, os, pickle, shutil, subprocess, sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from safetensors.torch import load_file, save_file
from aepretrain_nb.answers.results import Results
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.ckplus import draw_ckplus
from aepretrain_nb.data.ground import canonical
from aepretrain_nb.data.named import DATASETS, dataset, verify
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.step import from_json, sealed, to_json
from aepretrain_nb.experiment.trust import paths_in

pytestmark = pytest.mark.usefixtures('no_pictures')

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
    files = dict(train=dict(data=x, labels=[0, 1]), test=dict(data=x[::-1], labels=[1, 0]),
        names=dict(names=['a', 'b']))
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

ONE = dict(arms=['pretrained', 'random_default'], labels=50, seeds=1, recipe='kohlbrenner', setting='smoke',
    progress=False)

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

EDITS = dict(pixel=lambda s: s.train.x, test=lambda s: s.test.x, unlabelled=lambda s: s.unlabelled.x,
    label=lambda s: s.train.y,
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
    lambda s: s.train.x.numpy().fill(7), lambda s: setattr(s, 'folds', [torch.arange(50)]),
    lambda s: s.train.classes.__setitem__(0, 'zero'),
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

# Modules that a folder names

@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    "A store of two arms, filled from the command line"
    store = tmp_path_factory.mktemp('kept')/'s'
    line = 'compare digits --recipe kohlbrenner --setting smoke --labels 50 --seeds 1 --arms pretrained,random_default'
    assert main([*line.split(), '--out', str(store)])==0
    return store

CODE = ('from pathlib import Path\nPath(__file__).with_name("RAN").write_text("")\n'
    'def f(*args, **kwargs): raise KeyError\n')

@pytest.fixture
def folder(kept, tmp_path, monkeypatch):
    "A copy of it with a module, called from inside and with it on the path, as a notebook there has it"
    store = shutil.copytree(kept, tmp_path/'s')
    (store/'evilmod.py').write_text(CODE)
    monkeypatch.chdir(store)
    monkeypatch.syspath_prepend(store)
    yield store
    sys.modules.pop('evilmod', None)

def ran(folder): return (folder/'RAN').exists()

def change(file, f):
    "Let `f` change the values in a JSON file"
    o = json.loads(file.read_text())
    f(o)
    file.write_text(json.dumps(o))

def rename(folder, f):
    "Let `f` make other steps of those in a store: records, weights and cells move to their keys"
    for file in [*folder.glob('steps/*.json')]:
        r = json.loads(file.read_text())
        new = f(from_json(r['step']))
        file.unlink()
        r = sealed(r | dict(step=to_json(new), row=r['row'] | dict(key=new.key)), new.key)
        (folder/f'steps/{new.key}.json').write_text(json.dumps(r))
        for w in folder.glob(f'weights/{file.stem}*.safetensors'):
            save_file(load_file(w), w.with_name(w.name.replace(file.stem, new.key)), dict(step=canonical(to_json(new))))
            w.unlink()
        cells = folder/'plan/cells.json'
        cells.write_text(cells.read_text().replace(file.stem, new.key))

def otherwise(step, **parts):
    "A step with other parts, and so all that it starts from"
    start = tuple(replace(s, step=s.step and otherwise(s.step, **parts)) for s in step.start)
    net = {k: v | parts.get('net', {}).get(k, {}) for k,v in step.net.items()}
    return replace(step, net=net, start=start, **{k: v for k,v in parts.items() if k!='net'})

EVIL = dict(make='evilmod:f')
STEPS = dict(encoder=dict(net=dict(encoder=EVIL)), decoder=dict(net=dict(decoder=EVIL)), head=dict(net=dict(head=EVIL)),
    do=dict(do='evilmod:f'))

def recipe_with(**own):
    def f(o): o['recipe'] |= own
    return f

RECIPES = dict(name=dict(name='evilmod:f'), view=dict(view='evilmod:f'), encoder=dict(encoder=EVIL),
    steps=dict(arms=dict(pretrained=dict(steps=['evilmod:f']))),
    template=dict(arms=dict(pretrained=dict(steps=[dict(do='evilmod:f')]))))

def says_trust(folder, capsys):
    "Report and `read_results` name the module in one line, and it has not run"
    capsys.readouterr()
    assert main(['report', '.'])==2
    err = capsys.readouterr().err
    assert err.count('\n')==1 and "names 'evilmod:f'" in err and '--trust evilmod' in err
    assert "trust=('evilmod',)" in err
    with pytest.raises(ExperimentError, match='evilmod:f'): read_results(folder)
    assert not ran(folder)

@pytest.mark.parametrize('part', STEPS)
def test_no_module_that_a_record_names_is_imported(folder, part, capsys):
    rename(folder, lambda s: otherwise(s, **STEPS[part]))
    says_trust(folder, capsys)

@pytest.mark.parametrize('part', RECIPES)
def test_no_module_that_a_recipe_of_a_folder_names_is_imported(folder, part, capsys):
    change(folder/'experiment.json', recipe_with(**RECIPES[part]))
    says_trust(folder, capsys)

def test_who_trusts_a_module_has_it_imported(folder):
    "The test's own: without trust it is refused, with it the folder's code runs"
    rename(folder, lambda s: otherwise(s, net=dict(encoder=EVIL)))
    with suppress(Exception): read_results(folder, trust=('evilmod',)).pictures(2)
    assert ran(folder)

def test_a_comparison_in_a_folder_that_names_modules_imports_none(folder, capsys):
    "Going on in it, borrowing from it, and reading what was borrowed"
    rename(folder, lambda s: otherwise(s, net=dict(encoder=EVIL)))
    line = 'compare digits --recipe kohlbrenner --setting smoke --labels 50 --seeds 1 --arms pretrained --out'.split()
    assert main([*line, 'own', '--reuse', '.'])==0
    change(folder/'own/experiment.json', recipe_with(encoder=EVIL))
    assert main([*line, 'own'])==2 and 'another recipe' in capsys.readouterr().err
    assert not ran(folder)

def test_own_factories_need_no_word_where_the_caller_names_them(tmp_path):
    recipe = find_recipe('kohlbrenner', 'smoke') | dict(head=dict(make=f'{__name__}:own_head'))
    res = compare('digits', store=tmp_path/'s', **ONE | dict(recipe=recipe))
    assert len(res.rows)==2 and len(read_results(tmp_path/'s', trust=__name__).rows)==2
    with pytest.raises(ExperimentError, match=f'--trust {__name__}'): read_results(tmp_path/'s')

def own_head(encoder, c, h, w, n_out, gen=None):
    from aepretrain_nb.train.named_heads import head_of
    return head_of('linear')(encoder, c, h, w, n_out, gen=gen)

def test_names_of_nets_and_of_files_are_no_modules():
    assert paths_in(dict(encoder=dict(make='timm:resnet18'),
        arms={'file:a': dict(steps=['classify'], start='file:b')}))==set()

@pytest.mark.slow
def test_the_folder_of_the_call_is_no_place_for_modules(folder):
    "`python -m` puts it first on the path, before the library's own"
    for name in ('torch', 'numpy', 'timm', 'argparse', 'shlex'): (folder/f'{name}.py').write_text(CODE)
    env = {k: v for k,v in os.environ.items() if k!='PYTHONSAFEPATH'}
    p = subprocess.run([sys.executable, '-m', 'aepretrain_nb', 'settings'], cwd=folder, env=env, capture_output=True,
        text=True)
    assert p.returncode==0 and 'finetune.steps' in p.stdout and not ran(folder), p.stderr

# Records that are not what they say

def table(res): return res.rows.drop(columns=['seconds', 'images_s', 'revision']).to_csv(index=False)
def record_of(folder, arm):
    return next(f for f in folder.glob('steps/*.json') if json.loads(f.read_text())['step'].get('arm')==arm)

def edit_value(o): o['row']['value'] = 99.9
def edit_step(o): o['step']['seeds']['head'] = 7
def edit_curve(o): o['curve'][-1] += 1
def edit_key(o): o['row']['key'] = '0'*20
def edit_sha(o): o['sha'] = '0'*64

EDITED = dict(value=edit_value, step=edit_step, curve=edit_curve, key=edit_key, sha=edit_sha)

@pytest.mark.parametrize('what', EDITED)
def test_an_edited_record_is_named_left_out_by_a_report_and_made_again_by_a_comparison(folder, what, capsys):
    before,f = table(read_results(folder)),record_of(folder, 'pretrained')
    change(f, EDITED[what])
    told = read_results(folder)
    assert set(told.rows.arm)=={'random_default'} and told.missing.arm.tolist()==['pretrained']
    assert f.name in told.missing.reason[0]
    capsys.readouterr()
    res = compare('digits', store=folder, **ONE | dict(progress=True))
    err = capsys.readouterr().err
    assert f.name in err and ('edited' in err or 'holds the step' in err)
    assert table(res)==table(read_results(folder))==before

def test_records_that_changed_places_are_both_named_and_made_again(folder, capsys):
    before = table(read_results(folder))
    a,b = (record_of(folder, arm) for arm in ('pretrained', 'random_default'))
    x,y = a.read_bytes(),b.read_bytes()
    a.write_bytes(y); b.write_bytes(x)
    res = compare('digits', store=folder, **ONE)
    err = capsys.readouterr().err
    assert f'{a.name} is broken: it holds the step {b.stem}' in err
    assert f'{b.name} is broken: it holds the step {a.stem}' in err
    assert table(res)==before

def test_a_record_without_a_seal_is_read_as_long_as_its_step_has_its_name(folder):
    before,f = table(read_results(folder)),record_of(folder, 'pretrained')
    change(f, lambda o: o.pop('sha'))
    assert table(read_results(folder))==before

# Pickles

READERS = dict(report=lambda: read_results('.').pictures(2), tables=lambda: Results.read('.').pictures(2),
    resume=lambda: compare('digits', store='.', **ONE),
    borrow=lambda: compare('digits', store='other', reuse=['.'], **ONE))

@pytest.mark.parametrize('what', ['weights/*.safetensors', 'steps/*.json', 'plan/*.json', 'experiment.json',
    'pictures.npz'])
def test_pickles_in_a_folder_are_never_loaded(folder, what):
    "Whoever meets one says so in a line, or makes the file again"
    for read in READERS.values():
        for f in [*folder.glob(what)] or [folder/what]: evil(f, folder/'RAN')
        with suppress(ValueError): read()
        assert not ran(folder)
