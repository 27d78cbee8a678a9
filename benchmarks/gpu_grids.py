"""The parts of `benchmarks/gpu.py` that are grids: what a store holds when time is up is not lost."""
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.ground import UserError
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.grid import needed
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.store import Store
from gpu_steps import RECIPES, Job, Task, TimeUp, here, measured, tf32

ROOT = Path(__file__).resolve().parents[1]

def rows_of(
    folder, # of a store
    arms={}, # of the recipe, whose columns rows are to have
    **own # columns that differ
)->list: # of dicts, in the order in which the steps ended
    "The rows of all steps that have finished, as a recorded table has them."
    store,packed = Store(folder),ROOT/'revision.txt'
    def said(row): return arms.get(row['arm'], {}).get('columns', {})
    if packed.exists(): own = own | dict(revision=packed.read_text())
    ended = sorted((folder/'steps').glob('[!.]*.json'), key=lambda f: f.stat().st_mtime_ns)
    return [row | said(row) | own for row in (store.get(f.stem)['row'] for f in ended)]

# Parity -----------------------------------------------------------------------------------------------------

_LIVELY = dict(encoder=dict(act='relu'), head=dict(act='relu', dropout=0.),
    pretrain=dict(opt='adam', lr=.01), finetune=dict(opt='adam', lr=.01, steps=40))
_NUMBERS = dict(encoder=('mse', 'value'), fit=('value', 'valid'))

def _tolerance(row, value):
    "How far a number may be from the processor's: a rounding of an error, some images of a share"
    return 1e-3*abs(value) if row['kind']=='encoder' else max(3., 101/row['n_test'])

def _alike(here, there):
    "Rows of two numbers of a step, one from each machine"
    who = ' '.join([here['kind'], here['arm'] or '', f'seed {here["encoder_seed"]}']).replace('  ', ' ')
    for k in _NUMBERS[here['kind']]:
        a,b = there[k],here[k]
        near = _tolerance(there, a)
        yield measured(who, k, cpu=a, here=b, apart=abs(a-b), tolerance=near, within=bool(abs(a-b)<=near)).rows[0]

def parity(job):
    "A small grid on the device and on the processor, without dropout, whose random numbers differ"
    r = merged(find_recipe(RECIPES.format('kohlbrenner'), 'smoke'), _LIVELY)
    def both(before):
        found = {}
        for name,device in (('parity_cpu', 'cpu'), ('parity_here', job.device)):
            call = partial(compare, 'digits', ['pretrained', 'random_default'], [100], 2, r, progress=False)
            with tf32(False): call(store=job.store(name), device=device)
            found[name] = {o['key']: o for o in rows_of(job.store(name))}
        here,there = found['parity_here'],found['parity_cpu']
        out = Task([o for k in there for o in _alike(here[k], there[k])])
        out.said = f'{sum(o["within"] for o in out.rows)} of {len(out.rows)} numbers within their tolerance'
        return out
    yield 'smoke grid',both

# Grids at the papers' scale ---------------------------------------------------------------------------------

def images(
    name:str # of a data set
)->Splits:
    "The images of a pack, else those where the data lie."
    packed = ROOT/'data'/name
    if not (packed/'words.json').exists(): return dataset(name)
    from gpu import unpacked
    return unpacked(packed)

def _left(plan, store):
    "What a plan has still to do, in words"
    todo = needed(plan.steps(), store).values()
    kinds = [s.do for s in todo]
    return ', '.join(f'{kinds.count(k)} x {k}' for k in dict.fromkeys(kinds))

def _spare(plan, store):
    "Let go of weights that nothing starts from any more"
    todo = needed(plan.steps(), store).values()
    keep = {p.key for s in todo for p in s.parents}
    for f in (store.path/'weights').glob('*.safetensors'):
        if f.stem not in keep: f.unlink()

def _verdict(folder, treatment):
    "The answer so far, '' before the first fits"
    try: return str(read_results(folder, treatment=treatment).verdict())
    except UserError: return ''

def graded(
    job:Job,
    name:str, # of the store
    data, # gives the images
    recipe:dict,
    sizes, # of labels
    before # not used: a store knows what is done
)->Task:
    "Run a grid as far as time allows."
    splits,folder = data(),job.store(name)
    treatment = next(iter(recipe['arms']))
    try:
        compare(splits, labels=sizes, recipe=recipe, store=folder, device=job.device, treatment=treatment, keep='none',
            executor=job.processes if job.graphs else None)
    except TimeUp: pass
    signal.setitimer(signal.ITIMER_REAL, 0)  # what follows takes a second
    plan,store = Plan(splits, recipe, labels=sizes),Store(folder)
    left = _left(plan, store)
    if left: _spare(plan, store)
    own = {k: recipe.get(k) for k in ('setting', 'reading')} | dict(device=here(job.device)['name'])
    why = next((store.why(s) for s in plan.steps() if store.get(s.key, 'failed')), 'time was up')
    out = Task(grid=rows_of(folder, recipe['arms'], **own), said=_verdict(folder, treatment))
    return replace(out, state='left', why=f'{left} to do: {why}') if left else out

def in_pieces(
    recipe:dict, # with an arm 'pretrained'
    n:int, # pieces
    steps:int # of each
)->dict: # a recipe
    "A recipe whose pre-training is a chain, each from the one before: SGD without momentum remembers only weights."
    *before,last = recipe['arms']['pretrained']['steps']
    arms = dict(pretrained=dict(steps=before*n + [last]), random_paper=recipe['arms']['random_paper'])
    first = {f'pretrained_{steps}': dict(steps=[*before, last])}
    return merged(recipe, dict(pretrain=dict(steps=steps))) | dict(arms=arms | first)

def kohlbrenner(job):
    "The MNIST row as written: 300,000 steps for the autoencoder of all runs, ten runs of either start"
    find = partial(find_recipe, RECIPES.format('kohlbrenner'), reading='as_written')
    small,full = in_pieces(find('smoke'), 2, 10),in_pieces(find('paper', pretrain=dict(evals=2)), 10, 30_000)
    if job.smoke: own = partial(dataset, 'digits'),small,[50, 100]
    else: own = partial(images, 'mnist'),full,[1000, 10_000]
    yield 'as written',partial(graded, job, 'kohlbrenner', *own)

def dong(job):
    "Table 2 at the paper's width, a tenth of its steps"
    find = partial(find_recipe, RECIPES.format('dong'), reading='as_written')
    tenth = dict(pretrain=dict(steps=20_000, evals=10), finetune=dict(steps=10_000, evals=10))
    full = find('paper', **tenth) | dict(setting='paper, a tenth of its steps')
    if job.smoke: own = partial(dataset, 'digits'),find('smoke'),[100]
    else: own = partial(images, 'cifar10'),full,[4000]
    yield 'table 2',partial(graded, job, 'dong', *own)

def zhang(job):
    "Six variants and their controls, on a net of four times the maps"
    find = partial(find_recipe, RECIPES.format('zhang'), reading='fair')
    full = find('quick', encoder=dict(widths=[64, 128, 256, 256])) | dict(setting='four times the maps')
    if job.smoke: own = partial(dataset, 'digits'),find('smoke'),[100]
    else: own = partial(images, 'cifar10'),full,[4000]
    yield 'six variants',partial(graded, job, 'zhang', *own)
