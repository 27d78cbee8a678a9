"Which classifiers a comparison keeps, that they answer as they did, and that nothing else moves"
import itertools, json
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from matplotlib.figure import Figure
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.exported import export
from aepretrain_nb.experiment.fitted import fitted, kept_table
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.store import Store

digits = dataset('digits')
BRIEF = merged(find_recipe('default', 'smoke'), dict(pretrain=dict(steps=6, evals=2), finetune=dict(steps=8, evals=2)))
ASKED = dict(arms=['random', 'frozen_random'], labels=[50, 100], progress=False)

@pytest.fixture(scope='module')
def grid(tmp_path_factory):
    "Two arms, two sizes, three seeds"
    return compare(digits, recipe=BRIEF, seeds=3, store=tmp_path_factory.mktemp('kept')/'grid', **ASKED)

def preferred(res):
    "file name of what validation prefers, for each arm and size, told from the records alone"
    rows = res.rows.assign(loss=[min(t['valid_loss'] for t in o['tuning']) for o in res.records])
    first = rows.sort_values(['valid', 'loss', 'head_seed'],
        ascending=[False, True, True]).groupby(['arm', 'labels']).first()
    return {f'{k}.safetensors' for k in first.key}

def test_the_best_of_each_arm_and_size_is_kept(grid): assert set(kept_table(grid.folder).file)==preferred(grid)

@pytest.mark.slow
def test_all_or_none(grid, tmp_path):
    every = compare(digits, recipe=BRIEF, seeds=3, store=tmp_path/'all', keep='all', **ASKED)
    assert set(kept_table(every.folder).file)=={f'{k}.safetensors' for k in every.rows.key}
    compare(digits, recipe=BRIEF, seeds=2, store=tmp_path/'none', keep='none', **ASKED)
    with pytest.raises(ExperimentError, match='keeps no classifier'): kept_table(tmp_path/'none')
    pd.testing.assert_series_equal(every.rows.value, grid.rows.value)
    pd.testing.assert_series_equal(every.rows.key, grid.rows.key)
    compare(digits, recipe=BRIEF, seeds=4, store=tmp_path/'all', **ASKED)  # the usual way afterwards removes nothing
    assert set(every.rows.key)<={f[:-12] for f in kept_table(tmp_path/'all').file}

@pytest.mark.slow
def test_in_steps_and_in_processes(grid, tmp_path):
    "A grid that grows, and one in two processes, keep the same bytes"
    for n in (1, 3): compare(digits, recipe=BRIEF, seeds=n, store=tmp_path/'grown', executor=n if n<3 else 2, **ASKED)
    def files(folder): return {f.name: f.read_bytes() for f in (Path(folder)/'classifiers').iterdir()}
    assert files(tmp_path/'grown')==files(grid.folder)

@pytest.mark.parametrize('order', list(itertools.permutations(range(3))))
def test_order_does_not_matter(order, tmp_path):
    fits = plan(digits, BRIEF, ['random'], [50], 3)
    store = Store(tmp_path/'s')
    store.fits = 'best'
    said = dict(better='lower', shape=[1, 8, 8])
    valid = [dict(valid=5., valid_loss=.2), dict(valid=5., valid_loss=.1), dict(valid=5., valid_loss=.1)]
    for i in order: store.keep_fit(fits[i], said | valid[i], lambda: (dict(w=torch.ones(1)), {}))
    assert [s.key for s,*_ in store.kept()]==[fits[1].key]

@pytest.mark.parametrize('arm', ASKED['arms'])
@pytest.mark.parametrize('labels', ASKED['labels'])
def test_it_answers_as_it_was_recorded(grid, arm, labels):
    fit = fitted(grid.folder, arm, labels)
    row = grid.rows.set_index('key').loc[fit.step.key]
    p = fit.probabilities(digits.test)
    assert 100*(p.argmax(1)==digits.test.y).float().mean().item()==pytest.approx(row.value, abs=1e-3)
    assert (p.sum(1)-1).abs().max()<1e-5 and .02<=fit.said['temperature']<=50

def test_a_folder_of_before(grid, tmp_path, capsys):
    compare(digits, recipe=BRIEF, seeds=1, store=tmp_path/'old', keep='none', **ASKED)
    assert read_results(tmp_path/'old').text()
    assert main(['predict', str(tmp_path/'old'), str(tmp_path), '-o', str(tmp_path/'never.csv')])==2
    err = capsys.readouterr().err
    assert 'keeps no classifier' in err and err.count('\n')==1 and not (tmp_path/'never.csv').exists()

def edited(file, change):
    "A classifier whose words were changed"
    with safe_open(file, 'pt') as f: words = json.loads(f.metadata()['recipe'])
    change(words)
    save_file(load_file(file), file, dict(recipe=json.dumps(words)))

@pytest.mark.parametrize('how', ['cut', 'empty', 'of another', 'strange factory'])
def test_a_broken_one_is_named(how, tmp_path, capsys):
    res = compare(digits, recipe=BRIEF, seeds=1, store=tmp_path/'s', **ASKED | dict(labels=[50], arms=['random']))
    file = next((res.folder/'classifiers').iterdir())
    if how=='cut': file.write_bytes(file.read_bytes()[:500])
    if how=='empty': file.write_bytes(b'')
    if how=='of another': edited(file, lambda o: o['kwargs']['step']['seeds'].update(head=9))
    if how=='strange factory': edited(file, lambda o: o['kwargs']['step']['net']['encoder'].update(make='os:system'))
    np.save(tmp_path/'x.npy', digits.test.x[:3].numpy())
    assert main(['predict', str(res.folder), str(tmp_path/'x.npy'), '-o', str(tmp_path/'never.csv')])==2
    assert file.name in capsys.readouterr().err and not (tmp_path/'never.csv').exists()

def test_own_words(tmp_path):
    "Classes by name, colours, sixteen bits: what comes back is what went in"
    x = torch.randint(0, 65535, (60, 3, 16, 16), dtype=torch.int32,
        generator=torch.Generator().manual_seed(0)).to(torch.uint16)
    names = np.array(['Übel', 'p, q'])[np.arange(60)%2]
    own = Splits('own', ImageSet(x, names), ImageSet(x[:20], names[:20]))
    res = compare(own, recipe=BRIEF, arms=['random'], labels=[20], seeds=1, store=tmp_path/'s', progress=False)
    fit = fitted(res.folder)
    assert fit.classes==own.train.classes and fit.said['kind']=='uint16' and fit.said['shape']==[3, 16, 16]
    told = fit.predict(x[:5].numpy())
    assert list(told)[:3]==['file', 'prediction', 'confidence'] and set(told.prediction)<=set(names)
    export(fit, tmp_path/'taken')
    again = fitted(tmp_path/'taken')
    torch.testing.assert_close(again.probabilities(own.test), fit.probabilities(own.test))
    with pytest.raises(ExperimentError, match='an empty or a new folder'): export(fit, tmp_path/'taken')

@pytest.mark.slow
def test_torchvision_by_itself(tmp_path):
    import torchvision
    from aepretrain_nb.experiment.chosen import chosen
    from aepretrain_nb.experiment.exported import native
    r = chosen(BRIEF, (3, 32, 32), 'torchvision:resnet18')
    x = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    own = Splits('own', ImageSet(x, np.arange(24)%2), ImageSet(x[:8], np.arange(8)%2))
    res = compare(own, recipe=r, arms=['random'], labels=[12], seeds=1, store=tmp_path/'s', progress=False)
    fit = fitted(res.folder)
    assert native(fit).library=='torchvision'
    export(fit, tmp_path/'taken')
    net = torchvision.models.resnet18(num_classes=2)
    net.load_state_dict(load_file(tmp_path/'taken'/'model.safetensors'))
    with torch.no_grad(): torch.testing.assert_close(net.eval()(x), fit.net.eval()(x), rtol=1e-4, atol=1e-4)

def test_export_says_the_verdict(grid, tmp_path, capsys):
    assert main(['export', str(grid.folder), '--arm', 'random', '--labels', '50', '-o', str(tmp_path/'out')])==0
    card = (tmp_path/'out'/'README.md').read_text()
    assert '## Verdict' in card and read_results(grid.folder).text().splitlines()[0] in card

def test_unknown_words(grid, tmp_path, capsys):
    for argv in (['--arm', 'randm'], ['--labels', '7']):
        assert main(['predict', str(grid.folder), str(tmp_path), *argv])==2
        assert capsys.readouterr().err.count('\n')==1
    assert main(['compare', 'digits', '--keep', 'some', '--out', str(tmp_path/'never')])==2
    assert not (tmp_path/'never').exists()

@pytest.fixture(scope='module')
def scans(grid, tmp_path_factory):
    "A folder of digits, none of which has a label, and a table that names three of them"
    from PIL import Image
    where = tmp_path_factory.mktemp('scans')
    for i in range(5): Image.fromarray(digits.test.x[i,0].numpy()).save(where/f'{i}.png')
    (where/'some.csv').write_text('scan,when\n0.png,May\n3.png,June\n4.png,July\n')
    return where

def test_file_names_suffice(grid, scans, tmp_path, capsys):
    argv = ['predict', str(grid.folder), str(scans/'some.csv'), '-o', str(tmp_path/'p.csv')]
    assert main(argv)==2 and "no column 'file'" in capsys.readouterr().err and not (tmp_path/'p.csv').exists()
    assert main([*argv, '--columns', 'file=scan'])==0
    told = pd.read_csv(tmp_path/'p.csv')
    want = fitted(grid.folder).predict(scans)
    assert told.file.tolist()==['0.png', '3.png', '4.png'] and 'label' not in told
    assert told.prediction.tolist()==want.prediction.astype(told.prediction.dtype).iloc[[0, 3, 4]].tolist()

def test_features_in_parquet(grid, scans, tmp_path):
    pytest.importorskip('pyarrow')
    for out in ('z.parquet', 'z.npz'): assert main(['embed', str(grid.folder), str(scans), '-o', str(tmp_path/out)])==0
    d,z = pd.read_parquet(tmp_path/'z.parquet'),np.load(tmp_path/'z.npz')
    assert list(d)==['file', *(f'f{i}' for i in range(z['x'].shape[1]))]
    assert d.file.tolist()==z['files'].tolist() and np.array_equal(d.drop(columns='file').to_numpy(), z['x'])

# Pre-training alone

@pytest.fixture
def begun(monkeypatch):
    "The steps that were begun, each of which is interrupted"
    out = []
    def carry_out(step, *args):
        out.append(step)
        raise KeyboardInterrupt
    monkeypatch.setattr('aepretrain_nb.experiment.alone.carry_out', carry_out)
    return out

@pytest.mark.parametrize('out,says', [('.', 'not a file: name a file to write'),
    ('old.txt/e.safetensors', 'Not a directory')])
def test_a_place_is_looked_at_before_it_trains(scans, tmp_path, monkeypatch, capsys, begun, out, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'old.txt').touch()
    assert main(['pretrain', str(scans), '-o', out])==2
    assert says in capsys.readouterr().err and not begun and [f.name for f in tmp_path.iterdir()]==['old.txt']

def test_an_interrupted_pretraining_does_not_promise_to_go_on(grid, tmp_path, capsys, begun):
    np.save(tmp_path/'x.npy', digits.train.x[:20].numpy())
    argv = ['pretrain', str(tmp_path/'x.npy'), '-o', str(tmp_path/'e.safetensors')]
    assert main(argv)==130 and len(begun)==1
    said = capsys.readouterr().err
    assert 'begins anew' in said and 'To go on' not in said and not (tmp_path/'e.safetensors').exists()
