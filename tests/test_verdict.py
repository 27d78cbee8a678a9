"Holm and TOST against statsmodels, the words against interval and test, and what the verdict promises, by simulation of whole grids."
import warnings
from dataclasses import asdict

import numpy as np, pandas as pd, pytest
from scipy import stats as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind, ttost_paired
from aepretrain_nb.stats import differences, paired, welch
from aepretrain_nb.verdict import Verdict, holm, tost, verdict

SIZES, SEEDS = (100, 300, 1000), 5

def se95(n, p=.05): return 2.6*(p*(1-p)/n)**.5

def grids(n, effect=0., noise='normal', seed=0, sizes=len(SIZES), seeds=SEEDS, share=True):
    "Two arms of `n` grids, (n, sizes, seeds): luck of the subset shared by a pair, wider spread with fewer labels and in the first arm."
    rng = np.random.default_rng(seed)
    scale = np.linspace(2, .5, sizes)[:, None]
    draw = dict(normal=rng.standard_normal, binomial=lambda s: (rng.binomial(10_000, .9, s)-9000)/30, heavy=lambda s: rng.standard_t(5, s))[noise]
    luck = 3*share*rng.standard_normal((n, sizes, seeds))
    return luck+scale*draw((n, sizes, seeds))+np.broadcast_to(effect, sizes)[:, None], luck+.5*scale*draw((n, sizes, seeds))

def as_table(a, b, kind='paired t'):
    "What `differences` returns for grids (n, sizes, seeds), by scipy over all of them at once; each grid is a control of its own."
    n, m, k = a.shape
    r = st.ttest_rel(a, b, axis=-1) if kind=='paired t' else st.ttest_ind(a, b, axis=-1, equal_var=False)
    ci, d = r.confidence_interval(), (a-b).mean(-1)
    se = (ci.high-ci.low)/2/st.t.isf(.025, r.df)
    cols = dict(diff=d, se=se, low=ci.low, high=ci.high, df=np.broadcast_to(r.df, d.shape), p=r.pvalue)
    return pd.DataFrame(dict(labels=np.tile(range(m), n), treatment='pretrained', control=np.repeat(range(n), m), test=kind, n_a=k, n_b=k,
        **{c: v.ravel() for c, v in cols.items()}, missing=0))

def long(a, b):
    "One grid (sizes, seeds) as a table of trials."
    return pd.DataFrame([dict(labels=i, seed=s, subset=f'{i}/{s}', arm=arm, value=v[i, s])
        for arm, v in (('pretrained', a), ('0', b)) for i in range(len(a)) for s in range(a.shape[1])])

@pytest.mark.parametrize('kind', ['paired t', 'Welch t'])
def test_the_simulated_tables_are_those_of_differences(kind):
    a, b = grids(20, seed=3)
    for i in range(20):
        want, got = as_table(a[i:i+1], b[i:i+1], kind), differences(long(a[i], b[i]), pair=('seed',) if kind=='paired t' else ())
        num = ['diff', 'se', 'low', 'high', 'df', 'p']
        np.testing.assert_allclose(got[num], want[num], rtol=1e-9)
        assert (got[['labels', 'test', 'n_a', 'n_b', 'missing']].to_numpy()==want[['labels', 'test', 'n_a', 'n_b', 'missing']].to_numpy()).all()

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
    assert len(holm([]))==0 and np.isnan(holm([np.nan])).all() and holm([.04])==.04 and (holm([0, 0, 1])==[0, 0, 1]).all() and (holm([.9, .8])==1).all()

@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('margin', [.3, 1., 3.])
def test_tost_against_statsmodels(seed, margin):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(.3, 1, 7), rng.normal(0, .5, 7)
    for d, want in ((paired(a, b), ttost_paired(a, b, -margin, margin)[0]), (welch(a, b), ttost_ind(a, b, -margin, margin, usevar='unequal')[0])):
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
        if r.verdict=='equivalent': assert margin and -margin<r.low and r.high<margin and r.p_equiv<=.05 and r.words=='equivalent within 0.5'
        if r.verdict=='no difference shown': assert r.words==f'no difference shown (at least {r.detectable_holm:.3g} would have been seen)'
    fam = v.table.groupby('control').p.transform(lambda p: np.isfinite(p).sum())
    assert (v.table.family==fam).all() and all('\n' not in w for w in v.warnings) and len(v.table)==9
    for _, d in v.table.groupby('control'): np.testing.assert_allclose(d.p_holm, holm(d.p))

def test_lower_is_better_changes_the_words_only():
    t = rows(seed=1)
    a, b = verdict(t).table, verdict(t, lower=True).table
    assert b.verdict.tolist()==a.verdict.replace({'helps': 'hurts', 'hurts': 'helps'}).tolist() and {'helps', 'hurts'} <= set(a.verdict)
    pd.testing.assert_frame_equal(a.drop(columns=['verdict', 'words']), b.drop(columns=['verdict', 'words']))

@pytest.mark.parametrize('noise', ['normal', 'binomial', 'heavy'])
@pytest.mark.parametrize('kind', ['paired t', 'Welch t'])
def test_intervals_cover(noise, kind):
    "95 % intervals hold the truth in 94 to 96 % over 5,000 grids of three sizes (standard error .2 %); 10 runs an arm for Welch's, which is approximate."
    pair = kind=='paired t'
    t = as_table(*grids(5000, 1., noise, seed=1, seeds=SEEDS if pair else 10, share=pair), kind)
    assert .94<=((t.low<=1) & (1<=t.high)).mean()<=.96

@pytest.mark.parametrize('noise', ['normal', 'binomial', 'heavy'])
@pytest.mark.parametrize('sizes', [1, 3, 6])
def test_false_alarms_of_the_verdict(noise, sizes):
    "Where nothing helps, any size says helps or hurts in at most 5 % of 5,000 grids, plus 2.6 standard errors (.8 %); without Holm it would be more."
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

def test_false_alarms_of_welch():
    t = verdict(as_table(*grids(3000, seed=4, seeds=10, share=False), 'Welch t')).table
    assert t.verdict.isin(['helps', 'hurts']).groupby(t.control).any().mean()<=.05+se95(3000)

def test_equivalence_is_not_claimed_at_the_margin():
    "With the true difference at the margin, any size is called equivalent in at most 5 % of 5,000 grids; with none and enough runs, nearly all are."
    a, b = grids(5000, 1., seed=5, seeds=20)
    t = verdict(as_table(a, b), margin=1.).table
    assert (t.verdict=='equivalent').groupby(t.control).any().mean()<=.05+se95(5000)
    t = verdict(as_table(*grids(200, 0., seed=6, seeds=40)), margin=2.).table
    assert (t.verdict=='equivalent').mean()>.9

@pytest.mark.parametrize('sizes', [1, 3])
def test_what_would_have_been_seen_is_seen(sizes):
    "A true difference as large as promised is found at its size in 80 % or more, whatever the other sizes show (standard error .6 %)."
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
    return df.assign(subset=df.labels.astype(str)+'/'+df.seed.astype(str), value=80+df.seed+gain*(df.arm=='pretrained')+rng.normal(0, .3, len(df)))

def test_five_pairs_are_warned_of():
    v = verdict(differences(trials()), extra=['from outside'])
    assert set(v.table.verdict)=={'helps'} and v.warnings[0]=='from outside' and len(v.warnings)==2
    floor = '5 pairs: a permutation test cannot give p below 0.0625 (0.188 after Holm over 3 sizes), so it cannot reach 0.05; 7 pairs could: '
    assert v.warnings[1].startswith(floor+'labels=100 against r1')
    assert verdict(differences(trials(7))).warnings==[]

def test_judged_by_permutation():
    v = verdict(differences(trials(5)), p='p_perm')
    assert set(v.table.words)=={'no difference shown (so few runs cannot show one)'}
    assert set(verdict(differences(trials(7)), p='p_perm').table.verdict)=={'helps'}

@pytest.mark.parametrize('n,crit', [(2, '38.2'), (3, '7.65'), (4, '4.86')])
def test_steep_t_is_warned_of(n, crit):
    line = f'{n} pairs: t finds nothing below {crit} standard errors (after Holm over 3 sizes)'
    assert any(w.startswith(line) for w in verdict(differences(trials(n))).warnings)

def test_missing_trials_are_warned_of():
    df = trials(7)
    v = verdict(differences(df[~((df.arm=='r1') & (df.labels==300) & (df.seed<2))]))
    assert v.warnings[0]=='trials are missing: 2 at labels=300 against r1' and v.warnings[1].startswith('5 pairs: ')
    v = verdict(differences(df[(df.arm!='r1') | (df.labels!=300)]))
    assert v.warnings==['trials are missing: 7 at labels=300 against r1', 'no test was possible (no run of one arm): labels=300 against r1']

def test_one_seed_has_rows_and_a_warning():
    v = verdict(differences(trials(1)))
    assert set(v.table.words)=={'no verdict: one run tells nothing about chance'} and len(v.warnings)==1 and 'nan' in str(v)

def test_interval_without_0_that_does_not_survive_holm():
    t = as_table(*grids(400, seed=7))
    v = verdict(t)
    odd = v.table[(v.table.p<=.05) & (v.table.p_holm>.05)]
    assert len(odd) and set(odd.verdict)=={'no difference shown'} and any(f'; {"p = "}' in w and w.startswith('the interval leaves out 0') for w in v.warnings)

def test_another_level():
    d = differences(trials(), conf=.9)
    assert verdict(d, alpha=.1).conf==.9
    with pytest.raises(ValueError, match='alpha=0.05, but intervals of 90 %: make the table with conf=0.95'): verdict(d)

@pytest.mark.parametrize('kw,msg', [(dict(margin=0), 'margin=0'), (dict(margin=-1.), 'above 0'), (dict(margin=np.nan), 'margin=nan'),
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
    assert isinstance(v, Verdict) and list(v.table.columns[-6:])==['family', 'p_holm', 'detectable_holm', 'p_equiv', 'verdict', 'words']

def test_nothing_to_compare():
    assert verdict(pd.DataFrame(), extra=['one']).warnings==['one', 'nothing to compare: one arm, or no finished trial']

def test_imports_no_torch():
    import subprocess, sys
    subprocess.run([sys.executable, '-c', "import sys, aepretrain_nb.verdict; assert not {'torch', 'fastai', 'matplotlib'} & set(sys.modules)"], check=True)
