"Gradual training on the engine: one budget, what learns, both readings, rates, kill and resume, claims of own rows."
import itertools, re, signal, time
from types import SimpleNamespace
import pytest
from aepretrain_nb.imports import *
from aepretrain_nb.answers.ledger import settle
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.cli import main
from aepretrain_nb.data.corrupt import Masking
from aepretrain_nb.data.loader import ImageDL, image_dls
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.phase import build_staged, denoising_error, phase_of, train_phase
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.seen import labelled, picked
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.run import alone
from aepretrain_nb.experiment.build import build_classifier
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.step import chain
from aepretrain_nb.experiment.tune import Rates
from aepretrain_nb.papers.kalmanovich import *
from aepretrain_nb.papers.kalmanovich_claims import CLAIMS
from aepretrain_nb.train.schedule import PhaseNet, run_schedule
from fastai.data.core import DataLoaders
from aepretrain_nb.train.learner import torch_opt
from torture.child import Child

pytestmark = pytest.mark.usefixtures('no_pictures')

DIGITS = dataset('digits')
HERE = 'aepretrain_nb.papers.kalmanovich:recipe'
ARMS = ['gradual', 'stacked', 'frozen', 'de_novo', 'gradual_x0.5', 'gradual_decay', 'hybrid_0.1', 'hybrid_0.333',
    'hybrid_0.75']

def run(study, reading='as_written', seeds=1, arms=None, folder=None, data=DIGITS, **schedule):
    "Results of a study at smoke size, at one rate unless others are asked for."
    own = dict(rates=[.2] if 'conv' in study else [.05]) | schedule
    made = recipe('smoke', reading, study, 'digits', own)
    return compare(data, arms, recipe=made, seeds=seeds, store=folder, progress=False)

def phases(arm): return [o[o['fit']] for o in arm['steps'] if isinstance(o, dict) and o['do']=='phase']
def spent(arm): return sum(o['steps']*len(o['phase']['train']) for o in phases(arm))
def turned(splits, monkeypatch):
    "The data with other test images under the same name: whatever looks at them gives itself away."
    for k in ('digest', 'content'): monkeypatch.setattr(Splits, k, getattr(splits, k))
    return Splits('digits', splits.train, ImageSet(255-splits.test.x, splits.test.y.roll(1),
        classes=splits.test.classes))

def test_golden_figures_of_the_paper():
    assert REPORTED['mnist']==((9.61, .06), (10.38, .06), 7.39)
    assert REPORTED['cifar10']==((55.47, .2), (57.26, .23), 3.12)
    for (g,_),(s,_),pct in REPORTED.values(): assert abs(100*(1-g/s)-pct)<.03
    assert len(reported_rows())==6
    told = {d: tuple(p[k] for k in ('first', 'n', 'tune', 'width', 'noise')) for d,p in PAPER.items()}
    assert told==dict(mnist=(50,80,80,1000,.15), cifar10=(25,70,70,1500,.1), cifar100=(35,70,70,2500,.1))

@pytest.mark.parametrize('depth', (2, 3, 4))
@pytest.mark.parametrize('images,bs', [(200, 20), (203, 20), (10_000, 10)])
def test_one_budget_within_a_batch(depth, images, bs, monkeypatch):
    import aepretrain_nb.papers.kalmanovich as K
    for reading,tuned in itertools.product(('as_written', 'fair'), (False, True)):
        monkeypatch.setitem(STUDIES, 'figure3', K._of(*ARMS, tuned=tuned))
        r = recipe('smoke', reading, schedule=dict(depth=depth, images=images, bs=bs))
        all_spent = [spent(a) for a in r['arms'].values()]
        assert max(all_spent)-min(all_spent)<depth
        assert all(spent(a)==a['columns']['updates'] for a in r['arms'].values())

@pytest.mark.parametrize('study', ('conv', 'conv_fits'))
def test_one_budget_of_the_convolutional_arms(study):
    r = recipe('smoke', 'fair', study, schedule=dict(first=300, n=500))
    own = [spent(a) for a in r['arms'].values() if phases(a)]
    assert max(own)-min(own)<3
    tied = {o['phase']['name']: o['phase']['decoder'] for a in r['arms'].values()
        for o in phases(a) if o['phase']['train']}
    assert set(tied.values())=={'tied'}

@pytest.mark.parametrize('reading', ('as_written', 'fair'))
@pytest.mark.parametrize('study', ('figure3', 'ablation', 'factor', 'joint'))
def test_only_what_is_trained_has_a_gradient(study, reading):
    plan = Plan(DIGITS, recipe('smoke', reading, study, schedule=dict(rates=[.05])), seeds=1)
    for step in [s for last in plan.steps() for s in chain(last)]:
        ae,p = build_staged(step, DIGITS),phase_of(step)
        net = PhaseNet(ae, p)
        net(torch.rand(2, *((1,8,8) if p.noise=='input' else (16,)))).sum().backward()
        assert [n for n in ae.names if ae.encoder.stages[n].linear.weight.grad is not None]==list(p.train)

def test_validation_images_are_never_trained_on():
    seen = []
    for last in Plan(DIGITS, recipe('smoke', study='figure4', schedule=dict(rates=[.05])), ['gradual', 'none'],
        [50, 100], 3).steps():
        tr,va = picked(chain(last)[0], DIGITS)
        few,own,_ = labelled(last, DIGITS)
        assert not torch.isin(va, tr).any() and torch.equal(own, va) and torch.isin(few, tr).all()
        assert len(few)==last.data['labels']
        assert np.ptp(torch.bincount(DIGITS.train.y[tr]).numpy())<=3
        seen.append((last.seeds['subset'], tuple(tr.tolist())))
    assert len(set(seen))==3

@pytest.mark.parametrize('k', (2, 3, 5, 10))
def test_folds_keep_the_classes(k):
    y = torch.arange(5000)%10
    even = Splits('even', ImageSet(torch.zeros(5000,1,1,1,dtype=torch.uint8),
        y[torch.randperm(5000, generator=generator('y'))]), DIGITS.test)
    made,seen = recipe('smoke', study='search', schedule=dict(images=3000, folds=k, grid=dict(lr=[.1]))),[]
    for last in Plan(even, made).steps():
        tr,va = picked(last, even)
        assert chain(last)[0].fit['steps']==2*-(-len(tr)//20) and len(tr)+len(va)==3000 and not torch.isin(va, tr).any()
        assert np.ptp(even.train.y[va].bincount(minlength=10).numpy())<=1
        seen.append(va)
    assert len(torch.cat(seen).unique())==3000

def test_everything_that_matters_is_in_the_key():
    def key(seed=0, **kw):
        return Plan(DIGITS, recipe('smoke', study='figure3', schedule=dict(rates=[.05]) | kw), 'gradual',
            seeds=[seed]).steps()[0].key
    others = dict(images=199, n_valid=59, width=17, noise=.1, bs=10, lr=.5, momentum=.7, weight_decay=0.,
        normalised_grad=True, n=3, first=3)
    rated = [key(**{k: v}, **dict(rates=[.5]) if k=='lr' else {}) for k,v in others.items()]
    assert len({key(), key(1), *rated})==len(others)+2

@pytest.mark.parametrize('conv', (False, True))
@pytest.mark.parametrize('decoder', ('direct', 'chain'))
def test_the_error_against_double(conv, decoder):
    step = Plan(DIGITS, recipe('smoke', study='conv' if conv else 'figure3', schedule=dict(rates=[.5], lr=.5)),
        'gradual').steps()[0]
    ae,gen,slow = build_staged(step, DIGITS),generator('test noise', DIGITS.test.digest),[]
    twin = copy.deepcopy(ae).double()
    for _,y in ImageDL(DIGITS.test, 500, target='x'):
        t,pre = y.double(),twin(Masking(.15)(y, gen).double(), decoder).detach()
        p = torch.sigmoid((1+conv)*pre)
        ones = torch.where(t>0, t*(t.clamp(min=1e-300)/p).log(), 0.)+torch.where(t<1,
            (1-t)*((1-t).clamp(min=1e-300)/(1-p)).log(), 0.)
        slow.append((p-t).pow(2).flatten(1).mean(1) if conv else ones.flatten(1).sum(1))
    got = denoising_error(ae, DIGITS.test, Masking(.15), decoder, loss='mse' if conv else 'bce')
    assert got==pytest.approx(torch.cat(slow).mean().item(), rel=1e-5)

def test_phase_by_phase_is_the_whole_schedule():
    res = run('figure3', arms=['hybrid_0.5'])
    last = res.steps[0]
    tr,va = (DIGITS.train.take(i).unlabelled() for i in picked(last, DIGITS))
    dls,whole = image_dls(tr, va, 20, target='x'),build_staged(last, DIGITS)
    opt = torch_opt('sgd', momentum=.9, weight_decay=1e-5, fused=True)
    with alone('x'):
        run_schedule(whole, [phase_of(o) for o in chain(last)], DataLoaders(dls.train, dls.valid.new(bs=1000)),
            Masking(.15), lr=.05, opt_func=opt)
    for a,b in zip(res.store.net(last, DIGITS).parameters(), whole.parameters()): assert torch.equal(a, b)

@pytest.mark.parametrize('study', ('figure3', 'conv'))
def test_fair_scores_leave_the_encoder_alone(study):
    for last in run(study, 'fair', arms=['stacked/direct', 'gradual/chain']).steps:
        res = run(study, 'fair', arms=[last.arm])
        kept = res.store.file('weights', last.key, 'safetensors')
        assert not kept.exists(), 'a refit is scored and gone'
        before = res.store.net(last.parents[0], DIGITS)
        after,_ = train_phase(last, DIGITS, res.store.starts(last))
        same = {k: torch.equal(v, before.state_dict()[k]) for k,v in after.state_dict().items()}
        assert all(v for k,v in same.items() if k.startswith('encoder.')) and not all(same.values())

@pytest.mark.parametrize('reading,arm,decoder',
    [('as_written', 'stacked', 'chain'), ('fair', 'stacked/direct', 'direct'), ('fair', 'stacked/chain', 'chain')])
def test_joint_tuning_goes_on_from_what_was_scored(reading, arm, decoder):
    res = run('joint', reading, arms=[arm], lr=.01, rates=[.01])
    last = res.steps[0]
    own = phase_of(last)
    assert (own.name, own.decoder, own.train)==('joint', decoder, ('l1', 'l2'))
    assert phase_of(last.parents[0]).name==('stack l2' if reading=='as_written' else f'refit {decoder}')
    before,after = (res.store.net(o, DIGITS).state_dict() for o in (last.parents[0], last))
    assert not any(torch.equal(v, after[k]) for k,v in before.items() if k.startswith('encoder.')), 'a layer rests'

def test_weights_that_are_gone_are_made_again(tmp_path):
    res = run('joint', arms=['gradual'], folder=tmp_path)
    last,value = res.steps[0],res.rows.value.item()
    weights = res.store.file('weights', last.parents[0].key, 'safetensors')
    was = weights.read_bytes()
    weights.unlink(), res.store.file('steps', last.key).unlink()
    assert run('joint', arms=['gradual'], folder=tmp_path).rows.value.item()==value and weights.read_bytes()==was

def test_a_head_starts_as_its_section_says():
    r = recipe('smoke', study='figure4', schedule=dict(rates=[.05]))
    def head(**init):
        return build_classifier(Plan(DIGITS, r | dict(head=dict(make='linear', **init)), 'none', 50).steps()[0],
            DIGITS).head.out
    assert head(init=dict(dist='xavier_uniform')).bias.abs().max()==0<head().bias.abs().max()

@pytest.mark.slow
def test_arms_seek_their_rates_on_validation_images(monkeypatch):
    rates = [.05, .02, .01]
    own = run('figure3', 'fair', seeds=2, rates=rates)
    by = own.tuning.set_index('arm')
    assert set(by.index)=={'gradual/direct', 'hybrid_0.5/direct', 'stacked/direct'}
    assert by.chosen.groupby('arm').sum().eq(1).all()
    for arm,tries in by.groupby('arm'): assert tries.lr[tries.chosen].item()==tries.lr.iloc[tries.valid.argmin()]
    rows = as_recorded(own)
    assert rows.groupby('arm').lr.nunique().eq(1).all() and len(rows)==12
    assert rows.lrs.dropna().eq('0.05 0.02 0.01').all()
    other = run('figure3', 'fair', seeds=2, rates=rates, data=turned(DIGITS, monkeypatch))
    assert other.rows.key.tolist()==own.rows.key.tolist() and other.rows.valid.tolist()==own.rows.valid.tolist()
    assert other.rows.value.tolist()!=own.rows.value.tolist()

@pytest.mark.slow
def test_joint_tuning_has_a_rate_for_each_decoder():
    before = as_recorded(run('figure3', 'fair', rates=[.05, .02, .01])).set_index(['arm', 'decoder'])
    res = run('joint', 'fair', rates=[.05, .02, .01])
    assert set(res.tuning.section)=={'pretrain', 'joint'}
    tuned = res.tuning[res.tuning.section.eq('joint')]
    assert set(tuned.arm)=={'gradual/direct', 'gradual/chain', 'stacked/direct', 'stacked/chain'}
    moved = 0
    for r in as_recorded(res).itertuples():
        own,tries = before.loc[(r.arm, r.decoder)],tuned[tuned.arm.eq(f'{r.arm}/{r.decoder}')]
        assert r.lr==own.lr and r.tune_lr==tries.lr.iloc[tries.valid.argmin()] and r.valid<=own.valid and len(tries)>1
        moved += r.valid<own.valid
    assert moved>=3

def test_as_written_a_rate_is_judged_after_joint_tuning():
    res = run('joint', arms=['gradual'], rates=[.05, .02])
    rates = Rates(Plan(DIGITS, res.about['recipe'], ['gradual'], seeds=1))
    assert phase_of(rates.judge(('pretrain', 'gradual', None, None), .02)).name=='joint'
    assert not any(k in res.steps[0].fit for k in ('tune', 'seek', 'first_lr', 'ties'))

@pytest.mark.parametrize('study,arm,judge',
    [('figure4', 'gradual', 'grow l2'), ('conv_fits', 'stacked', 'stack conv3')])
@pytest.mark.parametrize('fit_rates', ([.05], [.05, .01]))
def test_labels_judge_no_rate_of_a_phase(study, arm, judge, fit_rates):
    more = {} if study=='conv_fits' else dict(fit_rates=fit_rates)
    plan = Plan(DIGITS, recipe('smoke', 'fair', study, schedule=more))
    rates = Rates(plan)
    key = rates.key('pretrain', arm, plan.sizes[0], (0, 0, 0))
    assert phase_of(rates.judge(key, .2)).name==judge
    assert rates.key('pretrain', 'none' if study=='figure4' else 'random_paper', 50, (0, 0, 0)) is None

@pytest.mark.slow
def test_figure4_is_paired_and_chooses_on_validation(monkeypatch):
    res = run('figure4', 'fair')
    rows = as_recorded(res)
    assert rows.groupby('labels').subset.nunique().tolist()==[1, 1] and set(rows.arm)==set(FIGURE4)
    tries = res.tuning[res.tuning.section.eq('finetune')].groupby(['arm', 'labels'])
    for r in rows.itertuples():
        own = tries.get_group((r.arm, r.labels))
        best = own[own.valid.eq(own.valid.max())].lr.min()
        assert r.lr==best and r.lrs=='0.05 0.01' and r.epochs<=3
    other = run('figure4', 'fair', data=turned(DIGITS, monkeypatch))
    assert other.rows.key.tolist()==res.rows.key.tolist() and other.rows.valid.tolist()==res.rows.valid.tolist()
    assert other.rows.value.tolist()!=res.rows.value.tolist()

def test_a_convolutional_classifier_starts_from_its_phases():
    res = run('conv_fits', 'fair', arms=['gradual', 'random_paper'])
    for s in res.steps:
        net = build_classifier(s, DIGITS, res.store.starts(s)).encoder.state_dict()
        if s.arm=='gradual':
            assert all(torch.equal(v, net[k])
                for k,v in res.store.net(s.parents[0], DIGITS).encoder.state_dict().items())
        else: assert not s.start and abs(net['stages.conv1.conv.weight'].std().item()-.2)<.05
    assert as_recorded(res).groupby('head_seed').subset.nunique().tolist()==[1]

@pytest.mark.slow
def test_search_takes_every_entry_of_the_grid():
    few = dict(width=[8, 12], lr=[.1, .01], bs=[10, 20], momentum=[.9, .7], weight_decay=[1e-3, 1e-5])
    rows = as_recorded(run('search', grid=few, folds=2, first=1, n=1))
    assert len(rows)==32 and rows.key.is_unique and rows.valid.is_monotonic_increasing
    assert all(rows[k].nunique()==2 for k in few)
    assert (rows.n_train+rows.n_valid==200).all() and set(rows.decoder)=={'direct'} and rows.folds.eq(2).all()

def test_find_n_is_the_first_that_settles():
    falls = lambda tau, n: [1+math.exp(-i/tau) for i in range(n)]
    def fake(slow):
        "Records of the same steps with curves that are known; mixes settle at `slow`."
        def curve(s):
            arm,n = s.arm or s.fit['phase']['name'],s.fit['steps']//10
            if 'hybrid' in arm: return [1.]*99 if int(arm.rpartition('_n')[2])>=slow else falls(40, 99)
            return curves['stacked' if 'stack' in str(s.fit['phase']['name']) else 'gradual'][places[s.key]]
        return SimpleNamespace(get=lambda k: dict(curve=curve(steps[k]), least=0.))
    about,steps = dict(recipe=recipe('smoke', study='find_n',
        schedule=dict(chunk=10, most=160, window=10, tol=.005, fs=[.5]))),{}
    lasts = Plan(DIGITS, about['recipe']).steps()
    for s in lasts: steps |= {o.key: o for o in chain(s)}
    curves,places = dict(gradual=[], stacked=[]),{}
    for arm,per,tau in (('gradual', 10, 12), ('stacked', 20, 30)):
        parts,whole = chain(next(s for s in lasts if s.arm==arm))[1:],falls(tau, per*16)
        for i,o in enumerate(parts): places[o.key] = i; curves[arm].append(whole[per*i:per*(i+1)])
    assert choose_n(SimpleNamespace(about=about, steps=lasts, store=fake(999)))[0] is None
    for slow in (0, 100):
        n,seen = choose_n(SimpleNamespace(about=about, steps=lasts, store=fake(slow)))
        moves = lambda c, at: 100*(1-c[at-1]/c[at-11])>=.5
        settled = lambda n: not moves(falls(12, 160), n) and not moves(falls(30, 320), 2*n)
        assert n==next(m for m in range(20, 161, 10) if m>=slow and settled(m))

@pytest.mark.slow
def test_claims_are_asked_of_own_rows():
    studies = 'figure3', 'joint', 'ablation', 'de_novo', 'factor', 'depth', 'figure4', 'conv'
    short = dict(first=1, refit=dict(direct=3, chain=3))
    res = [run(*o, 2, **short)
        for o in itertools.product(studies, ('as_written', 'fair'))] + [run('conv_fits', 'fair', 2)]
    rows = pd.concat([as_recorded(o) for o in res]).replace(dict(labels={100: 1000})).drop_duplicates(['kind', 'key',
        'arm', 'reading'])
    rows = rows.assign(data='mnist', setting='floor')
    more = [rows[rows.arm=='hybrid_0.5'].assign(arm=f'hybrid_{f}', f=f) for f in (.25, .75)]
    book = settle([c for c in CLAIMS if c.name.endswith('mnist')], pd.concat([rows, *more]))
    assert 'not run here' not in set(book.outcome) and book.fair[book.fair_outcome!='not asked'].notna().all()
    assert set(settle(CLAIMS, rows[:0]).outcome)=={'not run here'} and len({c.name for c in CLAIMS})==len(CLAIMS)
    studies = {re.search(r'study=(\w+)', cmd)[1] for c in CLAIMS for cmd in c.commands.values()}
    assert studies<=set(STUDIES)

def command(folder, *more):
    words = ['compare', 'digits', '--recipe', HERE, '--setting', 'smoke', '--set', 'schedule.n=6', '--set',
        'schedule.rates=[0.05]', '--seeds', '1', '--out', str(folder)]
    return [*words, *more]

def test_killed_and_resumed(tmp_path, capsys):
    c,steps = Child(command(tmp_path/'a'), tmp_path),tmp_path/'a'/'steps'
    while c.ended() is None and len(list(steps.glob('[!.]*.json')))<2: time.sleep(.002)
    c.send(signal.SIGKILL)
    assert c.wait()==-signal.SIGKILL
    before = {f.name: f.read_bytes() for f in steps.glob('[!.]*.json')}
    assert 2<=len(before)<5
    for d in 'ab':
        assert main(command(tmp_path/d))==0
        out = capsys.readouterr().out
        assert 'nats' in out and 'lower is better' in out
    assert all((steps/k).read_bytes()==v for k,v in before.items())
    a,b = (pd.read_csv(tmp_path/d/'results.csv') for d in 'ab')
    assert a.value.tolist()==b.value.tolist() and a.key.tolist()==b.key.tolist()
    assert a.arm.tolist()==['gradual', 'hybrid_0.5', 'stacked']
    assert (tmp_path/'a'/'report.html').exists() and read_results(tmp_path/'a').rows.value.tolist()==a.value.tolist()

@pytest.mark.slow
def test_two_processes_share_a_store(tmp_path):
    own = dict(recipe=recipe('smoke', 'fair', schedule=dict(rates=[.05])), seeds=1, progress=False)
    one,two = compare('digits', **own, store=tmp_path/'a'),compare('digits', **own, store=tmp_path/'b', executor=2)
    assert one.rows.value.tolist()==two.rows.value.tolist() and one.rows.key.tolist()==two.rows.key.tolist()

def test_a_step_that_diverges_is_a_failed_record(tmp_path):
    res = run('figure3', arms=['stacked'], folder=tmp_path, lr=1e30, rates=[1e30])
    assert not len(res.rows) and 'diverged' in res.missing.reason.item() and list((tmp_path/'failed').glob('*.json'))

WRONG = [('figure', ['study=figure'], "did you mean 'figure4'"), ('reading', ['reading=far'], 'fair'),
    ('entry', ['schedule.momentu=1'], "did you mean 'momentum'"),
    ('zero', ['schedule.bs=0'], 'schedule.bs is 0'), ('word', ['schedule.width=a'], "schedule.width is 'a'"),
    ('list', ['schedule.fs=0.5'], 'schedule.fs is 0.5'),
    ('half', ['schedule.n=2.5'], 'schedule.n is 2.5'), ('share', ['schedule.fs=[1.5]'], '1.5'),
    ('grid', ['study=search', 'schedule.grid.foo=[1,2]'], "no 'foo'"),
    ('empty', ['study=search', 'schedule.grid.lr=[]'], 'schedule.grid.lr is []'),
    ('arm', ['study=search', 'schedule.arm=gradul'], 'gradul'),
    ('chunk', ['study=find_n', 'schedule.chunk=10'], 'schedule.most'),
    ('control', ['study=conv_fits', 'schedule.controls=["random_papr"]'], 'random_paper'),
    ('fair', ['study=search', 'reading=fair'], 'no fair reading'), ('many', ['schedule.images=5000'], '5060'),
    ('section', ['finetunes.lr=1'], "did you mean 'finetune'")]

@pytest.mark.parametrize('changes,say', [pytest.param(c, s, id=i) for i,c,s in WRONG])
def test_wrong_input_is_one_line(tmp_path, capsys, changes, say):
    code = main(command(tmp_path/'out', *(w for c in changes for w in ('--set', c))))
    err = capsys.readouterr().err
    assert code==2 and len(err.strip().splitlines())==1 and say in err and not (tmp_path/'out').exists()

def test_lengths_and_noise_follow_the_data():
    r = find_recipe(HERE, 'floor', 'cifar10')
    assert (r['schedule']['width'], r['pretrain']['corrupt']['p'], r['schedule']['n'])==(1500, .1, 70)
    assert find_recipe(HERE, 'floor', 'something')['schedule']['width']==1000
