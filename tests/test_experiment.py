"What would spoil the narrative of the grid: killing it, racing it, moving it to other processes, and the keys that old results depend on."
import json, os, signal, subprocess, sys, time
from dataclasses import asdict, replace
from pathlib import Path
import pandas as pd, pytest, torch
from safetensors.torch import load_file
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.experiment.experiment import TIMES, compare
from aepretrain_nb.experiment.grid import needed
from aepretrain_nb.compare import read_results
from aepretrain_nb.experiment.schema import ExperimentError
from aepretrain_nb.experiment.run import build_classifier
from aepretrain_nb.data.ground import canonical
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.trial import train_classifier

digits = dataset('digits')
smoke = find_recipe('kohlbrenner', 'smoke')
small = dict(arms=['pretrained', 'random_default'], labels=[50, 100], seeds=3)

def table(res): return res.rows.drop(columns=list(TIMES)).to_csv(index=False)

@pytest.fixture(scope='module')
def whole(tmp_path_factory): return compare(digits, **small, recipe=smoke, store=tmp_path_factory.mktemp('w')/'whole', progress=False)

def cli(out, *more): return [sys.executable, '-m', 'aepretrain_nb', 'compare', 'digits', '--setting', 'smoke', '--labels', '50,100', '--seeds', '3', '--arms', 'pretrained,random_default', '--out', str(out), *more]

# Interrupts

@pytest.mark.parametrize('processes', [1, 2])
def test_kill_9_loses_nothing_and_repeats_nothing(tmp_path, whole, processes):
    out = tmp_path/'grid'
    trials = lambda: {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in out.glob('trials/*.json')}
    p = subprocess.Popen(cli(out, '--processes', str(processes)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    for line in p.stderr:
        if line.startswith('[4/'): break
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    before = trials()
    assert 4<=len(before)<15 and not (out/'results.csv').exists()
    r = subprocess.run(cli(out, '--processes', str(processes)), capture_output=True, text=True, check=True)
    assert f'[1/{15-len(before)}]' in r.stderr and f'[{15-len(before)}/{15-len(before)}]' in r.stderr
    assert all(trials()[f]==b for f,b in before.items())
    assert pd.read_csv(out/'results.csv').drop(columns=list(TIMES)).to_csv(index=False)==pd.read_csv(_csv(whole, tmp_path)).drop(columns=list(TIMES)).to_csv(index=False)

def _csv(res, folder):
    res.rows.to_csv(folder/'whole.csv', index=False)
    return folder/'whole.csv'

def test_ctrl_c_says_how_to_go_on(tmp_path):
    out = tmp_path/'grid'
    p = subprocess.Popen(cli(out, '--set', 'finetune.steps=1000'), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a shell's background jobs ignore it
    err = ''
    while '[2/' not in err: err += p.stderr.readline()
    p.send_signal(signal.SIGINT)
    _,rest = p.communicate(timeout=60)
    assert p.returncode==130 and 'Traceback' not in rest
    assert 'give the same command again' in rest and f'aepretrain compare digits --setting smoke' in rest and str(out) in rest
    assert len(list(out.glob('trials/*.json')))>=2

def test_a_half_written_file_is_not_a_trial(tmp_path, whole):
    store = Store(tmp_path)
    (tmp_path/'trials').mkdir()
    t = whole.trials[0]
    (tmp_path/'trials'/f'.{t.key}.json.123.456').write_text('{"row"')
    assert store.get(t.key) is None and t.key in needed([t], store)

def test_two_runs_on_one_store_share_the_work(tmp_path, whole):
    out = tmp_path/'grid'
    ps = [subprocess.Popen(cli(out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [p.communicate(timeout=120) for p in ps]
    assert [p.returncode for p in ps]==[0, 0], outs
    res = compare(digits, **small, recipe=smoke, store=out, progress=False)
    assert table(res)==table(whole) and not (out/'failed').exists()

# Other processes

def test_a_process_pool_gives_the_same_rows(tmp_path, whole):
    res = compare(digits, **small, recipe=smoke, store=tmp_path/'pool', executor=2, progress=False)
    assert table(res)==table(whole)

def test_own_images_reach_other_processes(tmp_path):
    own = Splits('mine', digits.train.take(range(300)), digits.test.take(range(100)))
    a,b = (compare(own, ['pretrained'], [50], 1, smoke, store=tmp_path/str(n), executor=n, progress=False) for n in (1, 2))
    assert table(a)==table(b) and not len(b.missing)

def test_threads_of_the_process_do_not_matter(whole):
    n = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        t = next(t for t in whole.trials if not t.encoder)
        res = train_classifier(t, digits)[1]
    finally: torch.set_num_threads(n)
    assert res['value']==whole.store.get(t.key)['row']['value']

# What a result may depend on

def test_test_labels_choose_nothing(whole):
    y = digits.test.y
    other = Splits('digits', digits.train, ImageSet(digits.test.x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]))
    t = next(t for t in whole.trials if not t.encoder)
    t = replace(t, recipe=t.recipe | dict(finetune=dict(opt='adam', lr=[1e-3, 5e-3, 2e-2], bs=32, steps=200, evals=4)), spec=smoke['arms']['random_paper'])
    (a,ra),(b,rb) = train_classifier(t, digits),train_classifier(t, other)
    assert all(torch.equal(p, q) for p,q in zip(a.state_dict().values(), b.state_dict().values()))
    assert (ra['lr'], ra['best'], ra['tuning'])==(rb['lr'], rb['best'], rb['tuning']) and ra['value']!=rb['value']

def test_every_arm_chooses_its_rate_on_its_own_validation_images(tmp_path):
    rs = [.02, .2, 2.]
    res = compare(digits, ['pretrained', 'random_paper'], [100], 2, smoke, store=tmp_path/'s', lr=rs, progress=False)
    for t,rec in zip(res.trials, res.records):
        alone = [train_classifier(replace(t, recipe=t.recipe | dict(finetune=t.recipe['finetune'] | dict(lr=lr))), digits, _weights(res, t))[1] for lr in rs]
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
    assert grown.rows.groupby('arm').lr.nunique().eq(1).all() and set(grown.rows.lrs)=={'0.02 0.2 2'} and len(grown.tuning)==6
    assert len(list((tmp_path/'s'/'trials').glob('*.json')))==2*(3+2)+3
    read = read_results(tmp_path/'s')
    assert read.rows.equals(grown.rows) and read.tuning.equals(grown.tuning)

def test_test_labels_do_not_move_the_rate_of_the_first_seed(tmp_path):
    other = ImageSet(digits.test.x, torch.zeros_like(digits.test.y), classes=digits.test.classes)
    kw = dict(arms=['random_paper'], labels=[100], seeds=2, recipe=smoke, lr=[.02, .2, 2.], tune='first', progress=False)
    a,b = compare(digits, **kw, store=tmp_path/'a'),compare(Splits('digits', digits.train, other), **kw, store=tmp_path/'b')
    same = ['lr', 'valid', 'valid_loss', 'chosen']
    assert a.tuning[same].equals(b.tuning[same]) and not a.rows.value.equals(b.rows.value)

def test_one_autoencoder_for_all_runs(tmp_path):
    res = compare(digits, ['pretrained', 'random_paper'], [50, 100], 3, smoke, store=tmp_path/'s', one_encoder=True, progress=False)
    assert len(list((tmp_path/'s'/'encoders').iterdir()))==1 and len(res.encoders)==1
    assert res.rows[res.rows.arm=='random_paper'].encoder_seed.nunique()==3
    assert set(res.differences().test)=={'paired t'} and not res.differences().missing.any()
    assert any('one encoder for all runs' in w for w in res.verdict().warnings)

def test_an_arm_may_change_the_recipe_and_its_autoencoder():
    arms = smoke['arms'] | dict(relu=smoke['arms']['pretrained'] | dict(change=dict(model=dict(act='relu'))), few=smoke['arms']['pretrained'] | dict(n_unlabelled=64))
    r = smoke | dict(arms=arms, finetune=smoke['finetune'] | dict(steps={'50': 3, '100': 5}))
    t = {(o.arm, o.labels): o for o in plan(digits, r, ['pretrained', 'relu', 'few', 'random_paper'], [50, 99, 100], 1)}
    assert [t['pretrained', n].recipe['finetune']['steps'] for n in (50, 99, 100)]==[3, 3, 5]
    assert len({t[a, 50].encoder.key for a in ('pretrained', 'relu', 'few')})==3 and t['few', 50].n_unlabelled==64
    assert t['relu', 50].recipe['model']['act']=='relu' and 'change' not in t['relu', 50].spec
    assert t['pretrained', 50].key==plan(digits, smoke | dict(finetune=smoke['finetune'] | dict(steps=3)), ['pretrained'], [50], 1)[0].key

def test_images_of_one_group_are_on_one_side_here_and_in_a_worker(tmp_path):
    g = torch.arange(len(digits.train))//8
    own = Splits('mine', ImageSet(digits.train.x, digits.train.y, groups=g), digits.test)
    kw = dict(arms=['random_paper'], labels=[200], seeds=2, recipe=smoke, progress=False)
    a,b = compare(own, **kw, store=tmp_path/'a'),compare(own, **kw, store=tmp_path/'b', executor='processes:1')
    assert a.rows.value.tolist()==b.rows.value.tolist() and len(b.rows)==2
    from aepretrain_nb.answers.viz import _labelled
    for t in a.trials:
        tr,va,_ = _labelled(t, own)
        assert not set(g[tr].tolist()) & set(g[va].tolist())

def test_a_fit_keeps_its_first_filters_and_losses(whole):
    for t,r in zip(whole.trials, whole.records):
        f = load_file(whole.store.file('filters', t.key, 'safetensors'))
        assert f['start'].shape==f['end'].shape and len(r['losses'])==len(r['curve']) and -1<=r['row']['cosine']<=1
        if t.encoder: assert torch.equal(f['start'], _weights(whole, t)['encoder.stages.conv1.conv.weight'])

def _weights(res, t): return load_file(res.store.file('encoders', t.encoder.key, 'safetensors')) if t.encoder else None

def test_a_rate_that_diverges_is_out_of_the_running(whole):
    t = next(t for t in whole.trials if not t.encoder)
    t = replace(t, recipe=t.recipe | dict(finetune=t.recipe['finetune'] | dict(lr=[.1, 1e38])))
    assert [o['lr'] for o in train_classifier(t, digits)[1]['tuning']]==[.1]

def test_arms_share_subset_and_head(whole):
    for (labels,seed),g in whole.rows.groupby(['labels', 'head_seed']): assert g.subset.nunique()==1
    assert whole.rows.subset.nunique()==6

def test_the_global_random_stream_is_left_alone(whole):
    torch.manual_seed(5)
    a = torch.rand(3)
    torch.manual_seed(5)
    train_classifier(next(t for t in whole.trials if not t.encoder), digits)
    assert torch.equal(torch.rand(3), a)

def test_crossed_seeds_reuse_encoders():
    trials = plan(digits, smoke, ['pretrained'], [50], 3, crossed=True)
    assert len(trials)==9==len({t.key for t in trials}) and len({t.encoder.key for t in trials})==3

def test_frozen_protocol_leaves_the_encoder_as_it_was(whole):
    t = next(t for t in whole.trials if not t.encoder)
    net,_ = train_classifier(replace(t, spec=t.spec | dict(protocol='frozen')), digits)
    tuned,_ = train_classifier(t, digits)
    start = build_classifier(t, digits)
    same = lambda a,b: all(torch.equal(p, q) for p,q in zip(a.encoder.state_dict().values(), b.encoder.state_dict().values()))
    assert same(net, start) and not same(tuned, start)

# Failures

def test_a_diverged_trial_is_recorded_counted_and_retried(tmp_path):
    arms = smoke['arms'] | dict(wild=dict(encoder='random', init=dict(dist='normal', std=3e38), protocol='finetune'))
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
    assert set(res.rows.arm)=={'random_default'} and res.missing.reason.str.startswith('no encoder: ').all()

# Refusals

@pytest.mark.parametrize('kw,say', [(dict(seeds=[1, 1]), 'no seed twice'), (dict(seeds=[-1]), 'whole numbers'), (dict(arms=['pretrain']), "did you mean 'pretrained'"), (dict(n_unlabelled=10**6), 'unlabelled images'),
    (dict(precision='fp8'), 'fp32 or bf16'), (dict(labels=[2]), '2 labels'), (dict(policy='best'), 'stratified'), (dict(valid='no'), 'within'), (dict(executor=0), 'from 1'),
    (dict(tune='last'), 'each or first'), (dict(one_encoder=True, crossed=True), 'exclude each other')])
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, kw, say):
    with pytest.raises(ValueError) as e: compare(digits, **(small | kw), recipe=smoke, store=tmp_path/'s', progress=False)
    assert say in str(e.value) and '\n' not in str(e.value)
    assert not (tmp_path/'s').exists()

def test_a_folder_of_something_else_is_refused(tmp_path, whole):
    (tmp_path/'notes.txt').write_text('mine')
    with pytest.raises(ExperimentError, match='other than an experiment'): compare(digits, **small, recipe=smoke, store=tmp_path, progress=False)
    own = Splits('mine', digits.train, digits.test.take(range(10)))
    with pytest.raises(ExperimentError, match='another data'): compare(own, **small, recipe=smoke, store=whole.store.path, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir())==['notes.txt']

# Keys

def test_canonical_json():
    assert canonical(dict(b=1., a=[.5, None]))=='{"a":[0.5,null],"b":1}'
    with pytest.raises(ValueError): canonical(dict(a=float('nan')))

def test_every_field_counts(whole):
    t = whole.trials[0]
    other = dict(recipe=t.recipe | dict(version=99), digest='0'*64, encoder_seed=7, n_unlabelled=7, task='segment', arm='x', spec=dict(encoder='random', protocol='frozen'), labels=7, valid='extra',
        n_valid=7, policy='uniform', subset_seed=7, head_seed=7, precision='bf16', kind='encoder', pretrain_digest='1'*64)
    assert set(other)==set(asdict(t))
    assert len({t.key} | {replace(t, **{k: v}).key for k,v in other.items()})==len(other)+1

def test_random_arms_do_not_depend_on_pretraining():
    a,b = (plan(digits, smoke | dict(pretrain=smoke['pretrain'] | dict(lr=lr)), ['pretrained', 'random_default'], [50], 1) for lr in (.1, .2))
    assert a[0].key!=b[0].key and a[1].key==b[1].key

GOLDEN = dict(
    smoke=(1, '5068168b098d017aac99', '3ec57f4d8bb6c656ae9b'),
    digits=(1, 'eff89c17a7a17b673229', 'f44ac37c406cb4d1751b'),
    quick=(1, 'f615f77a756921a0ce47', 'ec382611d936e5e03195'),
    paper=(1, '066fa62afc22e2a3e7c5', '7f1ead9f7ab8b40b3640'))

@pytest.mark.parametrize('setting', ['smoke', 'digits', 'quick', 'paper'])
def test_keys_of_the_named_recipes_are_pinned(setting):
    "A changed default changes a key: then raise the recipe's version, and pin the new key here."
    t = plan(digits, find_recipe('kohlbrenner', setting), ['pretrained'], [100], 1)[0]
    assert (t.recipe['version'], t.key, t.encoder.key)==GOLDEN[setting]

# What is asked of a table

lively = find_recipe('kohlbrenner', 'smoke', model=dict(width=.1, act='relu', dropout=0.), pretrain=dict(opt='adam', lr=.01, steps=60), finetune=dict(opt='adam', lr=.01, steps=60))
two = dict(arms=['pretrained', 'random_paper'], labels=[50], recipe=lively, progress=False)

@pytest.fixture(scope='module')
def learnt(tmp_path_factory): return compare(digits, **two, seeds=3, store=tmp_path_factory.mktemp('l')/'s')

def test_any_arm_can_be_the_treatment(learnt):
    other = compare(digits, **two, seeds=3, store=learnt.store.path, treatment='random_paper')
    assert other.differences()['diff'].tolist()==[-v for v in learnt.differences()['diff']]
    assert 'random_paper minus control' in other.text() and read_results(learnt.store.path, treatment='random_paper').text()==other.text()
    assert other.rows.equals(learnt.rows)

def test_error_is_what_accuracy_leaves_on_test_and_validation(learnt):
    err = read_results(learnt.store.path, metric='error')
    assert (100-err.rows.value).round(4).tolist()==learnt.rows.value.tolist() and (100-err.rows.valid).round(4).tolist()==learnt.rows.valid.tolist()
    assert (100-err.curves.valid).round(4).tolist()==learnt.curves.valid.tolist()
    assert err.differences()['diff'].round(6).tolist()==(-learnt.differences()['diff']).round(6).tolist()
    assert err.verdict().table.verdict.tolist()==learnt.verdict().table.verdict.tolist() and err.rising(.1).arm.tolist()==learnt.rising(.1).arm.tolist()

@pytest.mark.parametrize('metric', ['balanced', 'f1'])
def test_means_over_classes_come_from_the_confusion_counts(learnt, metric):
    res = read_results(learnt.store.path, metric=metric)
    m = [torch.tensor(r['confusion']).double() for r in res.records]
    there = [o.sum(1)>0 for o in m]
    right = [(o.diag()/o.sum(1).clamp(min=1))[k].mean() if metric=='balanced' else (2*o.diag()/(o.sum(0)+o.sum(1)).clamp(min=1))[k].mean() for o,k in zip(m, there)]
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

def test_seeds_by_plan_reach_the_margin_and_are_remembered(tmp_path, capsys):
    kw = two | dict(progress=True)
    res = compare(digits, **kw, seeds='auto', margin=6., max_seeds=9, store=tmp_path/'s')
    err = capsys.readouterr().err
    n = len(set(res.rows.head_seed))
    assert 5<=n<=9 and f'{n} seeds at 50 labels' in err and err.index('seeds auto')>err.index('[15/15]')
    d = res.differences()
    pairs = res.rows.pivot(index='head_seed', columns='arm', values='value')
    gap = (pairs.pretrained-pairs.random_paper).sort_index()
    from scipy import stats
    half = stats.t.ppf(.975, 4)*gap[:5].std()/n**.5
    assert d.test.tolist()==['two-stage t'] and d.df.tolist()==[4] and d.se.item()*stats.t.ppf(.975, 4)==pytest.approx(half)
    need = (stats.t.ppf(.975, 4)*gap[:5].std()/6)**2
    assert n==min(9, max(5, int(-(-need//1)))) and (('auto ended at 9' in ' '.join(res.warnings))==(need>9))
    again = compare(digits, **kw, seeds='auto', margin=6., max_seeds=9, store=tmp_path/'s')
    assert again.text()==res.text()==read_results(tmp_path/'s').text() and 'nothing more to run' in capsys.readouterr().err

def test_a_plan_that_was_interrupted_goes_on(tmp_path):
    kw = two | dict(seeds='auto', margin=6., max_seeds=8, store=tmp_path/'s')
    whole = compare(digits, **kw)
    lost = whole.trials[-1]
    whole.store.file('trials', lost.key).unlink()
    assert len(read_results(tmp_path/'s').rows)==len(whole.rows)-1
    assert table(compare(digits, **kw))==table(whole)

def test_a_plan_against_a_control_that_did_not_train_adds_no_seeds(tmp_path):
    still = lively | dict(finetune=lively['finetune'] | dict(lr=1e-8, steps=5))
    res = compare(digits, ['pretrained', 'random_matched'], [50], recipe=still, seeds='auto', margin=.1, store=tmp_path/'s', progress=False)
    assert len(set(res.rows.head_seed))==5 and 'left nothing to compare' in res.text()
