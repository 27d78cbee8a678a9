"Gradual training: one budget, what learns, what a key holds, golden figures, double precision, kill and resume, the command."
import itertools, signal, subprocess, sys, time
import pytest
from aepretrain_nb.imports import *
from aepretrain_nb.nets.loss import entropy, excess_bce
from aepretrain_nb.data.corrupt import Masking
from aepretrain_nb.data.loader import ImageDL
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.answers.ledger import settle
from aepretrain_nb.train.schedule import PhaseNet, budget
from aepretrain_nb.papers import kalmanovich as K
from aepretrain_nb.papers.kalmanovich import *

DIGITS = dataset('digits')
S = settings('digits')
ARMS = ['gradual','stacked','frozen','de_novo','gradual_x0.5','gradual_decay','hybrid_0.1','hybrid_0.25','hybrid_0.333','hybrid_0.75']

@pytest.fixture(scope='module')
def store(tmp_path_factory): return Store(tmp_path_factory.mktemp('kalmanovich'))

@pytest.mark.parametrize('depth', (2, 3, 4))
@pytest.mark.parametrize('images,bs', [(200, 20), (203, 20), (10_000, 10)])
def test_one_budget_within_a_batch(depth, images, bs):
    z = Splits('none', ImageSet(torch.zeros(images+S['n_valid'],1,2,2,dtype=torch.uint8), torch.arange(images+S['n_valid'])%3), DIGITS.test)
    spent = [budget(make_run(z, a, S|dict(depth=depth, images=images, bs=bs)).schedule) for a in ARMS]
    assert max(spent)-min(spent) < depth
    for a,r in itertools.product(ARMS, ('as_written','fair')):
        run = make_run(z, a, S|dict(depth=depth))
        assert {budget(o.schedule)-budget(run.schedule) for o in finish(run, S, r).values()}=={0}
        assert {budget(o.schedule)-budget(run.schedule) for o in finish(run, S, r, True).values()}=={depth*S['tune']*10}

@pytest.mark.parametrize('arm', ARMS)
def test_only_what_is_trained_has_a_gradient(arm):
    run = make_run(DIGITS, arm, S|dict(depth=3))
    ae = deep_dae((1,8,8), run.widths)
    for o in [*finish(run, S).values(), *finish(run, S, 'fair').values(), *finish(run, S, 'fair', True).values()]:
        for p in o.schedule:
            net = PhaseNet(ae, p)
            assert {n.split('.')[1] for n,q in net.named_parameters() if n.startswith('stages') and q.requires_grad}==set(p.train)
            x = torch.rand(2, *((1,8,8) if p.noise=='input' else (16,)))
            net(x).sum().backward()
            for n in ae.names: assert (ae.encoder.stages[n].linear.weight.grad is not None)==(n in p.train)
            ae.zero_grad(set_to_none=True)

def test_keys_are_pinned():
    z = lambda n: ImageSet(torch.zeros(n,1,8,8,dtype=torch.uint8), torch.arange(n)%2)
    run = make_run(Splits('none', z(10), z(2)), 'hybrid_0.5', S)
    assert (run.key, Fit(run, 100, .01).key)==('fd925729bb06b63fc39b', '8cf40fd38c43dd906a15')

def test_everything_that_matters_is_in_the_key():
    run = make_run(DIGITS, 'gradual', S)
    others = [replace(run, **kw) for kw in (dict(seed=1), dict(images=199), dict(n_valid=59), dict(widths=(17,16)), dict(noise=.1), dict(bs=10), dict(lr=.5), dict(momentum=.7), dict(weight_decay=0.), dict(normalised_grad=True), dict(fold=(0,2)), dict(digest=''))]
    assert len({o.key for o in [run, *others]})==13

def test_validation_images_are_never_trained_on():
    for seed in range(3):
        run = make_run(DIGITS, 'gradual', S, seed)
        tr,va = parts(DIGITS, run)
        assert not torch.isin(va, tr).any() and not torch.isin(labelled(Fit(run, 100, .1), DIGITS), va).any()
        count = torch.bincount(DIGITS.train.y[tr])
        assert count.max()-count.min()<=3
    assert not torch.equal(parts(DIGITS, make_run(DIGITS, 'gradual', S, 0))[0], tr)

@pytest.mark.parametrize('trained', (False, True))
def test_excess_cross_entropy_against_double(trained, store):
    run = make_run(DIGITS, 'gradual', S)
    if trained: run_jobs([run], DIGITS, store)
    ae = load_run(run, DIGITS, store) if trained else deep_dae((1,8,8), [32,32])
    twin = copy.deepcopy(ae).double()
    for d in DECODERS:
        got,gen,slow = denoising_error(ae, DIGITS.test, Masking(.15), d),generator('test noise', DIGITS.test.digest),[]
        for _,y in ImageDL(DIGITS.test, 500, target='x'):
            p = torch.sigmoid(twin(Masking(.15)(y, gen).double(), d)).detach(); t = y.double()
            kl = torch.where(t>0, t*(t.clamp(min=1e-300)/p).log(), 0.)+torch.where(t<1, (1-t)*((1-t).clamp(min=1e-300)/(1-p)).log(), 0.)
            slow.append(kl.flatten(1).sum(1))
        assert got==pytest.approx(torch.cat(slow).mean().item(), rel=1e-5)

@pytest.mark.parametrize('scale', (1., 30., 300.))
def test_excess_is_finite_and_not_negative(scale):
    x,pre = torch.rand(50, 1, 8, 8, generator=generator('x')).round(decimals=1),scale*torch.randn(50, 1, 8, 8, generator=generator('p'))
    e = excess_bce(pre, x)
    assert e.dtype==torch.float64 and e.isfinite().all() and (e>=0).all() and (entropy(x)>=0).all()
    torch.testing.assert_close(excess_bce(pre/2, x, 'scaled_tanh'), e)

def test_golden_figures_of_the_paper():
    assert REPORTED['mnist']==((9.61, .06), (10.38, .06), 7.39) and REPORTED['cifar10']==((55.47, .2), (57.26, .23), 3.12) and REPORTED['cifar100']==((57.01, .45), (59.34, .3), 3.92)
    for (g,_),(s,_),pct in REPORTED.values(): assert abs(100*(1-g/s)-pct)<.03
    assert len(reported_rows())==6 and len(configurations())==336
    assert {d: (p['first'], p['n'], p['tune'], p['width'], p['noise']) for d,p in PAPER.items()}==dict(mnist=(50,80,80,1000,.15), cifar10=(25,70,70,1500,.1), cifar100=(35,70,70,2500,.1))

def test_phase_by_phase_is_the_whole_schedule(store):
    run = make_run(DIGITS, 'hybrid_0.5', S)
    run_jobs([run], DIGITS, store)
    tr,va = (DIGITS.train.take(i).unlabelled() for i in parts(DIGITS, run))
    dls = K.image_dls(tr, va, run.bs, target='x')
    whole = deep_dae((1,8,8), run.widths)
    with K.alone('x'): K.run_schedule(whole, run.schedule, K.DataLoaders(dls.train, dls.valid.new(bs=1000)), Masking(run.noise), lr=run.lr, opt_func=K._sgd(run), seed=0)
    for a,b in zip(load_run(run, DIGITS, store).parameters(), whole.parameters()): assert torch.equal(a, b)

def test_fair_scores_leave_the_encoder_alone(store):
    for arm in ('stacked','gradual'):
        run = make_run(DIGITS, arm, S)
        run_jobs(finish(run, S, 'fair').values(), DIGITS, store)
        assert all(not store.file('encoders', r.key, 'safetensors').exists() for r in finish(run, S, 'fair').values())
        for r in finish(run, S, 'fair').values():
            K.train_run(r, DIGITS, store, keep=True)
            before,after = (load_run(o, DIGITS, store).state_dict() for o in (run, r))
            assert all(torch.equal(v, after[k]) for k,v in before.items() if k.startswith('encoder.')) and any(not torch.equal(v, after[k]) for k,v in before.items())
            store.file('encoders', r.key, 'safetensors').unlink()

@pytest.mark.parametrize('reading', ('as_written', 'fair'))
def test_joint_tuning_goes_on_from_what_was_scored(tmp_path, reading):
    store,run = Store(tmp_path),make_run(DIGITS, 'stacked', S|dict(lr=.01))
    before,after = finish(run, S, reading),finish(run, S, reading, True)
    assert [o.parent for o in after.values()]==[*before.values()] and [own_decoder(o.schedule[-1]) for o in after.values()]==[*before]
    run_jobs(before.values(), DIGITS, store)
    run_jobs(after.values(), DIGITS, store)
    for d,o in after.items():
        with torch.no_grad(): moved = {k: not torch.equal(v, load_run(before[d], DIGITS, store).state_dict()[k]) for k,v in load_run(o, DIGITS, store).state_dict().items()}
        assert all(v for k,v in moved.items() if k.startswith('encoder.')), 'a layer rests'

def test_weights_that_are_gone_are_made_again(tmp_path):
    store,run = Store(tmp_path),make_run(DIGITS, 'gradual', S)
    tuned = finish(run, S, tuned=True)['direct']
    run_jobs([tuned], DIGITS, store)
    weights = lambda o: store.file('encoders', o.key, 'safetensors')
    old,was = store.get(tuned.key),weights(run).read_bytes()
    store.file('trials', tuned.key).unlink(); weights(run).unlink()
    assert attempt(run, DIGITS, store) and not weights(run).exists()
    run_jobs([tuned], DIGITS, store)
    assert weights(run).read_bytes()==was and store.get(tuned.key)['value']==old['value']

def test_two_loops_share_a_store(tmp_path):
    store,seen = Store(tmp_path),[]
    runs = [make_run(DIGITS, a, S) for a in ('gradual','stacked')]
    with store.claim(runs[0].parent.key): assert not attempt(runs[0], DIGITS, store)
    with store.claim(runs[0].key): assert not attempt(runs[0], DIGITS, store, lambda j,r: seen.append(j.key)) and seen==[runs[0].parent.key]
    run_jobs(runs, DIGITS, store, lambda j,r: seen.append(j.key))
    assert sorted(seen)==sorted({runs[0].parent.key, *(r.key for r in runs)})

def test_figure4_is_paired_and_chooses_on_validation(store, monkeypatch):
    rows = figure4(DIGITS, 'smoke', S, store, 1)
    assert rows.groupby('labels').subset.nunique().tolist()==[1,1] and set(rows.arm)==set(FIGURE4)
    for r in rows.itertuples():
        fit = Fit(**(store.get(r.key)['fit']|dict(run=Run(**store.get(r.key)['fit']['run']))))
        tried = {lr: store.get(replace(fit, lr=lr).key)['valid'] for lr in S['fit_rates']}
        assert r.lr==min(tried, key=lambda lr: (tried[lr], lr)) and r.lrs=='0.05 0.01'
    turned = Splits('digits', DIGITS.train, ImageSet(DIGITS.test.x, DIGITS.test.y.roll(1), classes=DIGITS.test.classes))
    for k in ('digest', 'content'): monkeypatch.setattr(Splits, k, getattr(DIGITS, k))
    other = figure4(turned, 'smoke', S, Store(store.path.parent/'turned'), 1)
    assert other.lr.tolist()==rows.lr.tolist() and other.valid.tolist()==rows.valid.tolist() and other.value.tolist()!=rows.value.tolist()

def run_command(out, *words):
    return subprocess.Popen([sys.executable, '-m', 'aepretrain_nb.papers.kalmanovich', 'figure3', 'digits', '--setting', 'smoke', '--seeds', '0', '--out', str(out), *words], stderr=subprocess.PIPE, text=True)

def test_killed_and_resumed(tmp_path):
    words = '--set', 'n=6', '--set', 'rates=[0.05]'
    p = run_command(tmp_path/'a', *words)
    trials = tmp_path/'a'/'store'/'trials'
    end = time.time()+120
    while time.time()<end and len(list(trials.glob('[!.]*.json')))<2: time.sleep(.02)
    p.send_signal(signal.SIGKILL); p.wait(); p.stderr.close()
    before = {f.name: f.read_bytes() for f in trials.glob('[!.]*.json')}
    assert 2<=len(before)<5
    for d in 'ab':
        q = run_command(tmp_path/d, *words)
        err = q.communicate()[1]
        assert q.returncode==0, err
        if d=='a': assert len([l for l in err.splitlines() if 'seed 0' in l])==5-len(before)
    assert all((trials/k).read_bytes()==v for k,v in before.items())
    a,b = (pd.read_csv(tmp_path/d/'figure3_digits_smoke_as_written.csv') for d in 'ab')
    assert a.value.tolist()==b.value.tolist() and a.key.tolist()==b.key.tolist() and a.arm.tolist()==['gradual','hybrid_0.5','stacked']

def test_the_command(tmp_path, capsys):
    assert main(['search', 'digits', '--setting', 'smoke', '--set', 'folds=2', '--grid', 'lr=[0.1,0.01]', '--out', str(tmp_path)])==0
    assert len(pd.read_csv(tmp_path/'search_digits_smoke_as_written.csv'))==2
    assert main(['search', 'digits', '--setting', 'smoke', '--set', 'folds=2', '--grid', 'lr=[0.1]', '--arm', 'hybrid_0.5', '--out', str(tmp_path)])==0
    found = pd.read_csv(tmp_path/'search_digits_smoke_as_written.csv')
    assert sorted(found.arm)==['gradual', 'gradual', 'hybrid_0.5'] and set(found.setting)=={'smoke, folds=2'}
    runs = [json.loads(f.read_text())['run'] for f in (tmp_path/'store'/'trials').glob('*.json')]
    assert len(list((tmp_path/'store'/'encoders').glob('*.safetensors')))==sum(len(r['phases'])==1 or (r['phases'][-1]['name']=='stack l2') for r in runs)

WRONG = [(['figure3', 'digit'], 'digits'), *(([*w.split(), '--setting', 'smoke'], say) for w,say in (
    ('figure3 digits --set momentu=1', 'momentum'), ('figure3 digits --set bs=0', 'bs=0'), ('figure3 digits --set width="a"', "width='a'"), ('figure3 digits --set fs=0.5', 'fs=0.5'),
    ('figure3 digits --set n=2.0', 'n=2.0'), ('figure3 digits --set n=0', 'n=0'), ('figure3 digits --set fs=[1.5]', '1.5'), ('figure3 digits --grid lr=[0.1]', 'only search'),
    ('figure3 digits --arm stacked', 'only search'), ('search digits --grid lr=0.1', 'lr=0.1'), ('search digits --grid lr=[]', 'lr=[]'), ('search digits --grid foo=[1,2]', "'foo'"),
    ('search digits --arm gradul --set folds=2 --grid lr=[0.1]', 'gradual'), ('find_n digits --set chunk=10', 'most=6'), ('conv digits --set controls=["random_papr"]', 'random_paper'),
    ('figure3 digits --rate stacked=a', 'expected ARM=LR'), ('search digits --grid lr=a', 'expected NAME=LIST'),
    ('figure3 digits --rate gradul=0.1', 'gradual'), ('figure3 digits --rate stacked="a"', "lr='a'"), ('figure4 digits --rate gradual=0.1', 'takes no --rate'),
    ('find_n digits --reading fair', 'no --reading fair'), ('search digits --reading fair', 'no --reading fair'), ('figure3 digits --seeds 1 1', 'no seed twice'), ('figure3 digits --seeds -1', 'whole numbers'), ('figure3 digits --set images=5000', '5060')))]

@pytest.mark.parametrize('words,say', WRONG, ids=lambda o: ' '.join(o) if isinstance(o, list) else '')
def test_wrong_input_is_one_line(tmp_path, capsys, words, say):
    code,err = main([*words, '--out', str(tmp_path/'out')]),capsys.readouterr().err
    assert code==2 and len(err.strip().splitlines())==1 and say in err and not list(tmp_path.glob('out/*.csv'))

def test_an_out_that_is_a_file(tmp_path, capsys):
    (tmp_path/'file').write_text('mine')
    assert main(['figure3', 'digits', '--setting', 'smoke', '--seeds', '0', '--out', str(tmp_path/'file')])==2
    assert len(capsys.readouterr().err.strip().splitlines())==1 and (tmp_path/'file').read_text()=='mine'

def test_an_interrupted_command_goes_on(tmp_path, capsys, monkeypatch):
    words,said = ['ablation', 'digits', '--setting', 'smoke', '--seeds', '0', '--out', str(tmp_path)],K._said
    def stop(job, record):
        if len(seen)==3: raise KeyboardInterrupt
        seen.append(job.key); said(job, record)
    seen = []
    monkeypatch.setattr(K, '_said', stop)
    assert main(words)==130 and capsys.readouterr().err.splitlines()[-1].endswith('interrupted; the same command goes on') and not list(tmp_path.glob('*.csv'))
    kept = {f.stem for f in (tmp_path/'store'/'trials').glob('*.json')}
    monkeypatch.setattr(K, '_said', lambda job, record: again.append(job.key))
    again = []
    assert main(words)==0 and set(seen)<=kept and not kept&set(again) and again and len(list(tmp_path.glob('*.csv')))==1

def test_rows_of_other_seeds_and_settings_stay(tmp_path):
    run = lambda *w: main(['ablation', 'digits', '--setting', 'smoke', '--set', 'rates=[.05]', '--out', str(tmp_path), *w])
    run('--seeds', '0'); run('--seeds', '1'); run('--seeds', '0', '--set', 'n=3'); run('--seeds', '0')
    rows = pd.read_csv(tmp_path/'ablation_digits_smoke_as_written.csv')
    assert rows.groupby(['setting', 'n', 'encoder_seed']).size().to_dict()=={('smoke, rates=[0.05]', 2, 0): 3, ('smoke, rates=[0.05]', 2, 1): 3, ('smoke, rates=[0.05], n=3', 3, 0): 3}

def test_search_takes_every_entry_of_the_grid(store):
    few = dict(width=[8, 12], lr=[.1, .01], bs=[10, 20], momentum=[.9, .7], weight_decay=[1e-3, 1e-5])
    assert set(few)==set(GRID)
    rows = search(DIGITS, 'smoke', S|dict(folds=2, first=1, n=1), store, few)
    assert len(rows)==32 and rows.key.is_unique and rows.valid.notna().all() and all(rows[k].nunique()==2 for k in few)
    assert (rows.n_train+rows.n_valid==200).all() and rows.seconds.gt(0).all() and set(rows.device)=={'cpu'} and set(rows.decoder)=={'direct'}
    assert search(DIGITS, 'smoke', S|dict(folds=2), store, dict(lr=[.1]), 'stacked').valid.notna().all()

@pytest.mark.parametrize('k', (2, 3, 5, 10))
def test_folds_keep_the_classes(k):
    y = torch.arange(5000)%10
    even = Splits('even', ImageSet(torch.zeros(5000,1,1,1,dtype=torch.uint8), y[torch.randperm(5000, generator=generator('y'))]), DIGITS.test)
    s,seen = S|dict(images=3000),[]
    for i in range(k):
        run = make_run(even, 'gradual', s, fold=(i,k))
        tr,va = parts(even, run)
        assert run.phases[0]['steps']==s['first']*-(-len(tr)//s['bs']) and len(tr)+len(va)==3000 and not torch.isin(va, tr).any()
        counts = even.train.y[va].bincount(minlength=10)
        assert counts.max()-counts.min()<=1
        seen.append(va)
    assert len(torch.cat(seen).unique())==3000

def test_rates_are_chosen_without_the_test_images(store, monkeypatch):
    own = arm_rates(['gradual','stacked'], DIGITS, S, store, 0, 'fair')
    other = Splits('digits', DIGITS.train, ImageSet(255-DIGITS.test.x, DIGITS.test.y, classes=DIGITS.test.classes))
    for k in ('digest', 'content'): monkeypatch.setattr(Splits, k, getattr(DIGITS, k))
    apart = Store(store.path.parent/'inverted')
    assert arm_rates(['gradual','stacked'], other, S, apart, 0, 'fair')==own
    a,b = (o.get(make_run(DIGITS, 'gradual', S).key) for o in (store, apart))
    assert a['valid']==b['valid'] and a['value']!=b['value']

def test_joint_tuning_seeks_a_rate_of_its_own(store):
    rows = reconstruct('joint', DIGITS, 'smoke', S, store, 1)
    error = lambda arm, lr: store.get(finish(make_run(DIGITS, arm, S|dict(lr=lr)), S, tuned=True)[rows.set_index('arm').decoder[arm]].key)
    for r in rows.itertuples():
        tried = {lr: o['valid'] for lr in S['rates'] if (o := error(r.arm, lr))}
        assert len(tried)>1 and r.lr==min(tried, key=tried.get) and r.tuned

def test_fair_joint_tuning_has_a_rate_for_each_decoder(store):
    before = reconstruct('figure3', DIGITS, 'smoke', S, store, 1, 'fair').set_index(['arm','decoder'])
    rows,moved = reconstruct('joint', DIGITS, 'smoke', S, store, 1, 'fair'),0
    assert len(rows)==4 and rows.tune_lr.isin(S['rates']).all()
    for r in rows.itertuples():
        own = before.loc[(r.arm, r.decoder)]
        tried = {lr: store.get(finish(make_run(DIGITS, r.arm, S|dict(lr=r.lr)), S, 'fair', True, {r.decoder: lr})[r.decoder].key) for lr in S['rates']}
        valid = {lr: o['valid'] for lr,o in tried.items() if o}
        assert r.lr==own.lr and len(valid)>1 and r.tune_lr==min(valid, key=lambda o: (valid[o], o)) and r.valid<=own.valid
        moved += r.valid<own.valid
    assert moved>=3

def test_a_rate_that_is_not_given_is_not_in_the_key():
    run = make_run(DIGITS, 'gradual', S)
    none,own = (finish(run, S, tuned=True, rates=r)['direct'] for r in (None, dict(direct=.5)))
    assert none.key==finish(run, S, tuned=True)['direct'].key!=own.key and 'lr' not in none.phases[-1] and own.schedule[-1].lr==.5

def test_an_arm_whose_rate_is_given_seeks_none(tmp_path):
    rates,fresh = dict(gradual=.02, stacked=.05),Store(tmp_path)
    rows = reconstruct('figure3', DIGITS, 'smoke', S, fresh, 1, rates=rates).set_index('arm')
    assert rows.lr[[*rates]].to_dict()==rates and rows.lrs.to_dict()==dict(gradual='0.02', stacked='0.05', **{'hybrid_0.5': '0.05 0.02 0.01'})
    tried = lambda arm: {lr for lr in S['rates'] if fresh.get(make_run(DIGITS, arm, S|dict(lr=lr)).key)}
    assert {a: tried(a) for a in rates}=={a: {r} for a,r in rates.items()} and len(tried('hybrid_0.5'))>1
    assert reconstruct('factor', DIGITS, 'smoke', S, fresh, 1, rates=dict(gradual=.02)).lr.unique().tolist()==[.02]

@pytest.mark.parametrize('best', RATES)
@pytest.mark.parametrize('start', (1., .03, .0001))
def test_a_rate_is_found_from_anywhere(best, start):
    asked = []
    def score(ask):
        asked.extend(ask)
        return [float('nan') if r>2*best else abs(math.log(r/best)) for _,r in ask]
    assert settle_rates(['arm'], score, RATES, start)==dict(arm=best)
    assert len(asked)==len(set(asked))

def test_normalised_steps_are_medals():
    "v = m v + lr (g/|g| + decay w), w = w - v, one norm for weights and bias of a layer; decay is PyTorch's and also of biases"
    run = make_run(DIGITS, 'de_novo', S|dict(normalised_grad=True, lr=.1, weight_decay=.01, images=20, n_valid=30))
    ae = deep_dae((1,8,8), run.widths)
    before = {k: v.clone() for k,v in ae.state_dict().items()}
    tr,va = (DIGITS.train.take(i).unlabelled() for i in parts(DIGITS, run))
    dls = K.image_dls(tr, va, run.bs, target='x')
    phase = replace(run.schedule[0], steps=1)
    K.run_schedule(ae, [phase], K.DataLoaders(dls.train, dls.valid.new(bs=1000)), None, lr=run.lr, opt_func=K._sgd(run), normalised_grad=True)
    moved = {k: (before[k]-v)/run.lr-.01*before[k] for k,v in ae.state_dict().items()}
    for layer in ('encoder.stages.l1.linear', 'encoder.stages.l2.linear', 'downs.2_0.layer'):
        norm = math.sqrt(sum(moved[f'{layer}.{n}'].double().pow(2).sum().item() for n in ('weight', 'bias')))
        assert norm==pytest.approx(1, abs=1e-3)

def test_claims_are_asked_of_rows(store):
    rows = pd.concat([reconstruct(e, DIGITS, 'smoke', S, store, 2, r) for e in EXPERIMENTS for r in ('as_written','fair')]+[figure4(DIGITS, 'smoke', S, store, 2)]
        +[conv(DIGITS, 'smoke', CS, store, 2, r).replace(dict(labels=100), 1000) for r in ('as_written','fair')]+[budget_rows(DIGITS, 'smoke', S, store)])
    rows = rows.drop_duplicates(['kind','key','arm','reading']).assign(data='mnist', setting='floor')
    more = [rows[rows.arm=='hybrid_0.5'].assign(arm=f'hybrid_{f}', f=f) for f in (.25, .75)]
    book = settle([c for c in CLAIMS if c.name.endswith('mnist')], pd.concat([rows, *more]))
    assert 'not run here' not in set(book.outcome) and book.fair[book.fair_outcome!='not asked'].notna().all()
    by = book.set_index(book.claim.str.removesuffix('-mnist'))
    assert 'direct against chain' in by.as_written_note['joint-tuning-keeps-gain'] and 'decoder=' in by.fair_note['gradual-beats-any-mix']
    assert set(settle(CLAIMS, rows[:0]).outcome)=={'not run here'}
    assert len({c.name for c in CLAIMS})==len(CLAIMS)

CS = conv_settings('digits')
KEYS = ('b894af9e283882193f3b', '22b9235f1d1fe3edc7ac', '61aac137d334f71dae61')

def test_dense_runs_are_what_they_were():
    run = make_run(DIGITS, 'stacked', S)
    assert run.net is None and run.names==['l1','l2'] and {p['decoder'] for p in run.phases}=={'chain'} and run.per==10
    assert replace(run, net={}).key==run.key!=replace(run, net=dict(loss='mse')).key

@pytest.mark.parametrize('first,n', [(300, 500), (60_000, 168_000), (7, 3), (1, 1)])
def test_one_budget_of_the_convolutional_arms(first, n):
    spent = {a: budget(conv_run(DIGITS, a, CS|dict(first=first, n=n)).schedule) for a in (*ARMS, *CONV_ARMS)}
    assert max(spent.values())-min(spent.values()) < 3
    for a,r in itertools.product(CONV_ARMS, ('as_written','fair')):
        assert {budget(o.schedule) for o in finish(conv_run(DIGITS, a, CS|dict(first=first, n=n)), CS, r).values()}=={spent[a]}

def test_convolutional_arms_train_one_and_the_same_way_back():
    ae = untrained(conv_run(DIGITS, 'gradual', CS), (1,8,8))
    for a in CONV_ARMS:
        for o in finish(conv_run(DIGITS, a, CS), CS, 'fair').values():
            for p in o.schedule:
                keys = PhaseNet(ae, p).keys
                assert all(k.endswith('_tied') for k in keys) if p.train else p.fresh and not any(k.endswith('_tied') for k in keys)

def test_convolutional_keys_are_pinned():
    z = lambda n: ImageSet(torch.zeros(n,1,8,8,dtype=torch.uint8), torch.arange(n)%2)
    data = Splits('none', z(400), z(4))
    keys = conv_run(data, 'stacked', CS).key,transfer(data, CS, 'stacked', 0, 100).key,transfer(data, CS, 'random_paper', 0, 100).key
    assert keys==KEYS

def test_squared_error_against_double():
    ae = untrained(conv_run(DIGITS, 'gradual', CS), (1,8,8))
    twin = copy.deepcopy(ae).double()
    for d in ('tied', *DECODERS):
        gen,slow = generator('test noise', DIGITS.test.digest),[]
        for _,y in ImageDL(DIGITS.test, 500, target='x'): slow.append((torch.sigmoid(2*twin(Masking(.15)(y, gen).double(), d)).detach()-y.double()).pow(2).flatten(1).mean(1))
        assert denoising_error(ae, DIGITS.test, Masking(.15), d, loss='mse')==pytest.approx(torch.cat(slow).mean().item(), rel=1e-5)

def test_refits_leave_the_convolutional_encoder_alone(store):
    for a in CONV_ARMS:
        run = conv_run(DIGITS, a, CS)
        run_jobs([run], DIGITS, store)
        before = load_run(run, DIGITS, store).encoder.state_dict()
        for r in finish(run, CS, 'fair').values():
            rec = train_with_net(r, store)
            for k,v in rec.encoder.state_dict().items(): assert torch.equal(v, before[k])

def train_with_net(run, store):
    "The net that a refit leaves, which the store does not keep"
    seen = []
    old = K.run_schedule
    K.run_schedule = lambda ae, *a, **k: (seen.append(ae), old(ae, *a, **k))[1]
    try: K.train_run(run, DIGITS, store)
    finally: K.run_schedule = old
    return seen[0]

def test_transfers_share_what_the_seed_decides_and_choose_on_validation(store, monkeypatch):
    rows = conv(DIGITS, 'smoke', CS, store, 2)
    fits = rows[rows.kind=='conv classification']
    assert set(fits.arm)=={*CONV_ARMS, 'random_paper'} and fits.groupby('head_seed').subset.nunique().tolist()==[1,1]
    for r,got in (('fair', rows[rows.kind=='conv reconstruction']), ('as_written', fits.assign(lr=[store.get(store.get(k)['trial']['spec']['file'])['run']['lr'] if a in CONV_ARMS else None for k,a in zip(fits.key, fits.arm)]).dropna(subset='lr'))):
        for seed in 0,1:
            own = arm_rates(CONV_ARMS, DIGITS, CS, store, seed, r, conv_run)
            assert got[got.encoder_seed==seed].groupby('arm').lr.agg(set).to_dict()=={a: {v} for a,v in own.items()}
    assert (fits.n_train+fits.n_valid==100).all() and not conv(DIGITS, 'smoke', CS, store, 2).value.ne(rows.value).any()
    turned = Splits('digits', DIGITS.train, ImageSet(DIGITS.test.x, torch.zeros_like(DIGITS.test.y), classes=DIGITS.test.classes))
    for k in ('digest', 'content'): monkeypatch.setattr(Splits, k, getattr(DIGITS, k))
    other = conv(turned, 'smoke', CS, Store(store.path.parent/'turned_conv'), 2)
    other = other[other.kind=='conv classification']
    assert other.lr.tolist()==fits.lr.tolist() and other.valid.tolist()==fits.valid.tolist() and other.value.tolist()!=fits.value.tolist()

def test_a_transfer_starts_from_its_run(store, monkeypatch):
    job,seen = transfer(DIGITS, CS, 'gradual', 0, 100),[]
    run_jobs([job.run], DIGITS, store)
    monkeypatch.setattr(K, 'train_classifier', lambda t, s, w: (seen.append((t, w)), (None, dict(value=1., valid=1., seconds=0., curve=[], subset='', lr=.1, n_train=1, n_valid=1, steps=1, tuning=[])))[1])
    job.work(DIGITS, store); transfer(DIGITS, CS, 'random_paper', 0, 100).work(DIGITS, store)
    ae = load_run(job.run, DIGITS, store)
    assert all(torch.equal(v, seen[0][1]['encoder.'+k]) for k,v in ae.encoder.state_dict().items()) and seen[0][0].spec['file']==job.run.key
    assert seen[1][1] is None and seen[1][0].spec['init']==dict(dist='normal', mean=0., std=.2, bias=1e-4)

@pytest.mark.parametrize('experiment,name', [('conv','conv_digits_smoke_fair'), ('find_n','find_n_digits_smoke_as_written')])
def test_two_commands_share_a_store(tmp_path, experiment, name):
    words = ['--set', 'tol=0.05'] if experiment=='find_n' else []
    run = lambda out: subprocess.Popen([sys.executable, '-m', 'aepretrain_nb.papers.kalmanovich', experiment, 'digits', '--setting', 'smoke', '--seeds', '0', '1', '--out', str(out), *words], stderr=subprocess.PIPE, text=True)
    both = [run(tmp_path/'a'), run(tmp_path/'a')]
    said = [p.communicate()[1].splitlines() for p in both]
    assert [p.returncode for p in both]==[0, 0], said
    keys = [l.split()[0] for o in said for l in o]
    assert len(keys)==len(set(keys))==len(list((tmp_path/'a'/'store'/'trials').glob('[!.]*.json')))
    alone = run(tmp_path/'b'); alone.communicate()
    a,b = (pd.read_csv(tmp_path/d/f'{name}.csv') for d in 'ab')
    assert a.value.tolist()==b.value.tolist() and a.key.tolist()==b.key.tolist() and a.key.is_unique

def test_find_n_goes_on_in_chunks_and_waits_for_all(store):
    lax = S|dict(tol=.2, n=4, lr=.01)
    done = []
    n,seen = choose_n(DIGITS, lax, store, 1, lambda j,r: done.append(j.key))
    assert n in (2, 4, 6) and set(seen)=={'gradual','hybrid_0.5','stacked'} and all(improvement(c, at, 1)<20 for c,at in seen.values())
    assert choose_n(DIGITS, lax, store, 1, lambda j,r: done.append('again'))[0]==n and 'again' not in done
    a,b = (pure_curves(DIGITS, lax, store, 1, m) for m in (4, 6))
    assert all(b[k][:len(a[k])]==a[k] for k in a) and [len(b['gradual']), len(b['stacked'])]==[6, 12]
    assert choose_n(DIGITS, lax|dict(tol=-1.), store, 1)[0] is None

def test_find_n_is_the_first_that_settles(monkeypatch):
    falls = lambda tau,n: [1+math.exp(-i/tau) for i in range(n)]
    monkeypatch.setattr(K, 'pure_curves', lambda sp, s, st, seed, n, say: dict(gradual=falls(12, n), stacked=falls(30, 2*n)))
    s = settings('digits', 'floor', fs=[.5, .75])
    for slow in (0, 100):
        last = lambda n: {f'hybrid_{f:g}': ([1.]*99 if n>=slow else falls(40, 99))[:math.ceil(n*(1-f))] for f in s['fs']}
        monkeypatch.setattr(K, '_mixes_at', lambda n, *a: last(n))
        n,seen = choose_n(DIGITS, s, None)
        settled = lambda n: all(improvement(c, at, 10)<.5 for c,at in ((falls(12, n), n), (falls(30, 2*n), 2*n)))
        assert n==next(m for m in range(50, 161, 10) if m>=slow and settled(m)) and settled(n)
    monkeypatch.setattr(K, 'pure_curves', lambda sp, s, st, seed, n, say: dict(gradual=[1.]*n, stacked=[1.]*2*n))
    monkeypatch.setattr(K, '_mixes_at', lambda n, *a: {f'hybrid_{f:g}': [1.]*math.ceil(n*(1-f)) for f in s['fs']})
    assert choose_n(DIGITS, s, None)[0]==50 # a mix of .75 has 10 epochs and more of its last phase from here on
