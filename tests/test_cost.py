"""What there is to do, and what it costs, before it begins"""
import json, sys, time
from types import SimpleNamespace
import pandas as pd, pytest, torch
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.own import own_images
from aepretrain_nb.experiment import cost as costs
from aepretrain_nb.experiment.cost import Cost, cost_of, foreseen, slowdown, span
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
    rounds,done = foreseen(plan, Store(folder.parent/'none'))
    assert not done and sum(map(len, rounds))==len(list((folder/'steps').glob('*.json')))
    rounds,done = foreseen(plan, Store(folder))
    assert not rounds and len(done)==len(list((folder/'steps').glob('*.json')))

def records(folder): return [json.loads(f.read_text()) for f in (folder/'steps').glob('*.json')]

def ran(record):
    "How many batches a finished step has learnt from, in all of its trainings"
    step,row,tried = record['step'],record['row'],len(record['tuning'] or [0])
    return row['steps']*tried if step['do']!='knn' else 0

@pytest.mark.slow
def test_as_many_batches_as_are_foreseen(folder):
    "Of a search for rates on the level of the grid"
    asked = merged(small, dict(finetune=dict(lr=[.003, .01, .03], tune='first')))
    cost = cost_of(Plan(digits, asked, labels=[50], seeds=2), Store(folder.parent/'none'))
    assert cost.table.steps.sum()==sum(map(ran, records(folder)))>0

RUNS = dict(
    rates=('default', dict(finetune=dict(lr=[.003, .01], seek='all', tune='each', first_lr=None, steps=3))),
    epochs=('kohlbrenner', dict(pretrain=dict(partial=True, epochs=2, steps=None, bs=500, opt=['sgd', 'adam']),
        finetune=dict(partial=True, epochs=3, steps=None, bs=16))),
    phases=('kalmanovich', dict(pretrain=dict(seek='all'))))

@pytest.mark.parametrize('name', [pytest.param('rates', marks=pytest.mark.slow), 'epochs', 'phases'])
def test_as_many_batches_as_are_run(name, tmp_path):
    "Rates within a step, epochs with a partial batch at their end, frozen heads as one, phases"
    recipe,change = RUNS[name]
    r = merged(find_recipe(recipe, 'smoke', 'digits'), change)
    if name=='rates': r = merged(r, dict(pretrain=dict(steps=3, evals=1, patience=None)))
    cost = cost_of(Plan(digits, r, labels=[50], seeds=1), Store(tmp_path/'none'))
    compare(digits, labels=[50], seeds=1, recipe=r, store=tmp_path/'s', progress=False)
    assert cost.table.n.sum()==len(records(tmp_path/'s'))
    assert cost.table.steps.sum()==sum(map(ran, records(tmp_path/'s')))>0

@pytest.mark.parametrize('width', [1, 2, 3, 16])
def test_no_more_hands_than_work(width):
    "Two encoders of 10 s and three fits of 1 s on each: no plan takes less than a chain, or than all work shared out"
    r = merged(small, dict(finetune=dict(freeze=[])))
    rounds,_ = foreseen(Plan(digits, r, ['pretrained'], [50, 100, 150], 2), Store('none'))
    steps, = rounds
    took = {k: 10. if s.do=='reconstruct' else 1. for k,s in steps.items()}
    least = max(11., sum(took.values())/width)
    assert least<=span(steps, took, width)<=least+3 and span(steps, took, 1)==26

def test_a_busy_machine_takes_longer():
    assert slowdown(1, .5, 1)==2 and slowdown(4, 1., 2)==2 and slowdown(2, 1., 8)==1
    told = Cost(pd.DataFrame([dict(what='fit', arm='a', labels=5, n=2, steps=9, seconds=240.)]), 120., 3., 2, 'demo')
    assert str(told)=='2 fits, about 6 min (2 min on idle cores) on 2 processes, in demo/; Ctrl-C is safe'

def test_workers_that_nobody_has_counted_are_no_single_process(folder):
    asked = merged(small, dict(finetune=dict(lr=[.003, .01, .03], tune='first')))
    cost = cost_of(Plan(digits, asked, labels=[50], seeds=4), Store(folder), None)
    assert str(cost).endswith('on one core, shared by the workers') and cost.idle>0

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
    "Within a factor of four of the seconds that it has to itself, whoever else uses the machine"
    r = merged(small, dict(pretrain=dict(steps=60), finetune=dict(steps=60)))
    plan = Plan(digits, r, ['pretrained'], labels=[100], seeds=1)
    told = cost_of(plan, Store(tmp_path/'none')).idle
    start = time.process_time()
    compare(digits, ['pretrained'], [100], 1, r, store=tmp_path/'s', progress=False)
    assert told/4<time.process_time()-start<4*told+4

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

ARGS = ('compare digits --recipe kohlbrenner --setting smoke --labels 50 --seeds 2 '
    '--arms pretrained,random_default --out').split()

def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*ARGS, 'demo', '--processes', '2', '--dry-run'])==0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('4 fits and 2 autoencoders, about')
    assert last.endswith(' on 2 processes, in demo/; Ctrl-C is safe')
    assert not list(tmp_path.iterdir())

def test_a_dry_run_refuses_what_a_run_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'demo').mkdir()
    (tmp_path/'demo'/'thesis.tex').write_text('mine')
    assert main([*ARGS, 'demo', '--dry-run'])==2 and 'choose an empty or a new folder' in capsys.readouterr().err

def test_what_is_taken_where_nothing_is_asked():
    pictures = own_images((digits.train.x[:60], digits.train.y[:60]))
    assert [recipe_for(o) for o in ('digits', digits, 'mnist', pictures)]==['default']*4
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

@pytest.mark.parametrize('fixed,batch', [(.01, .002), (.5, .05), (4., .013), (6., 1.), (3., .3)])
def test_a_batch_is_told_from_what_is_fixed(monkeypatch, fixed, batch):
    "Whatever is fixed, and where the first trial alone imports what others find there"
    asked = []
    def spent(unit, splits, device, n, batches=1, judged=2):
        asked.append(batches)
        noise = .01*fixed*(-1)**len(asked)
        return fixed + noise + batches*batch + 3*(len(asked)==1)
    monkeypatch.setattr(costs, '_spent', spent)
    monkeypatch.setattr(costs, '_on_features', lambda *args: False)
    pace = costs.timed([SimpleNamespace(trains='all')], None)
    assert pace.batch==pytest.approx(batch, rel=.35) and pace.fixed==pytest.approx(fixed, rel=.1)
    assert sum(asked)<=3+sum(4**i+1 for i in range(1, 5))
    if batch>=1: assert asked==[1, 1, 2]
