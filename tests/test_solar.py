"""A user's case from table to tables: solar cells by link, a score for unequal classes, subgroups, and what is recorded
of it"""
import importlib, shutil, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.rows import recorded
from aepretrain_nb.cli import main
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.examples import made_cells, solar_cells
from aepretrain_nb.data.own import own_images, read_own
from aepretrain_nb.experiment.subgroups import column_of, rescored, subgroups_of

ROOT = Path(__file__).resolve().parents[1]
FEW = ('--setting smoke --set pretrain.steps=4 --set finetune.steps=8 --set finetune.evals=2 '
    '--labels 60 --seeds 2 --score balanced').split()

@pytest.fixture(scope='module')
def cells(tmp_path_factory): return made_cells(tmp_path_factory.mktemp('made')/'cells', 120, size=16)

@pytest.fixture(scope='module')
def solar(cells, tmp_path_factory):
    "A folder of results with every classifier"
    out = tmp_path_factory.mktemp('results')/'solar'
    assert main(['compare', str(cells), *FEW, '--arms', 'random,frozen_random', '--keep', 'all', '--out', str(out)])==0
    return Results.read(out)

def refused(capsys, *argv):
    "The line of a command that is refused"
    assert main([str(o) for o in argv])==2
    err = capsys.readouterr().err.strip().splitlines()
    return err[-1]

# Cells

def test_the_same_seed_makes_the_same_cells(tmp_path):
    a,b,c = (made_cells(tmp_path/k, 24, seed, 16) for k,seed in dict(a=0, b=0, c=1).items())
    def bytes_of(t): return [(t.parent/f).read_bytes() for f in pd.read_csv(t).file]
    assert a.read_bytes()==b.read_bytes() and bytes_of(a)==bytes_of(b)!=bytes_of(c)

@pytest.fixture
def package(cells, tmp_path, monkeypatch):
    "A package such as elpv-dataset, of generated cells, with each degree of probability"
    data = tmp_path/'site'/'elpv_dataset'/'data'
    shutil.copytree(cells.parent/'images', data/'images')
    (data.parent/'__init__.py').write_text('')
    degrees = ['0.0', '0.3333333333333333', '0.6666666666666666', '1.0']
    lines = [f'images/{f.name}  {degrees[i%4]:18}  {"mono" if i%8<4 else "poly"}'
        for i,f in enumerate(sorted((data/'images').iterdir()))]
    (data/'labels.csv').write_text('\n'.join(lines)+'\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path/'site'), *[p for p in sys.path if 'elpv' not in p]])
    importlib.invalidate_caches()
    return data

def test_what_is_no_link_stays(package, tmp_path):
    (tmp_path/'solar').mkdir()
    mine = tmp_path/'solar'/'images'
    mine.write_text('mine')
    with pytest.raises(DataError, match='images is there already, and no link'): solar_cells(tmp_path/'solar')
    assert mine.read_text()=='mine' and [f.name for f in mine.parent.iterdir()]==['images']

def test_photographs_are_reached_by_a_link_and_labelled_at_one_half(package, tmp_path):
    table = solar_cells(tmp_path/'solar')
    assert table==solar_cells(tmp_path/'solar') and (tmp_path/'solar'/'images').resolve()==package/'images'
    t = pd.read_csv(table)
    assert list(t)==['file', 'label', 'type', 'certainty']
    assert list(t)==list(pd.read_csv(made_cells(tmp_path/'made', 8, size=16)))
    assert t.label[:4].tolist()==['functional']*2+['defective']*2
    assert t.certainty[:4].tolist()==['certain', 'uncertain', 'uncertain', 'certain']
    a = read_own(table, cache=False).account
    assert sum(a.parts.values())==120 and not len(a.skipped) and a.classes.loc['defective'].sum()==60

def test_photographs_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr('aepretrain_nb.data.examples.find_spec', lambda name: None)
    with pytest.raises(DataError, match=r'pip install "aepretrain_nb\[examples\]"'): solar_cells(tmp_path/'solar')
    assert not (tmp_path/'solar').exists()

# A score for classes of unequal size

def test_validation_and_rows_go_by_the_score_that_was_asked_for(solar):
    rows = solar.rows
    assert set(rows.metric)=={'balanced'} and set(rows.chance)=={50} and (rows.value==rows.balanced).all()
    assert solar.metric=='balanced'
    assert rows.valid.between(0, 100).all()
    assert set(solar.curves.valid.round(6))<={round(100*(a/4+b/8)/2, 6) for a in range(5) for b in range(9)}

def test_a_leak_shows_that_validation_has_the_score_of_the_test(cells, tmp_path):
    assert main(['compare', str(cells), *FEW, '--arms', 'random', '--set', 'labels.valid=test', '--out',
        str(tmp_path/'o')])==0
    rows = Results.read(tmp_path/'o').rows
    assert (rows.valid-rows.value).abs().max()<1e-3 and (rows.value==rows.balanced).all()

@pytest.mark.parametrize('score,words', [('balancd', 'balanced'), ('miou', "score 'miou': cells is scored by")])
def test_a_score_that_the_task_has_not_is_one_line(cells, tmp_path, capsys, score, words):
    line = refused(capsys, 'compare', cells, '--score', score, '--out', tmp_path/'never')
    assert words in line and not (tmp_path/'never').exists()

# Subgroups

def test_subgroups_are_parts_of_the_test(solar, cells):
    splits = own_images(cells)
    groups = subgroups_of(splits, column_of(cells, 'type'))
    by = rescored(solar.rows, solar.folder, splits, groups)
    every = rescored(solar.rows, solar.folder, splits, ['all']*len(groups))
    assert np.allclose(every.value, solar.rows.value, atol=1e-3) and set(by.subgroup)=={'mono', 'poly'}
    assert by.groupby('key').n_test.sum().eq(len(splits.test)).all() and set(by.chance)=={50}
    only = pd.Series({k: 'some' for k in pd.read_csv(cells).file[::2]})
    some = rescored(solar.rows, solar.folder, splits, subgroups_of(splits, only))
    assert some.n_test.eq(by[by.subgroup=='mono'].n_test.iloc[0]).all()

def test_a_class_that_a_subgroup_lacks_is_left_out_of_its_mean(solar, cells):
    splits = own_images(cells)
    one = rescored(solar.rows, solar.folder, splits, [str(v) for v in splits.test.y.tolist()])
    pairs = one.groupby('key').value.mean()
    assert np.allclose(pairs[solar.rows.key], solar.rows.value, atol=1e-3)

def test_the_command_tells_each_subgroup(solar, cells, capsys):
    assert main(['subgroups', str(solar.folder), str(cells), '--by', 'type'])==0
    told = capsys.readouterr().out
    assert told.count('Bottom line')==2 and 'test images of cells, mono' in told
    together = told.partition('Together:')[2]
    assert 'mono: random at labels=60' in together and 'poly: random at labels=60' in together
    assert set(Results.read(solar.folder/'subgroups-type.csv', subgroup='poly').rows.subgroup)=={'poly'}

@pytest.mark.parametrize('argv,words', [(['--by', 'typ'], "did you mean 'type'"),
    (['--by', 'type', '--size', '8'], 'results of other images')])
def test_subgroups_that_cannot_be_told(solar, cells, capsys, argv, words):
    assert words in refused(capsys, 'subgroups', solar.folder, cells, *argv)

def test_subgroups_need_every_classifier(cells, tmp_path, capsys):
    assert main(['compare', str(cells), *FEW, '--arms', 'random', '--out', str(tmp_path/'best')])==0
    assert 'keeps 1 of 2 classifiers' in refused(capsys, 'subgroups', tmp_path/'best', cells, '--by', 'type')

def test_a_folder_has_no_columns(cells, solar, capsys):
    assert 'is no table' in refused(capsys, 'subgroups', solar.folder, cells.parent, '--by', 'type')

# What is recorded

@pytest.mark.slow
def test_the_tool_records_what_the_guide_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT/'tools')
    tool = importlib.import_module('solar')
    (tmp_path/'out').mkdir()
    asked = [o for o in FEW if o not in ('--score', 'balanced')]
    assert tool.record(lambda f: made_cells(f, 120, size=16), tmp_path/'store', 16, asked, tmp_path/'out')==0
    fits = Results.read(tmp_path/'out'/'solar.csv')
    assert len(fits.rows)==6 and len(fits.encoders)==2 and 'compare cells.csv' in fits.told('command')
    assert '--size 16' in fits.told('command')
    mono = Results.read(tmp_path/'out'/'solar_subgroups.csv', by='type', subgroup='mono')
    assert set(mono.rows.key)==set(fits.rows.key) and len(fits.curves)

def test_the_recorded_rows_are_whole():
    rows,by = recorded('solar'),recorded('solar_subgroups')
    fits = rows[rows.kind=='fit']
    assert fits.groupby(['arm', 'labels']).head_seed.nunique().eq(5).all() and fits.labels.nunique()==3
    assert fits.arm.nunique()==3
    assert set(fits.metric)=={'balanced'} and set(by.key)==set(fits.key)
    parts = by.groupby(['by', 'key']).n_test.sum()
    assert parts.eq(fits.n_test.iloc[0]).all() and {'mono', 'poly'}<=set(by.subgroup)
