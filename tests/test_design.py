"""Stein's two stages and the seeds of a finished grid: by hand, and by simulation.

The simulation draws GRIDS experiments; AEPRETRAIN_GRIDS=10000 for the full figures, with -s to see them.
"""
import os

import numpy as np, pandas as pd, pytest
from scipy import stats as st
from aepretrain_nb.answers.design import SeedPlan, power, stein
from aepretrain_nb.answers.stats import detectable, paired, two_stage
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.verdict import verdict

GRIDS = int(os.environ.get('AEPRETRAIN_GRIDS', 300))

def rows(values):
    "Trials whose paired differences are `values`, by size: {labels: differences}."
    out = []
    for labels, d in values.items():
        base = pd.DataFrame(dict(labels=labels, seed=range(len(d)), subset=[f'{labels}/{i}' for i in range(len(d))]))
        out += [base.assign(arm='pretrained', value=50+base.seed+d), base.assign(arm='random', value=50.+base.seed)]
    return pd.concat(out, ignore_index=True)

@pytest.mark.parametrize('sd', [.3, 1, 3])
@pytest.mark.parametrize('most', [None, 12])
def test_two_stage_intervals_cover(sd, most):
    """95 % of intervals hold the truth, whatever the spread and whether the number of pairs was limited; the half-width
    is as promised."""
    rng, hit, n = np.random.default_rng(int(10*sd)), [], []
    for _ in range(GRIDS):
        d = rng.normal(.7, sd, 5)
        plan = stein(d, 1., most=most)
        d = np.r_[d, rng.normal(.7, sd, plan.total-5)]
        x = two_stage(d, 0*d, 5)
        assert (x.high-x.low)/2==pytest.approx(plan.half) and (plan.capped or plan.half<=1+1e-9)
        hit.append(x.low<=.7<=x.high)
        n.append(plan.total)
    print(f'two stages, sd {sd}, limit {most}: {100*np.mean(hit):.1f} %, {np.median(n):g} pairs')
    assert np.mean(hit)>=.95-2.6*(.05*.95/GRIDS)**.5

def test_a_plan_by_hand():
    d = np.array([1., 2, 3, 4, 5])
    need = int(np.ceil((st.t.ppf(.975, 4)*d.std(ddof=1)/.8)**2))
    plan = stein(d, .8)
    assert (plan.total, plan.capped, plan.pilot)==(need, False, 5) and plan.half<=.8
    assert stein(d, .8, conf=.9).total<need
    capped = stein(d, .8, most=10)
    assert (capped.total, capped.capped)==(10, True) and capped.half>.8
    assert 'larger than the 0.8 asked for' in str(capped)
    assert stein(d, 100.).total==5 and 'the pilot is enough' in str(stein(d, 100.)) and isinstance(plan, SeedPlan)

def test_a_table_is_planned_by_its_most_demanding_row():
    rng = np.random.default_rng(0)
    d = {10: rng.normal(0, 3, 5), 100: rng.normal(0, 1, 5)}
    assert stein(differences(rows(d)), .9).total==stein(d[10], .9).total>stein(d[100], .9).total

@pytest.mark.parametrize('pilot,kw,msg',
    [([1.], dict(margin=1), 'a pilot of 1 pairs'), ([], dict(margin=1), 'a pilot of 0 pairs'),
    ([1., 1, 1], dict(margin=1), 'without a spread'),
    ([1., 2], dict(margin=0), 'margin=0')])
def test_plans_that_cannot_be_made(pilot, kw, msg):
    with pytest.raises(ValueError, match=msg) as e: stein(pilot, **kw)
    assert '\n' not in str(e.value)

def test_plans_need_independent_pairs():
    df = rows({10: np.random.default_rng(0).normal(size=6)}).assign(encoder_seed=[0, 0, 1, 1, 2, 2]*2)
    with pytest.raises(ValueError, match="the test is 't by encoder', but a plan needs pairs"):
        stein(differences(df), 1.)
    planned = verdict(differences(df, pilot=3)).table
    assert np.isnan(planned.p.item()) and planned.verdict.item()=='no verdict'

def test_differences_in_two_stages():
    d = np.random.default_rng(1).normal(1, 2, 12)
    df = rows({10: d})
    t, x = differences(df.sample(frac=1, random_state=0), pilot=5).iloc[0], two_stage(d, 0*d, 5)
    assert t.test=='two-stage t'
    assert (t['diff'], t.se, t.df, t.low, t.p)==pytest.approx((x.diff, d[:5].std(ddof=1)/12**.5, 4, x.low, x.p))
    lost = differences(df[~((df.seed==2) & (df.arm=='random'))], pilot=5).iloc[0]
    assert lost.df==3 and lost.missing==1
    assert differences(rows({10: d[:5]}), pilot=5).se[0]==pytest.approx(paired(d[:5], 0*d[:5]).se)
    v = verdict(differences(df, pilot=5))
    assert v.table.verdict.item() in ('helps', 'no difference shown') and np.isnan(t.p_perm)
    assert not any('permutation' in w for w in v.warnings)

def test_seeds_for_a_width_are_just_enough():
    d = {10: np.random.default_rng(2).normal(0, 2, 6)}
    n, sd = power(differences(rows(d)), 1.).for_width.item(), d[10].std(ddof=1)
    half = lambda k: st.t.ppf(.975, k-1)*sd/k**.5
    assert half(n)<=1<half(n-1)

def test_seeds_for_power_are_just_enough():
    "After Holm over two sizes, and for the bottom line's control likewise."
    rng = np.random.default_rng(3)
    d = {10: rng.normal(0, 2, 6), 100: rng.normal(0, 1, 6)}
    t = differences(rows(d))
    for n, v in zip(power(t, 1.).for_power, d.values()):
        sd = v.std(ddof=1)
        assert detectable(int(n), sd, alpha=.025)<=1<detectable(int(n)-1, sd, alpha=.025)
    assert power(verdict(t).best, 1.).for_power.tolist()==power(t, 1.).for_power.tolist()

def test_seeds_of_welch_and_of_arms_that_did_not_train():
    df = rows({10: np.random.default_rng(4).normal(0, 2, 8)})
    w = power(differences(df, pair=()), 1.)
    assert w.seeds.item()==8 and w.for_width.item()>8
    dead = power(differences(df).assign(chance_b=8), 1.)
    assert dead[['for_width', 'for_power']].isna().all(axis=None)
    assert power(differences(df), 1e-4, most=50).for_width.isna().all()

def test_wrong_tables():
    t = differences(rows({10: np.arange(4.)**2}))
    with pytest.raises(ValueError, match="no column 'se'"): power(t.drop(columns='se'), 1.)
    with pytest.raises(ValueError, match='margin=-1'): power(t, -1)
