"""Holm and TOST against statsmodels, the words against interval and test, and what the verdict promises, by simulation
of whole grids."""
import io, warnings
from dataclasses import asdict

import numpy as np, pandas as pd, pytest
from scipy import stats as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind, ttost_paired
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.doubts import doubts
from aepretrain_nb.answers.stats import paired, welch
from aepretrain_nb.answers.verdict import Verdict, as_one_family, family_lines, verdict
from aepretrain_nb.answers.judged import holm, tost
from aepretrain_nb.answers.pretraining import pretraining, pretraining_warnings

SIZES, SEEDS = (100, 300, 1000), 5

def se95(n, p=.05): return 2.6*(p*(1-p)/n)**.5

def grids(n, effect=0., noise='normal', seed=0, sizes=len(SIZES), seeds=SEEDS, share=True):
    """Two arms of `n` grids, (n, sizes, seeds): luck of the subset shared by a pair, wider spread with fewer labels and
    in the first arm."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(2, .5, sizes)[:, None]
    draw = dict(normal=rng.standard_normal, binomial=lambda s: (rng.binomial(10_000, .9, s)-9000)/30,
        heavy=lambda s: rng.standard_t(5, s))[noise]
    luck = 3*share*rng.standard_normal((n, sizes, seeds))
    return luck+scale*draw((n, sizes, seeds))+np.broadcast_to(effect, sizes)[:, None], \
        luck+.5*scale*draw((n, sizes, seeds))

def as_table(a, b, kind='paired t'):
    """What `differences` returns for grids (n, sizes, seeds), by scipy over all of them at once; each grid is a control
    of its own."""
    n, m, k = a.shape
    r = st.ttest_rel(a, b, axis=-1) if kind=='paired t' else st.ttest_ind(a, b, axis=-1, equal_var=False)
    ci, d = r.confidence_interval(), (a-b).mean(-1)
    se = (ci.high-ci.low)/2/st.t.isf(.025, r.df)
    cols = dict(diff=d, se=se, low=ci.low, high=ci.high, df=np.broadcast_to(r.df, d.shape), p=r.pvalue)
    return pd.DataFrame(dict(labels=np.tile(range(m), n), treatment='pretrained', control=np.repeat(range(n), m),
        test=kind, n_a=k, n_b=k,
        **{c: v.ravel() for c, v in cols.items()}, missing=0))

def long(a, b):
    "One grid (sizes, seeds) as a table of trials."
    return pd.DataFrame([dict(labels=i, seed=s, subset=f'{i}/{s}', arm=arm, value=v[i, s])
        for arm, v in (('pretrained', a), ('0', b)) for i in range(len(a)) for s in range(a.shape[1])])

@pytest.mark.parametrize('kind', ['paired t', 'Welch t'])
def test_the_simulated_tables_are_those_of_differences(kind):
    a, b = grids(20, seed=3)
    for i in range(20):
        want, got = as_table(a[i:i+1], b[i:i+1], kind), differences(long(a[i], b[i]),
            pair=('seed',) if kind=='paired t' else ())
        num = ['diff', 'se', 'low', 'high', 'df', 'p']
        np.testing.assert_allclose(got[num], want[num], rtol=1e-9)
        named = ['labels', 'test', 'n_a', 'n_b', 'missing']
        assert (got[named].to_numpy()==want[named].to_numpy()).all()

@pytest.mark.parametrize('seed', range(10))
def test_holm_against_statsmodels(seed):
    rng = np.random.default_rng(seed)
    p = rng.choice(rng.uniform(0, .2, 6), rng.integers(1, 12))   # with ties
    reject, want, *_ = multipletests(p, .05, 'holm')
    np.testing.assert_allclose(holm(p), want)
    assert ((holm(p)<=.05)==reject).all()
    gaps = np.insert(p, 1, np.nan)
    np.testing.assert_allclose(holm(gaps), np.insert(want, 1, np.nan))

def test_holm_at_the_edges():
    assert len(holm([]))==0 and np.isnan(holm([np.nan])).all() and holm([.04])==.04
    assert (holm([0, 0, 1])==[0, 0, 1]).all() and (holm([.9, .8])==1).all()

@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('margin', [.3, 1., 3.])
def test_tost_against_statsmodels(seed, margin):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(.3, 1, 7), rng.normal(0, .5, 7)
    for d, want in ((paired(a, b), ttost_paired(a, b, -margin, margin)[0]),
        (welch(a, b), ttost_ind(a, b, -margin, margin, usevar='unequal')[0])):
        assert tost(d.diff, d.se, d.df, margin)==pytest.approx(want)
        low, high = st.t.interval(.90, d.df, d.diff, d.se)
        assert (want<=.05)==(-margin<=low and high<=margin)

def rows(**kw):
    "Random tables with everything in them: several controls, sizes and spreads, also cells without a test."
    rng = np.random.default_rng(kw.pop('seed'))
    out = []
    for c in ('r1', 'r2', 'r3'):
        for l in SIZES:
            n, sd = rng.integers(1, 9), rng.choice([0, .1, 1.])
            x = paired(rng.normal(rng.choice([0, .3, -1]), sd, n) if sd else np.full(n, .3), np.zeros(n))
            out.append(dict(labels=l, treatment='p', control=c, **asdict(x), missing=rng.integers(2)))
    return pd.DataFrame(out).rename(columns={'kind': 'test'})

@pytest.mark.parametrize('seed', range(15))
@pytest.mark.parametrize('margin', [None, .5])
def test_words_agree_with_interval_and_test(seed, margin):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        v = verdict(rows(seed=seed), margin)
    for r in v.table.itertuples():
        tested = np.isfinite(r.p)
        assert (r.verdict=='no verdict')==(not tested)
        assert (r.verdict=='helps')==(r.p_holm<=.05 and r.low>0) and (r.verdict=='hurts')==(r.p_holm<=.05 and r.high<0)
        if r.verdict in ('helps', 'hurts'):
            assert r.p<=r.p_holm<=.05 and (r.diff>0)==(r.verdict=='helps')
            assert ('less than' in r.words)==bool(margin and max(-r.low, r.high)<margin)
        if r.verdict=='equivalent':
            assert margin and -margin<r.low and r.high<margin and r.p_equiv<=.05 and r.words=='equivalent within 0.5'
        if r.verdict=='no difference shown' and not (r.low>0 or r.high<0):
            promised = float(r.words.removeprefix('no difference shown: a difference of ').removesuffix(
                ' or more would probably have been seen'))
            assert r.detectable_holm<=promised*(1+1e-9)<=1.1*r.detectable_holm*(1+1e-9)
        if r.verdict=='no difference shown' and (r.low>0 or r.high<0):
            corrected = f'the interval leaves out 0, but not after correction for {r.family} sizes'
            assert r.words==f'no difference shown: {corrected}'
    fam = v.table.groupby('control').p.transform(lambda p: np.isfinite(p).sum())
    assert (v.table.family==fam).all() and all('\n' not in w for w in v.warnings) and len(v.table)==9
    for _, d in v.table.groupby('control'): np.testing.assert_allclose(d.p_holm, holm(d.p))

def test_lower_is_better_changes_the_words_only():
    t = rows(seed=1)
    a, b = verdict(t).table, verdict(t, lower=True).table
    assert b.verdict.tolist()==a.verdict.replace({'helps': 'hurts', 'hurts': 'helps'}).tolist()
    assert {'helps', 'hurts'} <= set(a.verdict)
    pd.testing.assert_frame_equal(a.drop(columns=['verdict', 'words']), b.drop(columns=['verdict', 'words']))

@pytest.mark.parametrize('noise', ['normal', 'binomial', 'heavy'])
@pytest.mark.parametrize('kind', ['paired t', 'Welch t'])
def test_intervals_cover(noise, kind):
    """95 % intervals hold the truth in 94 to 96 % over 5,000 grids of three sizes (standard error .2 %); 10 runs an arm
    for Welch's, which is approximate."""
    pair = kind=='paired t'
    t = as_table(*grids(5000, 1., noise, seed=1, seeds=SEEDS if pair else 10, share=pair), kind)
    assert .94<=((t.low<=1) & (1<=t.high)).mean()<=.96

@pytest.mark.parametrize('noise', ['normal', 'binomial', 'heavy'])
@pytest.mark.parametrize('sizes', [1, 3, 6])
def test_false_alarms_of_the_verdict(noise, sizes):
    """Where nothing helps, any size says helps or hurts in at most 5 % of 5,000 grids, plus 2.6 standard errors (.8 %);
    without Holm it would be more."""
    t = verdict(as_table(*grids(5000, 0., noise, seed=sizes, sizes=sizes))).table
    alarm = t.verdict.isin(['helps', 'hurts']).groupby(t.control).any().mean()
    assert alarm<=.05+se95(5000)
    if sizes>1: assert (t.p<=.05).groupby(t.control).any().mean()>.08

def test_false_alarms_beside_a_true_effect():
    "A large effect at one size does not raise the false alarms at the others (strong control)."
    t = verdict(as_table(*grids(5000, [6, 0, 0], seed=2))).table
    null = t[t.labels>0]
    assert null.verdict.isin(['helps', 'hurts']).groupby(null.control).any().mean()<=.05+se95(5000)
    assert (t[t.labels==0].verdict=='helps').mean()>.8

@pytest.mark.slow
def test_false_alarms_of_welch():
    t = verdict(as_table(*grids(3000, seed=4, seeds=10, share=False), 'Welch t')).table
    assert t.verdict.isin(['helps', 'hurts']).groupby(t.control).any().mean()<=.05+se95(3000)

def test_equivalence_is_not_claimed_at_the_margin():
    """With the true difference at the margin, any size is called equivalent in at most 5 % of 5,000 grids; with none
    and enough runs, nearly all are."""
    a, b = grids(5000, 1., seed=5, seeds=20)
    t = verdict(as_table(a, b), margin=1.).table
    assert (t.verdict=='equivalent').groupby(t.control).any().mean()<=.05+se95(5000)
    t = verdict(as_table(*grids(200, 0., seed=6, seeds=40)), margin=2.).table
    assert (t.verdict=='equivalent').mean()>.9

@pytest.mark.parametrize('sizes', [1, 3])
def test_what_would_have_been_seen_is_seen(sizes):
    """A true difference as large as promised is found at its size in 80 % or more, whatever the other sizes show
    (standard error .6 %)."""
    rng = np.random.default_rng(sizes)
    probe = verdict(as_table(rng.normal(size=(1, sizes, SEEDS)), np.zeros((1, sizes, SEEDS)))).table.iloc[0]
    a = rng.normal(size=(5000, sizes, SEEDS))
    a[:, 0] += probe.detectable_holm/probe.se/SEEDS**.5
    t = verdict(as_table(a, np.zeros_like(a))).table
    found = (t[t.labels==0].verdict=='helps').mean()
    assert found>=.8-.015 and (sizes>1 or found<=.8+.015)

def trials(n=5, gain=3., sizes=SIZES, arms=('pretrained', 'r1', 'r2'), seed=0):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame([(l, a, s) for l in sizes for a in arms for s in range(n)], columns=['labels', 'arm', 'seed'])
    return df.assign(subset=df.labels.astype(str)+'/'+df.seed.astype(str),
        value=80+df.seed+gain*(df.arm=='pretrained')+rng.normal(0, .3, len(df)))

def test_five_pairs_are_warned_of():
    v = verdict(differences(trials()), extra=['from outside'])
    assert set(v.table.verdict)=={'helps'} and v.warnings[0]=='from outside' and len(v.warnings)==2
    floor = ('5 pairs: a permutation test cannot give p below 0.0625 (0.188 after Holm over 3 sizes), '
        'so it cannot reach 0.05; 7 pairs could: ')
    assert v.warnings[1].startswith(floor+'labels=100 against r1')
    assert verdict(differences(trials(7))).warnings==[]

def test_judged_by_permutation():
    v = verdict(differences(trials(5)), p='p_perm')
    assert set(v.table.verdict)=={'no difference shown'}
    assert set(v.table.words)<={'no difference shown: so few runs cannot show one',
        'no difference shown: the interval leaves out 0, but the permutation test does not reject'}
    assert set(verdict(differences(trials(7)), p='p_perm').table.verdict)=={'helps'}

@pytest.mark.parametrize('n,crit', [(2, '38.2'), (3, '7.65'), (4, '4.86')])
def test_steep_t_is_warned_of(n, crit):
    line = f'{n} pairs: a difference below {crit} standard errors (after Holm over 3 sizes) cannot be shown'
    assert any(w.startswith(line) for w in verdict(differences(trials(n))).warnings)

def test_missing_trials_are_warned_of():
    df = trials(7)
    v = verdict(differences(df[~((df.arm=='r1') & (df.labels==300) & (df.seed<2))]))
    assert v.warnings[0]=='trials are missing: 2 at labels=300 against r1' and v.warnings[1].startswith('5 pairs: ')
    v = verdict(differences(df[(df.arm!='r1') | (df.labels!=300)]))
    assert v.warnings==['trials are missing: 7 at labels=300 against r1',
        'no test was possible (no run of one arm): labels=300 against r1']

def test_one_seed_has_rows_and_a_warning():
    v = verdict(differences(trials(1)))
    assert set(v.table.words)=={'no verdict: one run tells nothing about chance'} and len(v.warnings)==1
    assert '(no interval)' in str(v) and 'nan' not in str(v)

def test_interval_without_0_that_does_not_survive_holm():
    t = as_table(*grids(400, seed=7))
    v = verdict(t)
    odd = v.table[(v.table.p<=.05) & (v.table.p_holm>.05)]
    assert len(odd)
    assert set(odd.words)=={'no difference shown: the interval leaves out 0, but not after correction for 3 sizes'}
    assert not odd.words.str.contains('would').any() and not any('leaves out 0' in w for w in v.warnings)

def test_another_level():
    d = differences(trials(), conf=.9)
    assert verdict(d, alpha=.1).conf==.9
    with pytest.raises(ValueError, match='alpha=0.05, but intervals of 90 %: make the table with conf=0.95'): verdict(d)

@pytest.mark.parametrize('kw,msg', [(dict(margin=0), 'margin=0'), (dict(margin=-1.), 'above 0'),
    (dict(margin=np.nan), 'margin=nan'),
    (dict(alpha=0), 'alpha=0'), (dict(alpha=.7), 'alpha=0.7'), (dict(p='q'), "no column 'q'")])
def test_wrong_calls_say_what_is_wrong(kw, msg):
    with pytest.raises(ValueError, match=msg) as e: verdict(differences(trials()), **kw)
    assert '\n' not in str(e.value)

def test_the_table_given_is_left_alone_and_the_index_does_not_matter():
    d = differences(trials())
    was, mixed = d.copy(), d.sample(frac=1, random_state=0)
    v = verdict(d, margin=1)
    pd.testing.assert_frame_equal(d, was)
    pd.testing.assert_frame_equal(verdict(mixed, margin=1).table.sort_index(), v.table)
    assert isinstance(v, Verdict)
    assert list(v.table.columns[-6:])==['family', 'p_holm', 'detectable_holm', 'p_equiv', 'verdict', 'words']

def test_nothing_to_compare():
    assert verdict(pd.DataFrame(), extra=['one']).warnings==['one', 'nothing to compare: one arm, or no finished trial']

# an arm that did not train --------------------------------------------------------------------------------------------

def learnt(n=5, sizes=(50, 200), dead=(), **cols):
    """Trials in per cent with what tells chance: 10 % of 500 images; `dead` lists (arm, labels, runs that stayed at
    chance)."""
    df = trials(n, 2., sizes, ('pretrained', 'paper', 'default'))
    df = df.assign(metric='accuracy', unit='%', chance=10., n_test=500,
        encoder=df.arm.map(dict(pretrained='pretrained')).fillna('random'), **cols)
    df['valid'] = df.value-2*(df.arm=='default')
    for arm, labels, k in dead: df.loc[(df.arm==arm) & (df.labels==labels) & (df.seed<k), ['value', 'valid']] = 10.4
    return df

def say(df, **kw): return verdict(differences(df), unit='points', **kw)
def words(v, labels, control): return v.table.set_index(['labels', 'control']).words[labels, control]

def test_a_control_that_did_not_train_is_no_evidence():
    v = say(learnt(dead=[('default', 200, 4)]))
    assert words(v, 200, 'default')=='no verdict: default did not train (4 of 5 runs at chance)'
    row = v.table.set_index(['labels', 'control']).loc[(200, 'default')]
    assert np.isnan([row.p, row.p_holm]).all() and set(v.table[v.table.control=='default'].family)=={1}
    assert set(v.table[v.table.control=='paper'].family)=={2}
    line = next(l for l in str(v).splitlines() if l.startswith('labels=200 against default'))
    assert line.endswith('at chance)') and not any('no test was possible' in w for w in v.warnings)

def test_the_dead_arm_may_be_the_treatment_or_both():
    assert words(say(learnt(dead=[('pretrained', 50, 3)])), 50,
        'paper')=='no verdict: pretrained did not train (3 of 5 runs at chance)'
    v = say(learnt(dead=[('pretrained', 50, 5), ('paper', 50, 4)]))
    assert words(v, 50, 'paper')=='no verdict: pretrained and paper did not train (5 of 5 and 4 of 5 runs at chance)'

def test_fewer_than_half_is_a_warning():
    v = say(learnt(dead=[('default', 200, 2)]))
    assert not words(v, 200, 'default').startswith('no verdict')
    assert 'default is at chance in 2 of 5 runs at labels=200' in v.warnings
    assert say(learnt(4, dead=[('default', 200, 2)])).table.dead_b.sum()==1

@pytest.mark.parametrize('rows', ['text', 'error', 'flag'])
def test_dead_arms_in_any_table(rows):
    "Rows that went through a CSV file, errors instead of accuracies, or a column of the user's own."
    df = learnt(dead=[('default', 200, 4)])
    if rows=='text': df = pd.read_csv(io.StringIO(df.to_csv(index=False)))
    if rows=='error': df = df.assign(metric='error', value=100-df.value, valid=100-df.valid)
    if rows=='flag': df = df.assign(at_chance=df.value<11).drop(columns=['chance', 'n_test'])
    v = verdict(differences(df), unit='points', lower=rows=='error')
    assert words(v, 200, 'default')=='no verdict: default did not train (4 of 5 runs at chance)'
    saved = pd.read_csv(io.StringIO(differences(df).to_csv(index=False)))
    assert words(verdict(saved, unit='points', lower=rows=='error'), 200, 'default')==words(v, 200, 'default')

def test_two_classes_learnt_and_one_large_class_not():
    df = learnt()
    df['value'] = np.where(df.arm=='paper', 73., 80.)+df.seed
    assert not say(df.assign(chance=60.)).table.dead_b.any()
    assert say(df.assign(chance=95.,
        value=df.value.where(df.arm!='default', 95.)+np.where(df.arm=='default', 0,
        18))).table.query('control=="default"').dead_b.all()

def test_what_is_not_known_is_said():
    told = 'whether all arms are better than chance is not known: rows lack chance and n_test'
    assert told in say(learnt().drop(columns='chance')).warnings and told not in say(learnt()).warnings
    assert not say(learnt().drop(columns='chance')).table.dead_b.any()

# the bottom line ------------------------------------------------------------------------------------------------------

def tell(df, **kw): return say(df, **kw).headline

def test_best_is_chosen_on_validation_not_on_test():
    v = say(learnt())
    assert set(v.best.control)=={'paper'} and list(v.best.labels)==[50, 200] and set(v.best.chosen)=={'validation'}
    df = learnt()
    df['valid'] = np.where(df.arm=='default', 99, df.valid)
    assert set(say(df).best.control)=={'default'}
    mixed = learnt()
    mixed.loc[(mixed.labels==50) & (mixed.arm=='default'), 'valid'] = 99.
    assert 'the best random start (default at 50 and paper at 200, chosen on validation)' in tell(mixed)

def test_without_validation_the_worst_case_counts_and_is_said_to():
    df = learnt().drop(columns='valid')
    df['value'] += 3*(df.arm=='default')
    v = say(df)
    assert set(v.best.control)=={'default'}
    assert 'the best random start by test means (no validation means to choose by)' in v.headline

def test_holm_of_the_bottom_line_runs_over_its_own_sizes():
    b = say(learnt()).best
    np.testing.assert_allclose(b.p_holm, holm(b.p))

def test_first_line_first():
    v = say(learnt())
    assert str(v).splitlines()[0]==v.headline
    assert v.headline.startswith('Bottom line: pretrained helps against the best random start (paper, chosen on '
        'validation) at 50 labels (+')

@pytest.mark.parametrize('name', ['one size', 'one control', 'lower', 'margin', 'files', 'dead', 'missing', 'nats',
    'none', 'two controls', 'many'])
def test_bottom_lines(name):
    "Each begins and ends as it should, in one sentence."
    flat = learnt().assign(value=lambda d: 80+np.random.default_rng(3).normal(0, 1, len(d)))
    best = 'the best random start (paper, chosen on validation)'
    cases = {
        'one size': (learnt(sizes=(50,)), {}, f'pretrained helps against {best} at 50 labels (+', 'points [', '])'),
        'one control': (learnt().query('arm!="default"'), {}, 'pretrained helps against paper at 50 labels (+',
        ' and 200 (+'),
        'lower': (learnt().assign(value=lambda d: 100-d.value, metric='error', valid=lambda d: 100-d.valid),
        dict(lower=True), f'pretrained helps against {best} at 50 labels (-'),
        'margin': (flat, dict(margin=9), 'pretrained is equivalent within 9 points to the best random start',
        ' at 50 and 200 labels'),
        'files': (learnt().assign(encoder='file'), {},
        'pretrained helps against the best control (paper, chosen on validation) at 50 labels'),
        'dead': (learnt(dead=[(a, n, 5) for a in ('pretrained', 'paper', 'default') for n in (50, 200)]), {},
        'no verdict against', ': pretrained and paper did not train; default did not train'),
        'missing': (learnt().query('not (arm=="paper" and seed==1)'), {}, 'pretrained helps', 'two runs are missing'),
        'none': (flat, {}, 'no difference shown against the best random start', 'at 50 and 200 labels'),
        'two controls': (learnt(dead=[('default', 50, 5), ('default', 200, 5)]), {},
        'pretrained helps against paper, the only random start that trained, at 50 labels (+',
        '; default did not train'),
        'many': (learnt(7, sizes=range(10, 90, 10)), {}, f'pretrained helps against {best} at 8 of 8 sizes (+',
        ' to +')}
    if name=='nats':
        line = verdict(differences(learnt().assign(unit='nats', metric='loss')), unit='nats', lower=True).headline
        assert 'pretrained hurts against' in line and 'nats [' in line
        return
    df, kw, *parts = cases[name]
    line = tell(df, **kw)
    assert line.startswith('Bottom line: '+parts[0]) and line.endswith('.') and line.count('\n')==0, line
    assert all(p in line for p in parts), line

@pytest.mark.parametrize('cols, ends', [({}, None),
    (dict(last_fifth=-.24), 'the autoencoder of pretrained was still improving (-24 % over its last fifth).'),
    (dict(mse=.07), 'the autoencoder of pretrained is no better than the mean image.'),
    (dict(arm='other', mse=.07), None)])
def test_bottom_line_ends_with_what_the_autoencoder_did(cols, ends):
    v = say(learnt(), encoders=pretraining(autoencoders(**cols)))
    assert v.headline.endswith(ends) if ends else 'autoencoder' not in v.headline
    assert bool(cols)==any('autoencoder' in w for w in v.warnings)

def test_numbers_only_of_what_was_shown():
    df = learnt(dead=[('default', 50, 5)])
    df.loc[(df.labels==200) & (df.arm=='pretrained'), 'value'] -= 2
    assert tell(df).partition('); ')[2]=='no difference shown at 200; default did not train at 50.'

def test_a_size_that_only_correction_loses_is_named_so():
    t = as_table(*grids(200, seed=7))
    lost = next(d for _, d in t.groupby('control') if ((d.p<=.05) & (d.p>.05/3)).any() and (d.p>.017).all())
    assert 'no difference shown after correction for 3 sizes' in verdict(lost).headline

# did the pre-training happen ------------------------------------------------------------------------------------------

def autoencoders(**cols):
    df = pd.DataFrame(dict(data='digits', arm='pretrained', mse=[.02, .02, .02], mean_image=.06, pca=.01,
        last_fifth=-.01))
    return df.assign(**cols)

def test_autoencoders_that_learnt_and_those_that_did_not():
    good, bad, late = pretraining(autoencoders()), pretraining(autoencoders(
        mse=[.061, .02, .06])), pretraining(autoencoders(last_fifth=[-.24, -.3, -.01]))
    assert good.words.item()=='trained' and pretraining_warnings(good)==[]
    assert bad.untrained.item()
    assert pretraining_warnings(bad)==['pretrained: the autoencoder is no better than the mean image (2 of 3)']
    assert late.falling.item()
    assert pretraining_warnings(late)==['pretrained: the autoencoder was still improving (-24 % over its last fifth)']

@pytest.mark.parametrize('own', [dict(metric='mse', value=.07), dict(metric='mse reconstruction', valid=np.nan)])
def test_a_denoising_autoencoder_is_held_against_the_mean_image_under_its_own_noise(own):
    "In a verdict and in the doubts of a claim alike"
    learnt = autoencoders(unit='per pixel', mse=.073, value=.015, valid=.015, kind='encoder', encoder='pretrained',
        lr=.1).assign(**own)
    copies = learnt.assign(mse=.001, value=.07, valid=.07)
    assert not pretraining(learnt).untrained.item() and pretraining(copies).untrained.item()
    said = [[d.kind for d in doubts(o)] for o in (learnt, copies)]
    assert 'untrained' not in said[0] and 'untrained' in said[1]

def test_older_rows_of_autoencoders():
    "The fall comes from the curve; what is absent is not known, and no warning."
    curve = ' '.join(map(str, np.geomspace(1, .1, 10)))
    old = pretraining(autoencoders(curve=curve).drop(columns='last_fifth'))
    assert old.last_fifth.item()==pytest.approx(.1**(2/9)-1, rel=1e-3) and old.falling.item()
    bare = pretraining(autoencoders()[['arm', 'mse']])
    assert bare.words.item()=='whether it beats the mean image is not known; its last steps are not known'
    assert pretraining_warnings(bare)==[]
    with pytest.raises(ValueError, match="no column 'arm'"): pretraining(autoencoders().drop(columns='arm'))

def test_autoencoders_of_several_data_are_told_apart():
    both = pd.concat([autoencoders(), autoencoders(data='mnist', last_fifth=-.2)])
    assert pretraining_warnings(pretraining(
        both))==['mnist, pretrained: the autoencoder was still improving (-20 % over its last fifth)']
    assert pretraining_warnings(pretraining(pd.DataFrame()))==[]

def test_imports_no_torch():
    import subprocess, sys
    subprocess.run([sys.executable, '-c',
        "import sys, aepretrain_nb.answers.verdict; assert not {'torch', 'fastai', 'matplotlib'} & set(sys.modules)"],
        check=True)

def starts(n=6, **valid):
    "A pre-trained arm and random starts with these validation values, at two sizes."
    names = pd.MultiIndex.from_product([(10, 100), range(n), ['pretrained', *valid]], names=['labels', 'seed', 'arm'])
    d, r = names.to_frame(index=False), np.random.default_rng(0)
    d = d.assign(subset=d.labels.astype(str)+'/'+d.seed.astype(str), encoder=d.arm.where(d.arm=='pretrained', 'random'))
    return d.assign(value=50+r.normal(0, 1, len(d)), valid=d.arm.map(valid).fillna(60.)+d.seed)

def test_a_tie_on_validation_is_not_broken_by_test_images():
    d = starts(one=50., two=50.)
    for arm in ('one', 'two'):
        b = verdict(differences(d.assign(value=d.value+9*(d.arm==arm)))).best
        assert set(b.control)=={'one'} and set(b.chosen)=={'validation'}

def test_a_lost_bad_run_does_not_choose_the_control():
    "`two` is a little worse on each seed, but lost the seed that is the worst of all."
    d = starts(one=50., two=49.8)
    d = d[~((d.arm=='two') & (d.seed==0))]
    assert d[d.arm=='two'].valid.mean()>d[d.arm=='one'].valid.mean()
    assert set(verdict(differences(d)).best.control)=={'one'}

def test_a_size_without_its_random_start_is_told():
    d = starts(random=50.)
    v = verdict(differences(d[~((d.arm=='random') & (d.labels==100))]))
    assert v.best.labels.tolist()==[10, 100] and 'no verdict at 100: no run of one arm' in v.headline

def test_an_arm_that_lost_its_pilot_has_no_verdict_and_stops_none():
    d = starts(n=8, random=50., other=40.)
    d = d[~((d.arm=='other') & (d.seed<4))]
    v = verdict(differences(d, pilot=5))
    t = v.table.set_index('control')
    assert t.words['other'].unique().tolist()==['no verdict: its pairs are not those of the plan']
    assert t.p['random'].notna().all() and 'nan' not in str(v)

def test_a_family_without_a_test_names_no_correction():
    "Where no control trained, or one run was made, nothing was corrected"
    one = as_one_family([verdict(differences(trials(n=1)), unit='points')])
    head,*lines = family_lines(one, 'points')
    assert head=='each against its best random start' and 'one run tells nothing' in lines[0]
