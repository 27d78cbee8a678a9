"""What there is to do, and what it costs, before it begins"""
import json, sys, time
import pytest, torch
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.own import own_images
from aepretrain_nb.experiment.cost import Cost, cost_of, foreseen
from aepretrain_nb.experiment.default import recipe_for, setting_for
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.store import Store

digits = dataset('digits')
brief = dict(pretrain=dict(steps=4, evals=1, patience=None), finetune=dict(steps=4, evals=1))
small = merged(find_recipe('default', 'smoke', 'digits'), brief)
how = dict(labels=[50], seeds=2, recipe=small, progress=False)

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A finished grid with a search for rates"
    where = tmp_path_factory.mktemp('cost')/'s'
    compare(digits, **how | dict(lr=[.003, .01, .03], tune='first'), store=where)
    return where

def test_what_is_foreseen_is_what_runs(folder):
    "A grid of two seeds, whose rates are sought among three on the first: every step that was foreseen, no other"
    asked = merged(small, dict(finetune=dict(lr=[.003, .01, .03], tune='first')))
    plan = Plan(digits, asked, labels=[50], seeds=2)
    todo,done = foreseen(plan, Store(folder.parent/'none'))
    assert not done and len(todo)==len(list((folder/'steps').glob('*.json')))
    todo,done = foreseen(plan, Store(folder))
    assert not todo and len(done)==len(list((folder/'steps').glob('*.json')))

def test_a_finished_folder_has_nothing_left(folder):
    cost = compare(digits, **how | dict(lr=[.003, .01, .03], tune='first'), store=folder, dry_run=True)
    assert isinstance(cost, Cost) and not len(cost.table) and str(cost)==f'nothing left to run, in {folder}/'

def test_more_seeds_are_priced_by_what_is_recorded(folder):
    asked = merged(small, dict(finetune=dict(lr=[.003, .01, .03], tune='first')))
    rows = cost_of(Plan(digits, asked, labels=[50], seeds=4), Store(folder)).table
    took = [json.loads(f.read_text())['row']['seconds'] for f in (folder/'steps').glob('*.json')]
    each = rows.seconds/rows.n
    assert rows.n.sum()==8 and each.between(min(took), max(took)).all()

def test_the_estimate_is_near(tmp_path):
    "Within a factor of four of what is spent, whoever else uses the machine"
    r = merged(small, dict(pretrain=dict(steps=60), finetune=dict(steps=60)))
    plan = Plan(digits, r, ['pretrained'], labels=[100], seeds=1)
    told = cost_of(plan, Store(tmp_path/'none')).seconds
    start = time.perf_counter()
    compare(digits, ['pretrained'], [100], 1, r, store=tmp_path/'s', progress=False)
    assert told/4<time.perf_counter()-start<4*told+4

def test_timing_moves_no_number(tmp_path):
    "The stream of random numbers is where it was"
    torch.manual_seed(0)
    want = torch.rand(1)
    torch.manual_seed(0)
    cost_of(Plan(digits, small, labels=[50], seeds=1), Store(tmp_path))
    assert torch.equal(torch.rand(1), want)

@pytest.mark.parametrize('recipe', ['kohlbrenner', 'kalmanovich'])
def test_every_recipe_has_a_price(recipe, tmp_path):
    plan = Plan(digits, find_recipe(recipe, 'smoke'), labels=[50], seeds=1)
    cost = cost_of(plan, Store(tmp_path))
    assert (cost.table.seconds>0).all() and cost.table.n.sum()>=len(plan.arms)

ARGS = 'compare digits --setting smoke --labels 50 --seeds 2 --arms pretrained,random_default --out'.split()

def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*ARGS, 'demo', '--processes', '2', '--dry-run'])==0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('4 fits and 2 autoencoders, about') and last.endswith(' on 2 processes, in demo/; Ctrl-C is safe')
    assert not list(tmp_path.iterdir())

def test_a_dry_run_refuses_what_a_run_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'demo').mkdir()
    (tmp_path/'demo'/'thesis.tex').write_text('mine')
    assert main([*ARGS, 'demo', '--dry-run'])==2 and 'choose an empty or a new folder' in capsys.readouterr().err

def test_what_is_taken_where_nothing_is_asked():
    pictures = own_images((digits.train.x[:60], digits.train.y[:60]))
    assert [recipe_for(o) for o in ('digits', digits, 'mnist', pictures)]==['kohlbrenner']*3 + ['default']
    assert [setting_for(o) for o in ('digits', digits, 'mnist', pictures)]==['digits']*2 + ['quick']*2

def test_alone_it_helps(capsys):
    assert main([])==0 and capsys.readouterr().out.startswith('usage: aepretrain')

def test_version(capsys):
    from aepretrain_nb import __version__
    assert main(['--version'])==0 and capsys.readouterr().out.strip()==f'aepretrain {__version__}'

def test_completion(capsys):
    pytest.importorskip('shtab')
    assert main(['--print-completion', 'bash'])==0 and '--dry-run' in capsys.readouterr().out

def test_completion_without_its_library(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'shtab', None)
    assert main(['--print-completion', 'bash'])==2 and 'aepretrain_nb[completion]' in capsys.readouterr().err
