"""What would spoil the narrative of the grid: killing it, racing it, moving it to other processes, and the keys that
old results depend on."""
import hashlib, json, re, shlex, signal, time
from dataclasses import make_dataclass, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace
import pandas as pd, pytest, torch
from scipy import stats
from safetensors.torch import load_file
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.ground import canonical
from aepretrain_nb.answers.pretraining import optimisers
from aepretrain_nb.experiment.grid import needed
from aepretrain_nb.experiment.plan import Plan, plan
from aepretrain_nb.experiment.seen import labelled
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.build import build_classifier
from aepretrain_nb.experiment.kinds import ExperimentError, Whole
from aepretrain_nb.experiment.schema import Fit, Images, Labels, defaults
from aepretrain_nb.experiment.stack import classify
from aepretrain_nb.experiment import step as step_module
from aepretrain_nb.experiment.step import chain, from_json, to_json
from aepretrain_nb.experiment.store import Store
from torture.child import Child
from torture.grid import command

pytestmark = pytest.mark.usefixtures('no_pictures')

digits = dataset('digits')
smoke = find_recipe('kohlbrenner', 'smoke')
TIMES = ['seconds', 'images_s']
small = dict(arms=['pretrained', 'random_default'], labels=[50, 100], seeds=3)

def table(res): return res.rows.drop(columns=TIMES).to_csv(index=False)

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return compare(digits, **small, recipe=smoke, store=tmp_path_factory.mktemp('w')/'whole', progress=False)

# Interrupts

@pytest.mark.parametrize('processes', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_kill_9_loses_nothing_and_repeats_nothing(tmp_path, whole, processes, capsys):
    "The same command goes on, here in this process"
    out = tmp_path/'grid'
    steps = lambda: {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in out.glob('steps/*.json')}
    c = Child(command(out, 'plain', '--processes', str(processes)), tmp_path)
    while '[4/' not in c.err() and c.ended() is None: time.sleep(.01)
    c.send(signal.SIGKILL)
    assert c.wait()==-signal.SIGKILL and c.alone()
    before = steps()
    left = 15-len(before)
    assert 0<left<=11 and not (out/'results.csv').exists()
    assert main(command(out))==0
    said = capsys.readouterr().err
    assert f'[1/{left}]' in said and f'[{left}/{left}]' in said
    assert all(steps()[f]==b for f,b in before.items())
    found,want = (pd.read_csv(f).drop(columns=TIMES) for f in (out/'results.csv', _csv(whole, tmp_path)))
    assert found.to_csv(index=False)==want.to_csv(index=False)

def _csv(res, folder):
    res.rows.to_csv(folder/'whole.csv', index=False)
    return folder/'whole.csv'

def test_ctrl_c_says_how_to_go_on(tmp_path):
    out = tmp_path/'grid'
    c = Child(command(out, 'plain', '--set', 'finetune.steps=1000'), tmp_path)
    while '[2/' not in c.err() and c.ended() is None: time.sleep(.01)
    c.send(signal.SIGINT, 'parent')
    assert c.wait(60)==130 and 'Traceback' not in c.err()
    assert 'give the same command again' in c.err()
    assert 'aepretrain compare digits --recipe kohlbrenner --setting smoke' in c.err() and str(out) in c.err()
    assert len(list(out.glob('steps/*.json')))>=2

def test_ctrl_c_after_the_last_step_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupt(*args, **kw): raise KeyboardInterrupt
    monkeypatch.setattr('aepretrain_nb.compare.whole_folder', interrupt)
    assert main(command(tmp_path/'grid'))==130
    assert capsys.readouterr().err.splitlines()[-2:]==['To go on, give the same command again:',
        f'  aepretrain {shlex.join(command(tmp_path/"grid"))}']

def test_a_half_written_file_is_not_a_step(tmp_path, whole):
    store = Store(tmp_path)
    (tmp_path/'steps').mkdir()
    t = whole.steps[0]
    (tmp_path/'steps'/f'.{t.key}.json.123.456').write_text('{"row"')
    assert store.get(t.key) is None and t.key in needed([t], store)

def test_two_runs_on_one_store_share_the_work(tmp_path, whole):
    out = tmp_path/'grid'
    c = Child(command(out), tmp_path)
    while c.ended() is None and not list(out.glob('steps/[!.]*.json')): time.sleep(.01)
    res = compare(digits, **small, recipe=smoke, store=out, progress=False)
    assert c.wait()==0, c.err()
    ended = [l.split()[3] for l in (out/'log.txt').read_text().splitlines()]
    assert table(res)==table(whole) and not (out/'failed').exists() and len(ended)==len(set(ended))==15

# Other processes

def test_a_process_pool_gives_the_same_rows(tmp_path, whole):
    res = compare(digits, **small, recipe=smoke, store=tmp_path/'pool', executor=2, progress=False)
    assert table(res)==table(whole)

def test_threads_of_the_process_do_not_matter(whole):
    n = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        t = next(t for t in whole.steps if not t.start)
        res = classify(t, digits)[1]
    finally: torch.set_num_threads(n)
    assert res['value']==whole.store.get(t.key)['row']['value']

# What a result may depend on

def test_test_labels_choose_nothing(whole):
    y = digits.test.y
    other = Splits('digits', digits.train, ImageSet(digits.test.x,
        y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]))
    t = next(t for t in whole.steps if not t.start)
    wide = dict(opt='adam', lr=[1e-3, 5e-3, 2e-2], bs=32, steps=200, evals=4)
    t, = plan(digits, merged(smoke, dict(finetune=wide)), ['random_paper'], [50], 1)
    (a,ra),(b,rb) = classify(t, digits),classify(t, other)
    assert all(torch.equal(p, q) for p,q in zip(a.state_dict().values(), b.state_dict().values()))
    assert (ra['lr'], ra['best'], ra['tuning'])==(rb['lr'], rb['best'], rb['tuning']) and ra['value']!=rb['value']

def test_every_arm_chooses_its_rate_on_its_own_validation_images(tmp_path):
    rs = [.02, .2, 2.]
    res = compare(digits, ['pretrained', 'random_paper'], [100], 2, smoke, store=tmp_path/'s', lr=rs, progress=False)
    for t,rec in zip(res.steps, res.records):
        alone = [classify(replace(t, fit=t.fit | dict(lr=lr)), digits, res.store.starts(t))[1] for lr in rs]
        best = max(alone, key=lambda a: (a['valid'], -a['valid_loss']))
        assert (rec['row']['lr'], rec['row']['value'], rec['row']['valid'])==(best['lr'], best['value'], best['valid'])
    assert set(res.rows.lrs)=={'0.02 0.2 2'}

@pytest.mark.parametrize('arms', [['pretrained', 'random_paper']])
def test_rates_chosen_on_the_first_seed_serve_all_and_survive_growth(tmp_path, arms):
    kw = dict(arms=arms, labels=[100], recipe=smoke, lr=[.02, .2, 2.], tune='first', progress=False)
    compare(digits, seeds=1, store=tmp_path/'s', **kw)
    grown,fresh = compare(digits, seeds=3, store=tmp_path/'s', **kw),compare(digits, seeds=3, store=tmp_path/'f', **kw)
    times = ['seconds', 'images_s']
    assert grown.rows.drop(columns=times).equals(fresh.rows.drop(columns=times))
    assert grown.rows.groupby('arm').lr.nunique().eq(1).all() and set(grown.rows.lrs)=={'0.02 0.2 2'}
    assert len(grown.tuning)==6
    assert len(list((tmp_path/'s'/'steps').glob('*.json')))==2*(3+2)+3
    read = read_results(tmp_path/'s')
    assert read.rows.equals(grown.rows) and read.tuning.equals(grown.tuning)

def test_test_labels_do_not_move_the_rate_of_the_first_seed(tmp_path):
    other = ImageSet(digits.test.x, torch.zeros_like(digits.test.y), classes=digits.test.classes)
    kw = dict(arms=['random_paper'], labels=[100], seeds=2, recipe=smoke, lr=[.02, .2, 2.], tune='first',
        progress=False)
    a,b = compare(digits, **kw, store=tmp_path/'a'),compare(Splits('digits', digits.train, other), **kw,
        store=tmp_path/'b')
    same = ['lr', 'valid', 'valid_loss', 'chosen']
    assert a.tuning[same].equals(b.tuning[same]) and not a.rows.value.equals(b.rows.value)

def test_one_autoencoder_for_all_runs(tmp_path):
    res = compare(digits, ['pretrained', 'random_paper'], [50, 100], 3, smoke, store=tmp_path/'s', one_encoder=True,
        progress=False)
    assert len(list((tmp_path/'s'/'weights').iterdir()))==1 and len(res.encoders)==1
    assert res.rows[res.rows.arm=='random_paper'].encoder_seed.nunique()==3
    assert set(res.differences().test)=={'paired t'} and not res.differences().missing.any()
    assert any('one encoder for all runs' in w for w in res.verdict().warnings)

def test_an_arm_may_change_the_recipe_and_its_autoencoder():
    usual = smoke['arms']['pretrained']
    arms = smoke['arms'] | dict(relu=usual | dict(change=dict(encoder=dict(act='relu'))),
        few=usual | dict(change=dict(images=dict(n=64))))
    r = smoke | dict(arms=arms, finetune=smoke['finetune'] | dict(steps={'50': 3, '100': 5}))
    t = {(o.arm, o.data['labels']): o for o in plan(digits, r, ['pretrained', 'relu', 'few', 'random_paper'],
        [50, 99, 100], 1)}
    assert [t['pretrained', n].fit['steps'] for n in (50, 99, 100)]==[3, 3, 5]
    assert len({t[a, 50].parents[0].key for a in ('pretrained', 'relu', 'few')})==3
    assert t['few', 50].parents[0].data['n']==64
    assert t['relu', 50].net['encoder']['act']=='relu' and t['relu', 50].net['head']['act']=='scaled_tanh'
    assert t['pretrained', 50].key==plan(digits, merged(smoke, dict(finetune=dict(steps=3))), ['pretrained'], [50],
        1)[0].key

def test_images_of_one_group_are_on_one_side():
    g = torch.arange(len(digits.train))//8
    own = Splits('mine', ImageSet(digits.train.x, digits.train.y, groups=g), digits.test)
    for t in plan(own, smoke, ['random_paper'], [200], 2):
        tr,va,_ = labelled(t, own)
        assert not set(g[tr].tolist()) & set(g[va].tolist())

def test_a_fit_keeps_its_first_filters_and_losses(whole):
    for t,r in zip(whole.steps, whole.records):
        f = load_file(whole.store.file('filters', t.key, 'safetensors'))
        assert f['start'].shape==f['end'].shape and len(r['losses'])==len(r['curve']) and -1<=r['row']['cosine']<=1
        for state,_ in whole.store.starts(t): assert torch.equal(f['start'], state['encoder.stages.conv1.conv.weight'])

def test_a_rate_that_diverges_is_out_of_the_running(whole):
    t = next(t for t in whole.steps if not t.start)
    t = replace(t, fit=t.fit | dict(lr=[.1, 1e38]))
    assert [o['lr'] for o in classify(t, digits)[1]['tuning']]==[.1]

def test_arms_share_subset_and_head(whole):
    for (labels,seed),g in whole.rows.groupby(['labels', 'head_seed']): assert g.subset.nunique()==1
    assert whole.rows.subset.nunique()==6

def test_the_global_random_stream_is_left_alone(whole):
    torch.manual_seed(5)
    a = torch.rand(3)
    torch.manual_seed(5)
    classify(next(t for t in whole.steps if not t.start), digits)
    assert torch.equal(torch.rand(3), a)

def test_crossed_seeds_reuse_encoders():
    steps = plan(digits, merged(smoke, dict(seeds=dict(crossed=True))), ['pretrained'], [50], 3)
    assert len(steps)==9==len({t.key for t in steps}) and len({t.parents[0].key for t in steps})==3

def test_a_frozen_encoder_stays_as_it_was(whole):
    t = next(t for t in whole.steps if not t.start)
    net,_ = classify(replace(t, fit=t.fit | dict(freeze=['encoder.'])), digits)
    tuned,_ = classify(t, digits)
    start = build_classifier(t, digits)
    same = lambda a,b: all(torch.equal(p, q)
        for p,q in zip(a.encoder.state_dict().values(), b.encoder.state_dict().values()))
    assert same(net, start) and not same(tuned, start)

# Failures

def test_a_diverged_step_is_recorded_counted_and_retried(tmp_path):
    wild = dict(steps=['classify'], change=dict(encoder=dict(init=dict(dist='normal', std=3e38))))
    arms = smoke['arms'] | dict(wild=wild)
    r = smoke | dict(arms=arms)
    run = lambda: compare(digits, ['random_default', 'wild'], [50], 2, r, store=tmp_path/'s', progress=False)
    res = run()
    assert len(res.rows)==2 and len(res.missing)==2 and res.missing.reason.str.contains('diverged').all()
    assert res.cells.set_index('arm').missing.to_dict()==dict(random_default=0, wild=2)
    assert '(2 missing)' in res.text() and 'trials are missing' in res.text()
    stamps = {f: f.stat().st_mtime_ns for f in (tmp_path/'s'/'failed').iterdir()}
    run()
    assert all(f.stat().st_mtime_ns>t for f,t in stamps.items())

def test_a_failed_encoder_fails_its_fits_only(tmp_path):
    r = smoke | dict(pretrain=smoke['pretrain'] | dict(opt='sgd', lr=1e38, loss='bce'))
    res = compare(digits, ['pretrained', 'random_default'], [50], 2, r, store=tmp_path/'s', progress=False)
    assert set(res.rows.arm)=={'random_default'}
    assert res.missing.reason.str.match('nothing to start from: .*diverged').all()

# Refusals

@pytest.mark.parametrize('kw,say', [(dict(seeds=[1, 1]), 'no seed twice'), (dict(seeds=[-1]), 'whole numbers'),
    (dict(arms=['pretrain']), "did you mean 'pretrained'"), (dict(n_unlabelled=10**6), 'unlabelled images'),
    (dict(precision='fp8'), 'one of fp32, bf16'), (dict(labels=[2]), '2 labels'), (dict(policy='best'), 'stratified'),
    (dict(valid='no'), 'within'), (dict(executor=0), 'from 1'),
    (dict(tune='last'), 'one of each, first'), (dict(one_encoder=True, crossed=True), 'exclude each other')])
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, kw, say):
    with pytest.raises(ValueError) as e:
        compare(digits, **(small | kw), recipe=smoke, store=tmp_path/'s', progress=False)
    assert say in str(e.value) and '\n' not in str(e.value)
    assert not (tmp_path/'s').exists()

def test_a_folder_of_something_else_is_refused(tmp_path, whole):
    (tmp_path/'notes.txt').write_text('mine')
    with pytest.raises(ExperimentError, match='other than an experiment'):
        compare(digits, **small, recipe=smoke, store=tmp_path, progress=False)
    own = Splits('mine', digits.train, digits.test.take(range(10)))
    with pytest.raises(ExperimentError, match='another data'):
        compare(own, **small, recipe=smoke, store=whole.store.path, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir())==['notes.txt']

# Keys

def test_canonical_json():
    assert canonical(dict(b=1., a=[.5, None]))=='{"a":[0.5,null],"b":1}'
    with pytest.raises(ValueError): canonical(dict(a=float('nan')))

def test_every_field_counts(whole):
    "Of a step, of its start, and of each of its sections where it differs from the default"
    t = whole.steps[0]
    own = dict(do='knn', net=t.net | dict(head=dict(make='linear')), start=(), recipe='x', version=99, arm='x',
        data=t.data | dict(labels=7),
        fit=t.fit | dict(steps=7), seeds=t.seeds | dict(head=7))
    assert set(own)==set(vars(t))-{'_key'}
    there = t.start[0]
    starts = [replace(there, **o) for o in (dict(step=whole.steps[-1]), dict(file='0'*20), dict(at=3),
        dict(names={'a.': 'b.'}))]
    others = [replace(t, **{k: v}) for k,v in own.items()] + [replace(t, start=(s,)) for s in starts]
    for part,cls in (('fit', Fit), ('data', Images), ('data', Labels)):
        usual = defaults(cls)
        others += [replace(t, **{part: getattr(t, part) | {k: 'something else'}}) for k in usual]
        same = [replace(t, **{part: {k: v} | getattr(t, part)}) for k,v in usual.items()]
        assert {o.key for o in same}=={t.key}, part
    shared = set(defaults(Images)) & set(defaults(Labels))
    assert len({o.key for o in [t, *others]})==len(others)+1-len(shared)

def test_a_new_field_with_a_default_moves_no_key(monkeypatch, whole):
    "Neither where it is not set, nor where it is set to its default; another value does"
    wider = make_dataclass('Fit', [('warm', Whole, 0)], bases=(Fit,), frozen=True)
    monkeypatch.setitem(step_module._DEFAULTS, 'fit', defaults(wider))
    t = whole.steps[0]
    for warm,same in ((None, True), (0, True), (1, False)):
        new = replace(t, fit=t.fit if warm is None else t.fit | dict(warm=warm))
        assert (new.key==t.key)==same, warm

def test_a_step_survives_json(whole):
    for t in whole.steps: assert from_json(json.loads(json.dumps(to_json(t)))).key==t.key

def test_random_arms_do_not_depend_on_pretraining():
    a,b = (plan(digits, smoke | dict(pretrain=smoke['pretrain'] | dict(lr=lr)), ['pretrained', 'random_default'], [50],
        1) for lr in (.1, .2))
    assert a[0].key!=b[0].key and a[1].key==b[1].key

KEYS = Path(__file__).with_name('keys.csv')  # python tests/test_compare.py writes it anew
SIZE = dict(kohlbrenner=[100], barletta=[160])

def blank(name, digest):
    "Enough images for any recipe, under a fixed digest: keys depend on the recipe alone"
    y = torch.arange(20_000)%10
    images = ImageSet(torch.zeros(1, 1, 2, 2, dtype=torch.uint8).expand(len(y), 1, 2, 2), y)
    return SimpleNamespace(name=name, digest=digest*64, content=digest*64, train=images, test=images, unlabelled=images,
        folds=None)

def keys_of(name):
    "Of each study: recipe, setting, reading, study, number of steps of one seed, digest of their keys"
    paper = import_module(f'aepretrain_nb.papers.{name}')
    data,others = blank('digits', '1'),dict(fashion_mnist=blank('fashion_mnist', '2'))
    for reading in (None, *paper.READINGS):
        studies = paper.STUDIES if name=='kohlbrenner' else paper.studies(reading)
        for setting,study in product(paper.SETTINGS, studies):
            if (name, reading, study)==('barletta', 'as_written', 'main'): continue # its arms see different images
            r = find_recipe(name, setting, reading=reading, study=study)
            steps = {o.key: o.said for t in Plan(data, r, None, SIZE[name], 1, others).steps() for o in chain(t)}
            yield name, setting, reading or '', study, str(len(steps)), hashlib.sha256(canonical(
                list(steps)).encode()).hexdigest()[:20]

def write_keys():
    lines = [','.join(o) for name in SIZE for o in keys_of(name)]
    KEYS.write_text('\n'.join(['recipe,setting,reading,study,steps,keys', *lines, '']))

@pytest.mark.parametrize('name', SIZE)
def test_keys_of_all_recipes_readings_and_studies_are_pinned(name):
    "A changed default changes a key: then raise the recipe's version, and pin the new keys."
    pinned = pd.read_csv(KEYS, keep_default_na=False, dtype=str).query('recipe==@name')
    assert [list(o) for o in keys_of(name)]==pinned.values.tolist() and len(pinned)>40

# What is asked of a table

lively = find_recipe('kohlbrenner', 'smoke', encoder=dict(width=.1, act='relu'),
    head=dict(width=.1, act='relu', dropout=0.), pretrain=dict(opt='adam', lr=.01, steps=60),
    finetune=dict(opt='adam', lr=.01, steps=60))
two = dict(arms=['pretrained', 'random_paper'], labels=[50], recipe=lively, progress=False)

@pytest.fixture(scope='module')
def learnt(tmp_path_factory): return compare(digits, **two, seeds=3, store=tmp_path_factory.mktemp('l')/'s')

def test_any_arm_can_be_the_treatment(learnt):
    other = compare(digits, **two, seeds=3, store=learnt.store.path, treatment='random_paper')
    assert other.differences()['diff'].tolist()==[-v for v in learnt.differences()['diff']]
    assert 'random_paper minus control' in other.text()
    assert read_results(learnt.store.path, treatment='random_paper').text()==other.text()
    assert other.rows.equals(learnt.rows)

def test_error_is_what_accuracy_leaves_on_test_and_validation(learnt):
    err = read_results(learnt.store.path, metric='error', treatment='pretrained')
    assert (100-err.rows.value).round(4).tolist()==learnt.rows.value.tolist()
    assert (100-err.rows.valid).round(4).tolist()==learnt.rows.valid.tolist()
    assert (100-err.curves.valid).round(4).tolist()==learnt.curves.valid.tolist()
    assert err.differences()['diff'].round(6).tolist()==(-learnt.differences()['diff']).round(6).tolist()
    assert err.verdict().table.verdict.tolist()==learnt.verdict().table.verdict.tolist()
    assert err.rising(.1).arm.tolist()==learnt.rising(.1).arm.tolist()

@pytest.mark.parametrize('metric', ['balanced', 'f1'])
def test_means_over_classes_come_from_the_confusion_counts(learnt, metric):
    res = read_results(learnt.store.path, metric=metric)
    m = [torch.tensor(r['confusion']).double() for r in res.records]
    there = [o.sum(1)>0 for o in m]
    right = [(o.diag()/o.sum(1).clamp(min=1))[k].mean() if metric=='balanced'
        else (2*o.diag()/(o.sum(0)+o.sum(1)).clamp(min=1))[k].mean() for o,k in zip(m, there)]
    assert res.rows.value.tolist()==pytest.approx([100*float(v) for v in right], abs=1e-3)
    assert set(res.rows.metric)=={metric} and metric in learnt.cells and '(%)' in res.text()

def test_a_constant_answer_on_unbalanced_images_is_no_evidence(tmp_path):
    "95 of 100 images are of one class: 95 % accuracy is nothing, and a mean over classes says 50 %"
    y = digits.train.y
    keep = torch.cat([(y==0).nonzero()[:95,0], (y==1).nonzero()[:5,0]])
    part = ImageSet(digits.train.x[keep], digits.train.y[keep], classes=['zero', 'one'])
    own = Splits('own', part, ImageSet(part.x.clone().flip(-1), part.y, classes=['zero', 'one']))
    still = lively | dict(finetune=lively['finetune'] | dict(lr=1e-6, steps=10))
    res = compare(own, ['pretrained', 'random_matched'], [50], 2, still, store=tmp_path/'s', progress=False)
    assert set(res.verdict().table.verdict)=={'no verdict'} and 'did not train' in res.text()
    assert any('takes all test images for one class in 2 of 2 runs' in w for w in res.warnings)
    assert read_results(tmp_path/'s', metric='balanced').rows.value.max()<=60

# Seeds by plan

auto = two | dict(seeds='auto', margin=6., max_seeds=8)

@pytest.fixture(scope='module')
def planned(tmp_path_factory): return compare(digits, **auto, store=tmp_path_factory.mktemp('a')/'s')

def test_seeds_by_plan_reach_the_margin_and_are_remembered(planned, capsys):
    res,n = planned,len(set(planned.rows.head_seed))
    d = res.differences()
    pairs = res.rows.pivot(index='head_seed', columns='arm', values='value')
    gap = (pairs.pretrained-pairs.random_paper).sort_index()
    half = stats.t.ppf(.975, 4)*gap[:5].std()/n**.5
    assert d.test.tolist()==['two-stage t'] and d.df.tolist()==[4]
    assert d.se.item()*stats.t.ppf(.975, 4)==pytest.approx(half)
    need = (stats.t.ppf(.975, 4)*gap[:5].std()/6)**2
    assert n==min(8, max(5, int(-(-need//1)))) and (('auto ended at 8' in ' '.join(res.warnings))==(need>8))
    again = compare(digits, **auto | dict(progress=True), store=res.store.path)
    err = capsys.readouterr().err
    assert again.text()==res.text()==read_results(res.store.path).text() and f'{n} seeds at 50 labels' in err
    assert 'nothing more to run' in err

def test_a_plan_that_was_interrupted_goes_on_and_says_what_is_to_come(planned, capsys):
    before = table(planned)
    planned.store.file('steps', planned.steps[-1].key).unlink()
    assert len(read_results(planned.store.path).rows)==len(planned.rows)-1
    again = compare(digits, **auto | dict(progress=True), store=planned.store.path)
    err = capsys.readouterr().err
    assert table(again)==before and err.index('seeds auto')<err.index('[1/1]')

def test_a_plan_against_a_control_that_did_not_train_adds_no_seeds(tmp_path):
    still = lively | dict(finetune=lively['finetune'] | dict(lr=1e-8, steps=5))
    res = compare(digits, ['pretrained', 'random_matched'], [50], recipe=still, seeds='auto', margin=.1,
        store=tmp_path/'s', progress=False)
    assert len(set(res.rows.head_seed))==5 and 'left nothing to compare' in res.text()

def test_a_search_tells_of_validation(tmp_path, capsys):
    "While rates are tried, no score of test images is shown; afterwards one a fit"
    tried = dict(lr=[.003, .01], seek='outward', first_lr=.01, tune='first', steps=10, evals=1)
    compare('digits', 'random', 50, 2, recipe=find_recipe('default', 'smoke', finetune=tried), store=tmp_path/'s')
    said = [l for l in capsys.readouterr().err.splitlines() if 'random, 50 labels' in l and l.startswith('[')]
    *search,fit = said
    assert len(search)==2 and all(re.search(r'seed 0: rate 0\.0\d+, validation accuracy', l) for l in search)
    assert re.search(r'seed 1: accuracy', fit)

def test_rows_of_autoencoders_tell_what_a_shared_rate_was_chosen_among(tmp_path):
    "Also where a folder is read again; before, an end of the list showed nowhere"
    short = dict(steps=4, evals=2, bs=16)
    r = find_recipe('default', 'smoke', pretrain=short | dict(lr=[.001, .003], tune='first'), finetune=short)
    kw = dict(arms='pretrained', labels=[40], recipe=r, progress=False, store=tmp_path/'s')
    for res in (compare(digits, seeds=2, **kw), read_results(tmp_path/'s')):
        assert len(res.encoders)==2 and res.encoders.edge.eq(True).all()
        assert set(res.encoders.tried)=={'adamw:0.001 0.003'} and not {'start', 'tried'} & set(res.rows.dropna(axis=1))
        assert 'at an end in 2 of 2' in optimisers(res.encoders)

if __name__=='__main__': write_keys()
