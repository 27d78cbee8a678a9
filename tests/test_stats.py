"""Golden p-values of Kohlbrenner et al., agreement with scipy and numpy, and what intervals and power promise, by
simulation."""
import os, warnings
from itertools import combinations, product
from decimal import Decimal, ROUND_HALF_UP

import numpy as np, pandas as pd, pytest
from scipy import stats as st
from aepretrain_nb.answers.stats import (Diff, detectable, hedges_g, interval, paired, permutation, smallest_p, student,
    two_stage, welch)
from aepretrain_nb.answers.scores import at_chance
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.rows import reported

# From 40-digit arithmetic on the per-run accuracies, and, in the second tuple, as printed in the papers' facts (section
# 000):
# mean and sd of the pre-trained runs, of the random runs, difference in points, Welch p, Student p.
golden = {
    ('MNIST', 1000):     ((2.122612352e-4, 4.34442867e-5),
    ('.9235', '.0007', '.9198', '.0021', '+0.37', '2.1e-4', '4.3e-5')),
    ('MNIST', 10000):    ((2.376432148e-4, 3.58435628e-5),
    ('.9780', '.0006', '.9741', '.0022', '+0.39', '2.4e-4', '3.6e-5')),
    ('MNIST', 55000):    ((1.200129171e-2, 7.283423525e-3),
    ('.9877', '.0010', '.9845', '.0032', '+0.32', '1.2e-2', '7.3e-3')),
    ('CIFAR-10', 1000):  ((.3521669677, .3452994552),
    ('.3667', '.0024', '.3687', '.0062', '-0.20', '.352', '.345')),
    ('CIFAR-10', 10000): ((9.257761079e-10, 7.849437096e-13),
    ('.5586', '.0027', '.5161', '.0071', '+4.25', '9.3e-10', '7.9e-13')),
    ('CIFAR-10', 45000): ((8.585574666e-7, 2.147382293e-8),
    ('.6542', '.0089', '.6257', '.0034', '+2.85', '8.6e-7', '2.2e-8')),
    ('CK+', 696):        ((8.993456934e-8, 1.073951325e-8),
    ('.7394', '.0072', '.6939', '.0126', '+4.55', '9.0e-8', '1.1e-8'))}
# These two were rounded to three digits first and then to two: 7.849 -> 7.85 -> 7.9 and 2.147 -> 2.15 -> 2.2.
rounded_twice = {'7.9e-13', '2.2e-8'}

def arms(dataset, n):
    d = reported('kohlbrenner').query(f'dataset=="{dataset}" and n_labels=={n}')
    return [d[d.arm==a].sort_values('run').test_accuracy.to_numpy() for a in ('pretrained', 'random')]

def digits(x, n):
    "`x` to `n` significant digits, halves away from zero, as a Decimal."
    x = Decimal(repr(float(x)))
    return x.quantize(Decimal(1).scaleb(x.adjusted()-n+1), ROUND_HALF_UP)

def test_reported_is_complete():
    d = reported('kohlbrenner')
    assert len(d)==140 and d.test_accuracy.between(0, 1).all()
    assert set(map(tuple, d[['dataset', 'n_labels']].drop_duplicates().to_numpy()))==set(golden)
    b = reported('barletta')
    assert len(b)==5*50*7 and not b.isna().any(axis=None)

@pytest.mark.parametrize('cell', golden, ids=str)
def test_golden_p_values(cell):
    a, b = arms(*cell)
    w, s = welch(a, b), student(a, b)
    exact, printed = golden[cell]
    np.testing.assert_allclose((w.p, s.p), exact, rtol=1e-8)
    for p, txt in zip((w.p, s.p), printed[-2:]):
        n = len(Decimal(txt).as_tuple().digits)
        if txt in rounded_twice: assert digits(digits(p, 3), n)==Decimal(txt)!=digits(p, n)
        else: assert digits(p, n)==Decimal(txt)

@pytest.mark.parametrize('cell', golden, ids=str)
def test_golden_means_and_sds(cell):
    d, printed = welch(*arms(*cell)), golden[cell][1]
    assert tuple(f'{x:.4f}'.lstrip('0') for x in (d.mean_a, d.sd_a, d.mean_b, d.sd_b))==printed[:4]
    assert f'{100*d.diff:+.2f}'==printed[4]

def test_only_welch_contradicts_the_papers_bound():
    bounds = [5e-4, 5e-4, 1e-2, None, 1e-9, 1e-6, 1e-7]
    broken = [c for c, b in zip(golden, bounds) if b and welch(*arms(*c)).p>=b]
    assert broken==[('MNIST', 55000)] and all(student(*arms(*c)).p<b for c, b in zip(golden, bounds) if b)

@pytest.mark.parametrize('seed', range(5))
def test_against_scipy(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(1, 2, rng.integers(2, 12)), rng.normal(0, .5, rng.integers(2, 12))
    n = min(len(a), len(b))
    for d, r in ((welch(a, b, .9), st.ttest_ind(a, b, equal_var=False)), (student(a, b, .9), st.ttest_ind(a, b)),
        (paired(a[:n], b[:n], .9), st.ttest_rel(a[:n], b[:n]))):
        np.testing.assert_allclose((d.t, d.df, d.p, d.low, d.high),
            (r.statistic, r.df, r.pvalue, *r.confidence_interval(.9)))
        np.testing.assert_allclose(d.diff/d.se, d.t)
    assert np.isclose(d.low, interval(a[:n]-b[:n], .9)[1])

@pytest.mark.parametrize('test', [welch, student, paired])
def test_swapping_arms_changes_the_sign_only(test):
    x, y = test([1., 2, 4], [0., 3, 1]), test([0., 3, 1], [1., 2, 4])
    np.testing.assert_allclose((x.diff, x.low, x.high, x.t, x.g, x.p, x.se),
        (-y.diff, -y.high, -y.low, -y.t, -y.g, y.p, y.se))

@pytest.mark.parametrize('a,b', [([.9], [.8]), ([.9], [.8, .7]), ([], [.8, .7]), ([], []), ([.9]*3, [.8]*3),
    ([0.]*3, [0.]*3)])
def test_silent_where_the_runs_cannot_tell(a, b):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for d in [welch(a, b), student(a, b)]+[paired(x, y) for x, y in [(a, b)] if len(x)==len(y)]:
            assert np.isnan([d.low, d.high, d.t, d.df, d.p, d.se, d.g, d.detectable()]).all()
        interval(a)

def test_one_constant_arm_still_has_a_welch_test():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert welch([1., 1, 1], [0., .5, .2]).p<.05

def test_refuses_what_is_no_number():
    for f in (welch, student, paired, hedges_g):
        with pytest.raises(ValueError, match='b: 1 of 2 values'): f([1, 2], [1, np.inf])

def test_hedges_g_is_unbiased():
    "The correction of small samples: the mean of g is the true effect, that of the uncorrected d is 5 % above it."
    rng = np.random.default_rng(0)
    a, b = rng.normal(.8, 1, (4000, 5)), rng.normal(0, 1, (4000, 5))
    assert abs(np.mean([hedges_g(x, y) for x, y in zip(a, b)])-.8)<.04

@pytest.mark.parametrize('n', [3, 5, 10])
def test_coverage(n):
    """Over 2,000 grids the 95 % intervals hold the true difference in 95 % (standard error .5 %); Welch's in a little
    more at n=3."""
    rng = np.random.default_rng(n)
    luck, sd = rng.normal(0, 3, (2000, n)), rng.uniform(.3, 2)
    a, b = luck+rng.normal(1, 1, (2000, n)), luck+rng.normal(0, sd, (2000, n))
    hit = [d.low<=1<=d.high for d in (paired(x, y) for x, y in zip(a, b))]
    assert abs(np.mean(hit)-.95)<.015
    hit = [d.low<=1<=d.high for d in (welch(x, y) for x, y in zip(a, rng.permutation(b)))]
    assert .935<np.mean(hit)<.975

@pytest.mark.parametrize('n,pair', [(2, True), (5, True), (5, False), (20, False)])
def test_detectable_is_found_with_its_power(n, pair):
    rng = np.random.default_rng(n)
    a, b = rng.normal(detectable(n, 1, paired=pair), 1, (20_000, n)), rng.normal(0, 1, (20_000, n))
    p = st.ttest_1samp(a, 0, axis=1).pvalue if pair else st.ttest_ind(a, b, axis=1).pvalue
    assert abs((p<.05).mean()-.8)<.012

def test_detectable_everywhere():
    "Finite, falling with n, rising with power, proportional to sd, for any level; nothing from one run."
    for alpha in (.05, .001, 1e-4):
        d = np.array([[detectable(n, 2., power, alpha) for power in (.5, .8, .95)]
            for n in (2, 3, 4, 7, 30, 300, 3000)])
        assert np.isfinite(d).all() and (np.diff(d, axis=0)<0).all() and (np.diff(d, axis=1)>0).all()
    assert np.isclose(detectable(6, 2.), 2*detectable(6, 1.)) and np.isnan(detectable(1, 1.))

@pytest.mark.parametrize('n', [2, 3, 5, 8])
def test_sign_flips_by_hand(n):
    d = np.random.default_rng(n).normal(.5, 1, n)
    means = np.array([np.mean(d*s) for s in product((-1, 1), repeat=n)])
    p = 2*min(np.mean(means>=d.mean()-1e-12), np.mean(means<=d.mean()+1e-12))
    assert permutation(d, 0*d)==pytest.approx(min(p, 1)) and permutation(0*d, d)==pytest.approx(min(p, 1))

@pytest.mark.parametrize('na,nb', [(2, 2), (3, 4), (6, 3)])
def test_shuffles_by_hand(na, nb):
    x = np.random.default_rng(na).normal(size=na+nb)
    diffs = np.array([x[list(i)].mean()-np.delete(x, i).mean() for i in combinations(range(na+nb), na)])
    d = x[:na].mean()-x[na:].mean()
    p = 2*min(np.mean(diffs>=d-1e-12), np.mean(diffs<=d+1e-12))
    assert permutation(x[:na], x[na:], paired=False)==pytest.approx(min(p, 1))

def test_permutation_floor_is_reached_and_never_passed():
    for n in range(2, 17): assert permutation(np.arange(n)+1., np.zeros(n))==pytest.approx(smallest_p(n))
    for n in range(2, 10):
        assert permutation(np.arange(n)+10., np.arange(n), paired=False)==pytest.approx(smallest_p(n, n))
    assert smallest_p(1)==1 and smallest_p(0, 3)==1 and smallest_p(40)==2e-4

def test_permutation_repeats_and_is_silent_where_it_must():
    a, b = np.random.default_rng(0).normal(size=(2, 20))
    assert permutation(a, b)==permutation(a, b) and abs(permutation(a, b)-permutation(a, b, seed=1))<.03
    assert abs(permutation(a, b)-paired(a, b).p)<.03 and abs(permutation(a, b, paired=False)-welch(a, b).p)<.03
    assert np.isnan([permutation([1], [2]), permutation([1], [2, 3], paired=False), permutation([], [])]).all()
    assert permutation([.9]*5, [.9]*5)==1
    with pytest.raises(ValueError, match='2 and 3 values are no pairs'): permutation([1, 2], [1, 2, 3])

@pytest.mark.parametrize('n', [6, 7])
def test_sign_flips_keep_their_level_where_t_need_not(n):
    "Symmetric noise with heavy tails: at most .05 false alarms plus 2.6 standard errors over 2,000 experiments."
    d = np.random.default_rng(n).standard_cauchy((2000, n))
    assert np.mean([permutation(x, 0*x)<=.05 for x in d])<=.05+2.6*(.05*.95/2000)**.5

def test_differences_carries_the_permutation_of_the_right_kind():
    df = table()
    v = df[df.labels==10].pivot(index='seed', columns='arm', values='value')
    p = [permutation(v.pretrained, v.r1), permutation(v.pretrained, v.r1, paired=False)]
    assert [differences(df).p_perm[0], differences(df, pair=()).p_perm[0]]==pytest.approx(p) and p[0]!=p[1]

def table(n=4, arms=('pretrained', 'r1', 'r2'), sizes=(10, 20), seed=0):
    df = pd.DataFrame([(l, a, s) for l in sizes for a in arms for s in range(n)], columns=['labels', 'arm', 'seed'])
    return df.assign(subset=df.labels.astype(str)+'/'+df.seed.astype(str),
        value=np.random.default_rng(seed).normal(size=len(df)))

def test_differences_does_not_depend_on_row_order():
    df = table()
    a, b = differences(df), differences(df.sample(frac=1, random_state=1))
    key = ['labels', 'control']
    pd.testing.assert_frame_equal(a.sort_values(key, ignore_index=True), b.sort_values(key, ignore_index=True))
    assert len(a)==4 and set(a.test)=={'paired t'} and (a.missing==0).all()

def test_cells_may_be_made_by_a_column_named_kind():
    df = table()
    t = differences(df.assign(kind=df.labels), by=['labels', 'kind'])
    assert (t.kind==t.labels).all()
    pd.testing.assert_frame_equal(t.drop(columns='kind'), differences(df))

def test_pairs_are_matched_by_seed():
    df = table().query('arm!="r2" and labels==10')
    v = df.pivot(index='seed', columns='arm', values='value')
    assert differences(df.iloc[::-1]).p[0]==pytest.approx(st.ttest_rel(v.pretrained, v.r1).pvalue)

def test_one_unequal_digest_ends_the_pairing():
    df = table()
    df.loc[(df.arm=='r1') & (df.labels==20) & (df.seed==2), 'subset'] = 'other'
    assert differences(df).set_index(['labels', 'control']).test.to_dict()=={(10, 'r1'): 'paired t',
        (10, 'r2'): 'paired t', (20, 'r1'): 'Welch t', (20, 'r2'): 'paired t'}

@pytest.mark.parametrize('bad', [np.nan, np.inf, None, 'absent'])
def test_missing_trials_are_counted(bad):
    df = table()
    lost = (df.arm=='r1') & (df.labels==10) & (df.seed==1)
    df = df[~lost] if bad=='absent' else df.assign(value=df.value.astype(object).mask(lost, bad))
    d = differences(df).set_index(['labels', 'control'])
    assert d.missing.tolist()==[1, 0, 0, 0] and d.n_a.tolist()==[3, 4, 4, 4]

def test_an_arm_without_any_trial_keeps_its_row():
    df = table()
    d = differences(df[(df.arm!='r1') | (df.labels!=10)])
    row = d[(d.labels==10) & (d.control=='r1')].iloc[0]
    assert row.n_b==0 and row.missing==4 and np.isnan([row['diff'], row.p]).all()

def test_one_seed_gives_rows_without_interval():
    d = differences(table(n=1))
    assert d[['low', 'high', 'p', 'detectable']].isna().all(axis=None) and d['diff'].notna().all()

def test_wrong_tables_say_what_is_wrong():
    df = table()
    for kw, msg in ((dict(metric='acc'), "no column 'acc'"), (dict(pair='run'), "no column 'run'"),
        (dict(treatment='cae'), "no arm 'cae': choose .*pretrained, r1, r2")):
        with pytest.raises(ValueError, match=msg): differences(df, **kw)
    with pytest.raises(ValueError, match="two rows for labels=10, arm=pretrained, seed=0"):
        differences(pd.concat([df, df.head(1)]))

def test_str_leads_with_the_difference():
    assert str(welch(
        *arms('MNIST', 1000)))=='+0.00371 [0.00219, 0.00523], p = 0.00021, g = 2.3 (Welch t, n = 10 and 10)'
    assert isinstance(welch([1.], [2.]), Diff)

# bounds: AEPRETRAIN_GRIDS=10000 with -s for the full figures ----------------------------------------------------------

GRIDS = int(os.environ.get('AEPRETRAIN_GRIDS', 300))

def beta(rng, mean, sd, shape):
    "Skewed accuracies in per cent; `mean` and `sd` in [0,1]."
    k = mean*(1-mean)/sd**2-1
    return 100*rng.beta(mean*k, (1-mean)*k, shape)

def pairs(rng, a, b, n, rho):
    """Arms whose runs are beta distributed with mean and sd as in `a` and `b`, tied by a normal copula of correlation
    `rho`."""
    z = rng.normal(size=(GRIDS, n))
    u = rho*z+(1-rho**2)**.5*rng.normal(size=(GRIDS, n))
    return [100*st.beta.ppf(st.norm.cdf(v), m*(m*(1-m)/sd**2-1), (1-m)*(m*(1-m)/sd**2-1))
        for v, (m, sd) in ((z, a), (u, b))]

def held(intervals, truth): return np.mean([low<=truth<=high for low, high in intervals])

@pytest.mark.parametrize('n', [5, 10])
@pytest.mark.parametrize('mean,sd', [(.99, .01), (.99, .005), (.95, .02), (.5, .03), (.01, .01)])
def test_bounded_intervals_cover(mean, sd, n):
    x = beta(np.random.default_rng(n), mean, sd, (GRIDS, n))
    found = [interval(o, bounds=(0, 100))[1:] for o in x]
    plain = held([interval(o)[1:] for o in x], 100*mean)
    new = held(found, 100*mean)
    print(f'interval, mean {mean}, sd {sd}, n {n}: {100*new:.1f} %, t {100*plain:.1f} %')
    assert new>=.94-2.6*(.05*.95/GRIDS)**.5 and new>=plain and np.min(found)>=0 and np.max(found)<=100

CEILING = [((.99, .01), (.99, .01)), ((.99, .01), (.99, .005)), ((.99, .005), (.98, .018)), ((.995, .007), (.97, .027)),
    ((.99, .01), (.9, .04)), ((.55, .02), (.52, .02))]

@pytest.mark.parametrize('n', [5, 10])
@pytest.mark.parametrize('rho', [0, .7])
@pytest.mark.parametrize('arms', CEILING, ids=str)
def test_bounded_differences_cover(arms, rho, n):
    "Paired differences of skewed scores near the ceiling: 95 % or little less; the t interval holds 90 % in places."
    a, b = pairs(np.random.default_rng(n), *arms, n, rho)
    truth = 100*(arms[0][0]-arms[1][0])
    found = [paired(x, y, bounds=(0, 100)) for x, y in zip(a, b)]
    plain, new = held([(d.low, d.high) for d in (paired(x, y) for x, y in zip(a, b))],
        truth), held([(d.low, d.high) for d in found], truth)
    print(f'paired, {arms}, correlation {rho}, n {n}: {100*new:.1f} %, t {100*plain:.1f} %')
    assert new>=.94-2.6*(.05*.95/GRIDS)**.5 and all(-100<=d.low and d.high<=100 for d in found)

@pytest.mark.parametrize('n', [5, 10])
@pytest.mark.parametrize('arms', CEILING, ids=str)
def test_bounded_welch_covers(arms, n):
    a, b = pairs(np.random.default_rng(n), *arms, n, 0)
    new = held([(d.low, d.high) for d in (welch(x, y, bounds=(0, 100)) for x, y in zip(a, b))],
        100*(arms[0][0]-arms[1][0]))
    print(f'Welch, {arms}, n {n}: {100*new:.1f} %')
    assert new>=.935-2.6*(.05*.95/GRIDS)**.5

@pytest.mark.parametrize('test', [welch, student, paired])
def test_bounds_change_the_limits_only(test):
    rng = np.random.default_rng(0)
    for _ in range(30):
        a, b = beta(rng, .98, .02, 5), beta(rng, .5, .2, 5)
        free, kept, turned = test(a, b), test(a, b, bounds=(0, 100)), test(b, a, bounds=(0, 100))
        assert (free.diff, free.se, free.p, free.df)==(kept.diff, kept.se, kept.p, kept.df)
        assert max(free.low, -100)>=kept.low-1e-9 and kept.high<=min(100, kept.mean_a-kept.mean_b+100)
        assert (turned.low, turned.high)==pytest.approx((-kept.high, -kept.low))
        assert (kept.low<=0<=kept.high) or kept.p<.05

def test_bounds_far_away_do_not_matter():
    a, b = np.random.default_rng(0).normal(50, .5, (2, 6))
    for f in (welch, student, paired):
        assert (f(a, b).low, f(a, b).high)==pytest.approx((f(a, b, bounds=(0, 100)).low, f(a, b, bounds=(0, 100)).high),
            abs=.02)
    assert interval(a)==pytest.approx(interval(a, bounds=(0, 100)), abs=.02)

def test_no_116_points():
    "A control of which one run of five has learnt, against an arm that always does."
    d = paired([96., 97, 96, 96, 97], [10., 10, 10, 10, 87], bounds=(0, 100))
    assert d.high<100<paired([96., 97, 96, 96, 97], [10., 10, 10, 10, 87]).high
    assert interval([10., 10, 10, 10, 87], bounds=(0, 100))[1]>=0
    for same in ([100.]*3, [99.]):
        assert np.isnan(interval(same, bounds=(0, 100))[1:]).all(), 'runs that agree say nothing of their spread'
    with pytest.raises(ValueError, match='bounds=\\(0, 1\\), but 6 of 6 values lie outside'):
        paired([96., 97, 96], [10., 10, 87], bounds=(0, 1))

def test_tables_in_per_cent_have_bounds_of_themselves():
    df = table().assign(unit='%')
    df['value'] = 96+df.value
    free = differences(df.drop(columns='unit'))
    assert (differences(df).high<=100).all() and not np.allclose(differences(df).high, free.high)
    pd.testing.assert_frame_equal(differences(df, bounds=None), free)
    lost = df.iloc[:1].assign(value=np.nan, unit=None, seed=9, subset=None)
    assert differences(pd.concat(
        [df, lost])).high.tolist()==differences(df).high.tolist(), 'a trial that is missing has no unit'
    pd.testing.assert_frame_equal(differences(df.assign(value=df.value+10)),
        differences(df.assign(value=df.value+10), bounds=None))
    with pytest.raises(ValueError, match="bounds='percent'"): differences(df, bounds='percent')

# chance ---------------------------------------------------------------------------------------------------------------

def test_at_chance():
    assert at_chance([73, 95, 11.4, 40], [60, 95, 10, np.nan],
        [500, 500, 1000, 500]).tolist()==[False, True, True, False]
    assert at_chance(10., 10., 500) and not at_chance(15., 10., 500) and at_chance(15., 10., 20)

def blind(images, named, rng, n=4000):
    "Accuracies of nets that call so many images of two classes, whatever they show, of the smaller one"
    hits = rng.hypergeometric((images==1).sum(), (images==0).sum(), named, n)
    return 100*((images==0).sum()-named+2*hits)/len(images)

@pytest.mark.parametrize('n', [50, 200, 1000])
@pytest.mark.parametrize('chance', [50, 70, 90, 96])
def test_who_does_not_look_is_at_chance(chance, n):
    "In 97.5 % of test sets, or with two equal classes and few images in 95 %, however often the smaller class is named"
    images,rng = (np.arange(n)>=n*chance/100).astype(int),np.random.default_rng(n)
    for named in {1, 2, 3, n//20, n//10, n//3, n//2}:
        assert at_chance(blind(images, named, rng), chance, n).mean()>(.945 if chance==50 else .975)

@pytest.mark.parametrize('chance,n', [(10, 500), (50, 200), (90, 200), (95, 1000)])
def test_who_is_right_in_more_images_is_not(chance, n):
    rng,better = np.random.default_rng(n),min(.99, chance/100+.1*(chance<90)+.04*(chance>=90))
    assert at_chance(100*rng.binomial(n, better, 4000)/n, chance, n).mean()<.25
    assert not at_chance(100., chance, n)

def test_differences_count_the_runs_at_chance():
    df = table().assign(value=lambda d: 50+d.value, chance=10., n_test=500, metric='accuracy', unit='%')
    df.loc[(df.arm=='r1') & (df.labels==10) & (df.seed<3), 'value'] = 10
    d = differences(df).set_index(['labels', 'control'])
    assert d.chance_b.tolist()==[3, 0, 0, 0] and d.chance_a.sum()==0 and d.known_chance.all()
    err = differences(df.assign(value=100-df.value, metric='error')).set_index(['labels', 'control'])
    assert err.chance_b.tolist()==[3, 0, 0, 0]
    assert differences(df.assign(loss=df.value/50), metric='loss').chance_b.tolist()==[3, 0, 0, 0]
    assert not differences(df.assign(metric='loss')).known_chance.any()
    assert not differences(df.drop(columns='n_test')).known_chance.any()
    flagged = df.drop(columns='chance').assign(at_chance=df.value<20)
    assert differences(flagged).chance_b.tolist()==[3, 0, 0, 0]

def test_differences_carry_validation_and_start():
    df = table().assign(valid=lambda d: d.seed.astype(float),
        encoder=lambda d: np.where(d.arm=='pretrained', 'pretrained', 'random'))
    d = differences(df)
    assert set(d.valid_a)==set(d.valid_b)=={1.5} and set(d.start)=={'random'}
    bare = differences(table())
    assert bare.valid_b.isna().all() and set(bare.start)=={''} and set(bare.scope)=={''}

def test_two_stages_by_hand():
    d = np.random.default_rng(0).normal(1, 2, 9)
    x = two_stage(d, 0*d, 4)
    t = d.mean()/(d[:4].std(ddof=1)/3)
    assert (x.t, x.df, x.p)==pytest.approx((t, 3, 2*st.t.sf(abs(t), 3)))
    assert two_stage(d, 0*d, 9).p==pytest.approx(paired(d, 0*d).p)
    with pytest.raises(ValueError, match='pilot=10 of 9 complete pairs'): two_stage(d, 0*d, 10)

def test_imports_no_torch():
    import subprocess, sys
    subprocess.run([sys.executable, '-c',
        "import sys, aepretrain_nb.answers.stats, aepretrain_nb.answers.rows as s; assert not {'torch', 'fastai'} & "
        "set(sys.modules); s.reported('barletta')"], check=True)
