"""Arms as graphs of steps: what is shared runs once, what fails takes along what waits for it, what was killed goes on;
users' own steps and nets."""
import signal, time
from dataclasses import asdict, replace
import pytest, torch
from safetensors.torch import load_file, save_file
from torch import nn
from aepretrain_nb.compare import compare
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment.finetune import finetune
from aepretrain_nb.experiment.plan import DO, plan
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.build import build_classifier
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.step import Start, chain
from aepretrain_nb.nets.encoder import ConvEncoder, ConvStage
from aepretrain_nb.train.schedule import gradual
from torture.child import Child

digits = dataset('digits')
smoke = find_recipe('kohlbrenner', 'smoke')
frozen = dict(change=dict(finetune=dict(freeze=['encoder.'])))
here = f'{__name__}:'

def recipe(**arms): return smoke | dict(arms=arms)
def run(r, folder, **kw):
    return compare(digits, **dict(labels=[50], seeds=1) | kw, recipe=r, store=folder, progress=False)
def ended(res): return [l.split()[3] for l in (res.store.path/'log.txt').read_text().splitlines() if ' done ' in l]

# One beginning, many ends

def test_a_common_beginning_runs_once(tmp_path):
    on = ['reconstruct', 'classify']
    res = run(recipe(tuned=dict(steps=on), still=dict(steps=on) | frozen, votes=dict(steps=['reconstruct', 'knn'])),
        tmp_path/'s', seeds=2)
    first = {s.arm: s.parents[0].key for s in res.steps if s.seeds['head']==0}
    assert len(set(first.values()))==1 and len(ended(res))==len(set(ended(res)))==2*(1+3)
    assert len(list((tmp_path/'s'/'weights').glob('*')))==2 and len(res.rows)==6

def test_an_arm_of_three_steps_hands_its_weights_on(tmp_path):
    three = dict(steps=['reconstruct', dict(do='reconstruct', pretrain=dict(lr=.1, steps=10)), 'classify'])
    res = run(recipe(two=dict(steps=['reconstruct', 'classify']), three=three), tmp_path/'s')
    a,b,c = chain(next(s for s in res.steps if s.arm=='three'))
    assert (a.do, b.do, c.do)==('reconstruct', 'reconstruct', 'classify') and a.key==chain(res.steps[0])[0].key
    assert len(ended(res))==4
    start = {s.key: load_file(res.store.file('filters', s.key, 'safetensors'))['start'] for s in (res.steps[0], c)}
    after = [load_file(res.store.file('weights', s.key, 'safetensors'))['encoder.stages.conv1.conv.weight']
        for s in (a, b)]
    assert torch.equal(after[0], start[res.steps[0].key]) and torch.equal(after[1], start[c.key])
    assert not torch.equal(*after)
    again,_ = carry_out(b, digits, res.store.starts(b))
    assert torch.equal(again.encoder.stages.conv1.conv.weight, after[1])

def test_a_failed_step_fails_all_that_wait_for_it_and_says_why(tmp_path):
    wild = dict(steps=[dict(do='reconstruct', pretrain=dict(lr=1e38, loss='bce')), 'reconstruct', 'classify'])
    res = run(recipe(wild=wild, fine=dict(steps=['classify'])), tmp_path/'s')
    assert res.rows.arm.tolist()==['fine'] and res.missing.arm.tolist()==['wild']
    assert res.missing.reason.item().startswith('nothing to start from: nothing to start from: StepFailed: diverged')
    assert len(list((tmp_path/'s'/'failed').glob('*.json')))==3

# Files

def named_file(path):
    "Weights of the smoke net's first two layers, as others call them"
    state = build_classifier(plan(digits, smoke, ['random_default'], [50], 1)[0], digits).encoder.state_dict()
    other = {f'features.{i}.{w}': state[f'stages.conv{i}.conv.{w}']+1 for i in (1, 2, 3) for w in ('weight', 'bias')}
    save_file(other, path)
    return other

def test_a_file_with_other_names_fills_what_its_map_says(tmp_path):
    other = named_file(tmp_path/'w.safetensors')
    names = {f'features.{i}.': f'encoder.stages.conv{i}.conv.' for i in (1, 2)}
    t, = plan(digits, smoke, ['random_default'], [50], 1)
    t = replace(t, start=(Start(file='w', names=names),))
    assert t.origin=='file' and t.key!=replace(t, start=(Start(file='w'),)).key
    net,_ = carry_out(replace(t, fit=t.fit | dict(lr=1e-12)), digits, [(other, names)])
    conv = net.encoder.stages
    assert all(torch.allclose(conv[f'conv{i}'].conv.weight, other[f'features.{i}.weight'], atol=1e-6) for i in (1, 2))
    assert not torch.allclose(conv.conv3.conv.weight, other['features.3.weight'], atol=1e-2)

def test_a_file_with_other_names_is_refused_without_a_map(tmp_path):
    named_file(tmp_path/'w.safetensors')
    with pytest.raises(ValueError, match='weights not copied') as e:
        run(smoke, tmp_path/'s', arms=[f'file:{tmp_path/"w.safetensors"}'])
    assert '\n' not in str(e.value) and not (tmp_path/'s').exists()

# Phases

DENSE = dict(name='dense', setting='smoke', arms={}, images=dict(pick='stratified', n=200), labels=dict(n=[20]),
    seeds=dict(n=1),
    encoder=dict(make='aepretrain_nb.nets.staged:dense_encoder', widths=[32, 16, 8], act='sigmoid'),
    decoder=dict(make='aepretrain_nb.nets.staged:StagedAE', out_act='sigmoid', init=dict(dist='xavier_uniform')),
    pretrain=dict(opt='sgd', lr=.05, bs=20, n_valid=60, momentum=.9, loss='bce', reduction='sum_pixels',
    corrupt=dict(kind='masking', p=.15)))

def phases(steps):
    "Level by level, each a step"
    fields = [asdict(p) for p in gradual(['l1', 'l2', 'l3'], steps, steps)]
    own = [{k: v for k,v in p.items() if k!='steps' and v is not None} for p in fields]
    return [dict(do='phase', pretrain=dict(steps=steps, phase=p)) for p in own]

def dense(steps=20): return DENSE | dict(arms=dict(gradual=dict(steps=phases(steps)), short=dict(steps=phases(1))))

def test_arms_of_phases_are_scored_in_nats_and_lower_is_better(tmp_path):
    res = compare(digits, recipe=dense(60), seeds=3, store=tmp_path/'s', treatment='gradual', progress=False)
    assert set(res.rows.metric)=={'nats'} and set(res.rows.better)=={'lower'} and len(res.rows)==6
    row, = res.verdict().table.itertuples()
    assert row.verdict=='helps' and row.diff<0 and 'nats' in res.text() and 'points' not in res.verdict().headline

def test_a_killed_chain_of_phases_goes_on_at_the_last_finished_phase(tmp_path):
    c = Child(lambda: compare(digits, ['gradual'], recipe=dense(), seeds=1, store=tmp_path/'s'), tmp_path)
    while '[1/' not in c.err() and c.ended() is None: time.sleep(.001)
    c.send(signal.SIGKILL)
    assert c.wait()==-signal.SIGKILL
    before = {f: f.read_bytes() for f in (tmp_path/'s'/'steps').glob('[!.]*.json')}
    assert 1<=len(before)<3
    res = compare(digits, ['gradual'], recipe=dense(), seeds=1, store=tmp_path/'s', progress=False)
    whole = compare(digits, ['gradual'], recipe=dense(), seeds=1, store=tmp_path/'whole', progress=False)
    assert all(f.read_bytes()==b for f,b in before.items()) and len(ended(res))==3
    assert res.rows.value.tolist()==whole.rows.value.tolist()

def test_a_phase_that_is_set_to_nothing_is_none(tmp_path):
    res = compare(digits, ['pretrained'], [50], 1, merged(smoke, dict(pretrain=dict(phase=None))), store=tmp_path/'s',
        progress=False)
    assert len(res.rows)==1
    assert [s.said for s in chain(res.steps[0])]==['reconstruct, seed 0', 'pretrained, 50 labels, seed 0']

# Steps and nets of a user

def doubled(step, splits, weights=(), device='cpu'):
    "Fine-tune with twice the rate, and say so in a column of one's own"
    net,res = finetune(replace(step, fit=step.fit | dict(lr=2*step.fit['lr'])), splits, weights, device)
    return net, res | dict(columns=dict(note='doubled'))

DOUBLED = replace(DO['classify'], run=here+'doubled')

def small(c, h, w, gen=None, maps=3):
    return ConvEncoder(dict(c1=ConvStage(nn.Conv2d(c, maps, 3, padding=1), 'relu', 'max')))

def test_a_step_of_ones_own_by_import_path(tmp_path):
    r = recipe(mine=dict(steps=['reconstruct', here+'DOUBLED']), usual=dict(steps=['reconstruct', 'classify']))
    res = run(r, tmp_path/'s')
    rows = res.rows.set_index('arm')
    assert rows.note['mine']=='doubled' and rows.lr['mine']==2*rows.lr['usual'] and len(ended(res))==3

@pytest.mark.parametrize('do,names', [('clasify', "did you mean 'classify'"),
    ('test_steps:NOTHING', 'package.module:name'), ('os:getcwd', 'is not a Do')])
def test_a_step_that_does_not_exist_is_one_line(tmp_path, do, names):
    with pytest.raises(ValueError) as e: run(recipe(a=dict(steps=[do])), tmp_path/'s')
    assert names in str(e.value) and '\n' not in str(e.value) and not (tmp_path/'s').exists()

def test_an_encoder_of_ones_own_and_its_parameters(tmp_path):
    nets = dict(encoder=dict(make=here+'small', maps=5), decoder=dict(make='mirror', out_act='sigmoid'),
        head=dict(make='linear'))
    r = recipe(pretrained=dict(steps=['reconstruct', 'classify']), random=dict(steps=['classify'])) | nets
    res = run(r, tmp_path/'s')
    assert len(res.rows)==2
    assert load_file(res.store.file('filters', res.steps[0].key, 'safetensors'))['start'].shape[0]==5
    with pytest.raises(ExperimentError, match="encoder has no 'map'; did you mean 'maps'"):
        merged(r, dict(encoder=dict(map=5)))
