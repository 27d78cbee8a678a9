"""Standard errors of pairs that share encoders and subsets: against statsmodels' REML, and by simulation.

The simulations draw GRIDS grids a setting; AEPRETRAIN_GRIDS=10000 for the full figures, with -s to see them.
"""
import os, warnings

import numpy as np, pandas as pd, pytest, statsmodels.api as sm
from scipy import stats as st
from aepretrain_nb.answers.crossed import SampleMean, crossed, plain_mean, two_way
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.stats import paired, permutation, welch

GRIDS = int(os.environ.get('AEPRETRAIN_GRIDS', 1000))
RATIOS = [(vs, ve) for vs in (0, .2, 1, 10) for ve in (0, .2, 1, 10) if vs<=ve]

def grids(n, S, E, vs, ve, seed=0):
    "Grids (n,S,E) without a difference; variance of subsets, of encoders, and 1 of what is left over."
    rng = np.random.default_rng([seed, S, E, int(10*vs), int(10*ve)])
    s, e, r = (rng.normal(size=(n, *shape)) for shape in ((S, 1), (1, E), (S, E)))
    return vs**.5*s + ve**.5*e + r

def names(S, E): return np.indices((S, E)).reshape(2, -1)
def error(n): return 2.6*(.05*.95/n)**.5
def miss(m, truth=0): return abs(m.mean-truth)>st.t.isf(.025, m.df)*m.se

@pytest.mark.parametrize('S,E', [(3, 3), (4, 3), (5, 5)])
@pytest.mark.parametrize('vs,ve', [(1, 1), (10, 1), (1, 10)])
def test_against_statsmodels(S, E, vs, ve):
    "Where all variances are above 0, mean and standard error are those of a mixed model with crossed components."
    done = 0
    for x in grids(40, S, E, vs, ve, seed=7):
        s, e = names(S, E)
        rows, cols = x.mean(1, keepdims=True), x.mean(0, keepdims=True)
        ms = E*rows.var(ddof=1), S*cols.var(ddof=1), ((x-rows-cols+x.mean())**2).sum()/((S-1)*(E-1))
        if min(ms[:2])<2*ms[2]: continue
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            d = pd.DataFrame(dict(x=x.ravel(), s=s, e=e, g=1))
            fit = sm.MixedLM.from_formula('x ~ 1', d, groups='g', re_formula='0',
                vc_formula=dict(s='0+C(s)', e='0+C(e)')).fit(reml=True)
        m = two_way(x)
        assert (m.mean, m.se)==pytest.approx((fit.fe_params.iloc[0], fit.bse_fe.iloc[0]), rel=2e-3)
        done += 1
        if done==2: break
    assert done

def restricted(x, a, b):
    """REML's criterion (up to a constant) of a grid with variances a (subsets) and b (encoders) relative to the rest,
    the scale profiled out."""
    S, E = x.shape
    s, e = names(S, E)
    v = np.eye(S*E) + a*(s[:, None]==s) + b*(e[:, None]==e)
    w = np.linalg.inv(v)
    m = (w@x.ravel()).sum()/w.sum()
    q = (x.ravel()-m)@w@(x.ravel()-m)/(S*E-1)
    return np.linalg.slogdet(v)[1]+np.log(w.sum())+(S*E-1)*np.log(q), q/w.sum()

@pytest.mark.parametrize('seed', range(6))
def test_variances_at_zero_are_those_of_reml(seed):
    """No other pair of variances, zero included, has a higher restricted likelihood than the one that the standard
    error stands for."""
    x = grids(6, 4, 4, 0, .2, seed=3)[seed]
    found = min((restricted(x, a, b) for a in np.r_[0, np.geomspace(1e-3, 30, 60)]
        for b in np.r_[0, np.geomspace(1e-3, 30, 60)]), key=lambda o: o[0])
    assert two_way(x).se**2==pytest.approx(found[1], rel=.06)

@pytest.mark.parametrize('k', [3, 5])
@pytest.mark.parametrize('vs,ve', RATIOS)
def test_false_alarms_and_coverage_of_full_grids(k, vs, ve):
    """At most 5 % of grids without a difference are called different, plus 2.6 standard errors; the interval holds the
    truth in as many as it does of any other."""
    bad = np.mean([miss(two_way(x)) for x in grids(GRIDS, k, k, vs, ve)])
    print(f'{k} x {k}, variances {vs} and {ve}: {100-100*bad:.1f} %')
    assert bad<=.05+error(GRIDS)

def test_what_dominates_is_covered_and_not_more():
    "Where encoders or subsets vary more than the rest, coverage at 5 x 5 lies between 94 and 97.5 %."
    for vs, ve in ((0, 10), (1, 10), (10, 10)):
        held = 1-np.mean([miss(two_way(x)) for x in grids(2*GRIDS, 5, 5, vs, ve, seed=1)])
        assert .94-error(2*GRIDS)<=held<=.975

@pytest.mark.parametrize('S,E', [(2, 5), (5, 2), (2, 2)])
def test_two_of_a_kind_tell_little(S, E):
    x = grids(GRIDS, S, E, 1, 1)
    assert {two_way(o).df for o in x[:50]}=={1.} and np.mean([miss(two_way(o)) for o in x])<=.05+error(GRIDS)

def test_the_plain_test_cries_wolf():
    x = grids(2000, 5, 5, 1, 1).reshape(2000, -1)
    assert .2<(st.ttest_1samp(x, 0, axis=1).pvalue<=.05).mean()<.4

@pytest.mark.parametrize('vs,ve', [(0, 0), (1, 1), (0, 10), (10, 10)])
def test_grids_with_gaps(vs, ve):
    "A fifth of the cells is missing at random: still no more than 5 % false alarms."
    n, rng, (s, e) = max(GRIDS//4, 200), np.random.default_rng(5), names(5, 5)
    bad = []
    for x in grids(n, 5, 5, vs, ve, seed=2):
        keep = rng.permutation(25)[:20]
        m = crossed(x.ravel()[keep], s[keep], e[keep])
        assert m.how=='two-way with gaps'
        bad.append(miss(m))
    print(f'gaps, variances {vs} and {ve}: {100-100*np.mean(bad):.1f} %')
    assert np.mean(bad)<=.05+error(n)

@pytest.mark.parametrize('ve', [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(10, marks=pytest.mark.slow)])
def test_encoders_that_serve_several_pairs(ve):
    "Six encoders, each with three subsets of its own."
    rng = np.random.default_rng(ve)
    e = np.repeat(range(6), 3)
    x = ve**.5*rng.normal(size=(GRIDS, 6))[:, e] + rng.normal(size=(GRIDS, 18))
    found = [crossed(o, range(18), e) for o in x]
    assert {m.how for m in found}=={'by encoder'} and .02<np.mean([miss(m) for m in found])<=.05+error(GRIDS)

def test_the_dispatch_by_hand():
    x = np.array([3., 1, 4, 1, 5, 9])
    assert crossed(x).se==plain_mean(x).se==pytest.approx(st.sem(x)) and crossed(x).scope==''
    assert crossed(x, list('aaaaaa'), range(6)).scope=='one subset'
    assert crossed(x, list('aaaaaa'), [0]*6).scope=='one encoder, one subset'
    by = crossed(x, range(6), [0, 0, 1, 1, 2, 2])
    assert (by.mean, by.se, by.df, by.how)==(pytest.approx(np.mean([2, 2.5, 7])), pytest.approx(st.sem([2, 2.5, 7])), 2,
        'by encoder')
    assert crossed(x, [0, 0, 1, 1, 2, 2], range(6)).how=='by subset'
    assert len(crossed(x, [0, 0, 1, 1, 2, 2], range(6)).values)==3
    heads = crossed(x, [0, 0, 1, 1, 2, 2], [5, 5, 6, 6, 7, 7])
    assert heads.se==by.se and heads.df==2

@pytest.mark.parametrize('S,E', [(2, 3), (3, 2), (4, 4)])
def test_a_grid_is_one_in_any_order(S, E):
    x, (s, e) = grids(1, S, E, 1, 1)[0], names(S, E)
    o = np.random.default_rng(0).permutation(S*E)
    a, b = two_way(x), crossed(x.ravel()[o], s[o], e[o])
    assert (a.mean, a.se, a.df, a.how)==(pytest.approx(b.mean), pytest.approx(b.se), pytest.approx(b.df), b.how)
    assert b.values is None
    t = two_way(x.T)
    assert (t.mean, t.se, t.df)==pytest.approx((a.mean, a.se, a.df))

def test_names_that_are_missing_are_all_different():
    x = np.array([3., 1, 4, 1])
    assert crossed(x, [None]*4, [np.nan]*4).how==''
    assert crossed(x, list('abcd'), [0, 0, np.nan, np.nan]).how=='by encoder'

def test_constant_grids_and_single_values_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert two_way(np.ones((3, 3))).se==0 and np.isnan(crossed([1.]).se) and np.isnan(crossed([]).mean)
        d = paired(np.ones(9), np.zeros(9), subset=names(3, 3)[0], encoder=names(3, 3)[1])
    assert np.isnan([d.low, d.p]).all() and d.kind=='two-way t'
    with pytest.raises(ValueError, match='shape \\(1, 3\\)'): two_way(np.ones((1, 3)))
    assert isinstance(plain_mean([]), SampleMean)

def rows(x):
    "A table of trials whose paired differences are the grid `x` (S,E)."
    s, e = names(*x.shape)
    base = pd.DataFrame(dict(labels=100, subset_seed=s, encoder_seed=e, head_seed=s, subset=[f'd{i}' for i in s]))
    return pd.concat([base.assign(arm='pretrained', value=80+s+x.ravel()), base.assign(arm='random', value=80.+s)],
        ignore_index=True)

SEEDS = 'subset_seed', 'encoder_seed', 'head_seed'

def test_differences_sees_the_crossing():
    x = grids(1, 4, 3, 1, 1)[0]
    d = differences(rows(x), pair=SEEDS).iloc[0]
    m = two_way(x)
    assert d.test=='two-way t' and (d['diff'], d.se, d.df)==pytest.approx((m.mean, m.se, m.df)) and np.isnan(d.p_perm)
    assert d.n_a==12

def test_one_encoder_of_the_control_is_told():
    "And moves no number, as all pairs share it"
    x = grids(1, 4, 3, 1, 1)[0]
    df = rows(x)
    other = df.assign(encoder_seed=df.encoder_seed.where(df.arm=='pretrained', 0))
    a, b = (differences(o.assign(run=np.tile(range(12), 2)), pair='run') for o in (df, other))
    pd.testing.assert_frame_equal(a.drop(columns='scope'), b.drop(columns='scope'))
    assert (a.scope.item(), b.scope.item())==('', 'one encoder')

def test_differences_of_shared_encoders():
    x = np.random.default_rng(0).normal(size=6)
    base = pd.DataFrame(dict(labels=100, seed=range(6), subset=list('abcdef')))
    def table(e):
        return differences(pd.concat([base.assign(arm='pretrained', value=x, encoder_seed=e),
            base.assign(arm='random', value=0., encoder_seed=e)])).iloc[0]
    two, one, each = table([0, 0, 1, 1, 2, 2]), table(0), table(range(6))
    assert (two.test, two.units, two.p_perm)==('t by encoder', 3,
        pytest.approx(permutation(x.reshape(3, 2).mean(1), np.zeros(3))))
    assert (one.test, one.scope, each.scope)==('paired t', 'one encoder', '')
    assert one.se==each.se==pytest.approx(st.sem(x))

def test_full_sized_subsets_leave_the_encoders():
    "Where every run has all the labels, there is one digest, and each encoder counts once."
    df = rows(grids(1, 4, 3, 1, 1)[0]).assign(subset='all')
    d = differences(df, pair=SEEDS).iloc[0]
    assert (d.test, d.scope, d.df)==('t by encoder', 'one subset', 2)

def test_welch_of_shared_encoders():
    x = np.random.default_rng(0).normal(size=(3, 2))
    base = pd.DataFrame(dict(labels=100, seed=range(6)))
    df = pd.concat([base.assign(arm='pretrained', value=x.ravel(), subset=list('abcdef'),
        encoder_seed=[0, 0, 1, 1, 2, 2]),
        base.assign(arm='random', value=np.arange(6.), subset=list('ghijkl'), encoder_seed=range(6))])
    d, w = differences(df).iloc[0], welch(x.mean(1), np.arange(6.))
    assert d.test=='Welch t by encoder' and (d['diff'], d.se, d.df, d.p)==pytest.approx((w.diff, w.se, w.df, w.p))
