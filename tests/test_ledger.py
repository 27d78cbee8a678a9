"The ledger: estimates against slow or other computations, missing rows, the words, the recorded ledger recomputed."
import importlib.util, itertools, re, shlex, subprocess, sys
from dataclasses import replace
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from aepretrain_nb.answers import ledger as L
from aepretrain_nb.answers.extremes import Agreement, _largest, that_trained
from aepretrain_nb.answers.estimates import Block, sum_interval
from aepretrain_nb.answers.asks import Found, _f_ratio
from aepretrain_nb.answers.claims import All, Claim, Expect, judge, p_value
from aepretrain_nb.answers.book import COLUMNS, NUMBERS, Ledger
from aepretrain_nb.answers.ledger import claims_of, counts, ledger, settle
from aepretrain_nb.answers.rows import AnswerError, recorded
from aepretrain_nb.answers.runs import Below, LedgerError
from aepretrain_nb.answers.sides import Kept
from aepretrain_nb.answers.asks import Contrast, Difference, Mean, Ratio, Trend
from aepretrain_nb.answers.estimates import Estimate
from aepretrain_nb.answers.extremes import Greatest, Least, at_each
from aepretrain_nb.answers.rows import SEEDS
from aepretrain_nb.answers.differences import differences

ROOT = Path(__file__).resolve().parents[1]
WORDS = 'holds', 'does not hold', 'not shown', 'not run here'

def rows(seed=0, n=5, cells=(100, 1000), gains=(1., 2.), arms=('pretrained', 'random'), noise=1., **more):
    "Runs of two arms in cells that share seeds and labelled images"
    rng, out = np.random.default_rng(seed), []
    for (c, g), s in itertools.product(zip(cells, gains), range(n)):
        base = 80 + rng.normal(0, 2)
        for k, a in enumerate(arms): out.append(dict(data='toy', arm=a, labels=c, reading='fair', setting='quick',
            **{o: s for o in SEEDS}, subset=f'{c}-{s}',
            value=base + (k==0)*g + rng.normal(0, noise), unit='%', **more))
    return pd.DataFrame(out)

def limits(e): return e.value, e.low, e.high

# Estimates

@pytest.mark.parametrize('seed,n', [*itertools.product(range(4), (2, 3, 5, 10))])
@pytest.mark.parametrize('paired', [True, False])
def test_a_difference_is_that_of_stats(seed, n, paired):
    d = rows(seed, n)
    if not paired: d['subset'] = d.subset + d.arm
    t = differences(d, pair=SEEDS, bounds=None).set_index('labels')
    for c in (100, 1000):
        e, w = Difference('pretrained', 'random', dict(labels=c))(d), t.loc[c]
        assert e.how==w.test==('paired t' if paired else 'Welch t')
        np.testing.assert_allclose(limits(e), [w['diff'], w.low, w.high])
        assert (e.n, e.unit)==(n, 'points')

def test_a_difference_uses_the_complete_pairs():
    d = rows(n=5)
    d = d[~((d.arm=='random') & (d.head_seed>2))]
    e = Difference('pretrained', 'random', dict(labels=100))(d)
    t = differences(d, pair=SEEDS, bounds=None).set_index('labels').loc[100]
    assert e.n==3
    np.testing.assert_allclose(limits(e), [t['diff'], t.low, t.high])

def test_one_encoder_for_all_runs_is_paired_and_noted():
    d = rows().assign(reading='as_written')
    d.loc[d.arm=='pretrained', 'encoder_seed'] = 0
    e = Difference('pretrained', 'random', dict(labels=100))(d)
    assert (e.how, e.note, e.n)==('paired t', '1 encoder for 5 runs', 5)
    assert limits(e)==limits(Difference('pretrained', 'random', dict(labels=100))(rows()))

def test_crossed_encoders_name_runs_too():
    d = pd.concat([rows(i).assign(encoder_seed=i) for i in range(2)])
    e = Difference('pretrained', 'random', dict(labels=100))(d)
    assert (e.how, e.note, e.n)==('paired t two-way', '2 encoders for 10 runs', 10)

def test_encoders_alone_are_named_by_their_seed():
    d = rows().query('labels==100').assign(kind='encoder', subset_seed=np.nan, head_seed=np.nan, subset=np.nan, unit='')
    e = Difference('pretrained', 'random')(d)
    assert (e.how, e.n, e.note, e.unit)==('paired t', 5, '', '')

def test_a_contrast_of_unpaired_gains_by_hand():
    d = rows(n=4)
    d = d[~((d.labels==1000) & (d.head_seed==3))].assign(subset=lambda d: d.subset+d.arm)
    e = Contrast(*at_each(Difference('pretrained', 'random'), labels=[1000, 100]))(d)
    g = [d[(d.labels==c) & (d.arm==a)].value for c, a in itertools.product((1000, 100), ('pretrained', 'random'))]
    v = np.array([x.var()/len(x) for x in g])
    half = stats.t.ppf(.975, v.sum()**2/sum(v**2/[len(x)-1 for x in g]))*v.sum()**.5
    value = g[0].mean()-g[1].mean()-g[2].mean()+g[3].mean()
    np.testing.assert_allclose(limits(e), [value, value-half, value+half])
    assert (e.how, e.n, e.kind)==('independent t', 3, 'contrast')

def test_a_contrast_by_seed_is_a_t_test_of_the_double_differences():
    d = rows(n=6)
    w = d.pivot(index='head_seed', columns=['labels', 'arm'], values='value')
    v = w[1000].pretrained-w[1000].random-w[100].pretrained+w[100].random
    r = stats.ttest_1samp(v, 0)
    e = Contrast(*at_each(Difference('pretrained', 'random'), labels=[1000, 100]))(d)
    np.testing.assert_allclose(limits(e), [v.mean(), *r.confidence_interval()])

@pytest.mark.parametrize('seeds', ['shared', 'own'])
def test_a_trend_is_the_least_squares_slope(seeds):
    cells = (100, 300, 1000, 8000)
    d = rows(n=4, cells=cells, gains=(0, 1, 2, 3))
    if seeds=='own':
        for o in SEEDS: d[o] = d[o] + 10*d.labels + (d.arm=='random')*5
    e = Trend('pretrained', 'random', 'labels')(d)
    gain = [d[(d.labels==c) & (d.arm=='pretrained')].value.mean()-d[(d.labels==c) & (d.arm=='random')].value.mean()
        for c in cells]
    np.testing.assert_allclose(e.value, np.polyfit(np.log10(cells), gain, 1)[0])
    assert (e.how, e.n)==(('slopes of pairs', 4) if seeds=='shared' else ('independent t', 4))

def test_a_trend_in_plain_units_and_of_one_arm():
    d = rows(n=3, cells=(1, 2, 4), gains=(0, 1, 3), noise=1e-6)
    assert Trend('pretrained', 'random', log=False)(d).value==pytest.approx(1, abs=1e-4)
    runs = d[d.arm=='pretrained'].groupby('head_seed')[['labels', 'value']]
    own = runs.apply(lambda g: np.polyfit(np.log10(g.labels), g.value, 1)[0])
    e = Trend('pretrained')(d)
    np.testing.assert_allclose(limits(e), [own.mean(), *stats.ttest_1samp(own, 0).confidence_interval()])

def test_a_trend_needs_a_control_that_was_run():
    d = rows(cells=(10, 100, 1000), gains=(0, 1, 2)).rename(columns=dict(labels='n_unlabelled'))
    once = d[(d.arm=='pretrained') | (d.n_unlabelled==10)].copy()
    once.loc[once.arm=='random', 'n_unlabelled'] = np.nan
    ask = Trend('pretrained', 'random', 'n_unlabelled')
    np.testing.assert_allclose(limits(ask(once)), limits(replace(ask, b=None)(once)))
    assert ask(once[once.arm=='pretrained']) is None
    assert ask(d[(d.arm=='pretrained') | (d.n_unlabelled==10)]) is None

@pytest.mark.parametrize('coefs,sizes,sds',
    [((1, -1, -1, 1), (5, 5, 5, 5), (1, 1, 1, 1)), ((1, -1, -1, 1), (10, 10, 5, 5), (2, .5, 1, 1)),
    ((-.7, -.1, .8), (4, 4, 4), (1, 2, .5))])
def test_intervals_hold_the_truth_as_often_as_they_say(coefs, sizes, sds):
    rng, truth = np.random.default_rng(0), sum(c*i for i, c in enumerate(coefs))
    def drawn(): return [Block(c, rng.normal(i, s, n)) for i, (c, n, s) in enumerate(zip(coefs, sizes, sds))]
    found = [sum_interval(drawn(), .95) for _ in range(2000)]
    hits = [low<truth<high for _, low, high, *_ in found]
    assert .95-.015 < np.mean(hits) < .95+.03, 'Satterthwaite errs on the safe side where blocks are few and unequal'

def test_spreads_are_pooled_over_cells():
    d = rows(n=6, gains=(0., 50.))
    e = Ratio('pretrained', 'random', of='sd', over='labels')(d)
    s = {a: (g.groupby('labels').value.var().mean())**.5 for a, g in d.groupby('arm')}
    np.testing.assert_allclose(e.value, s['pretrained']/s['random'])
    few, many = (stats.f.ppf(.975, df, df)**.5 for df in (5, 10))
    assert many<e.high/e.value<few and e.how=='F', 'between those of six runs and of twelve independent values'
    one = Ratio('pretrained', 'random', dict(labels=100), of='sd')(d)
    np.testing.assert_allclose((one.high/one.value, one.value/one.low), few)

def test_any_column_can_be_the_value():
    d = rows().assign(cosine=lambda d: d.value/100)
    ask = Difference('pretrained', 'random', dict(labels=100))
    e = replace(ask, value='cosine')(d)
    np.testing.assert_allclose(e.value, ask(d).value/100)
    assert e.unit=='' and replace(ask, value='cosine', unit='cosine')(d).unit=='cosine'

def test_sides_may_differ_in_any_column():
    d = pd.concat([rows(0).assign(loss='mse'), rows(1).assign(loss='bce')])
    side = lambda k: dict(arm='pretrained', loss=k)
    e = Difference(side('mse'), side('bce'), dict(labels=[100]))(d)
    np.testing.assert_allclose(e.value,
        rows(0).query('arm=="pretrained" and labels==100').value.mean()-rows(1).query(
        'arm=="pretrained" and labels==100').value.mean())

def test_a_bound_takes_the_cells_below_it():
    d = rows(cells=(100, 1000, 5000), gains=(1., 2., 3.))
    ask = lambda v: Difference('pretrained', 'random', dict(labels=v), over='labels')
    for k, cells in ((1000, [100]), (1001, [100, 1000]), (1e9, [100, 1000, 5000])):
        assert ask(Below(k))(d)==ask(cells)(d)
    assert ask(Below(100))(d) is None
    empty = d.assign(labels=d.labels.astype(object).where(d.labels!=5000, None))
    assert ask(Below(1e9))(empty)==ask([100, 1000])(d)
    assert Trend('pretrained', 'random', where=dict(labels=Below(5000)))(d)==Trend('pretrained', 'random',
        where=dict(labels=[100, 1000]))(d)

@pytest.mark.parametrize('where,match',
    [(dict(data=Below(5)), "data<5: not all values of 'data' and the bound are numbers"),
    (dict(labels=Below('many')), 'labels<many: not all values'),
    (dict(labels=Below(5000)), 'two rows for labels<5000, arm=pretrained at one seed: they differ in labels')])
def test_a_bound_that_cannot_be_asked_is_one_line(where, match):
    with pytest.raises(LedgerError, match=match) as e: Difference('pretrained', 'random', where)(rows())
    assert '\n' not in str(e.value)

def scored(seed=0, gains=(1., 2., 3.), arms=('gradual', 'hybrid_0.5', 'stacked'), decoders=('chain', 'direct'), **kw):
    """Errors of arms, each further one higher by its gain, under several decoders; under the later ones half a point
    more for each"""
    d = pd.concat([rows(seed, cells=(0,), gains=(0.,), arms=arms,
        **dict(noise=.01) | kw).drop(columns='labels').assign(decoder=c,
        value=lambda d, k=k: d.value+k*.5*(d.arm!=arms[0]))
        for k, c in enumerate(decoders)])
    return d.assign(value=d.value+d.arm.map(dict(zip(arms, (0, *np.cumsum(gains)[:len(arms)-1])))))

@pytest.mark.parametrize('make', [Difference, Ratio,
    lambda a, b, **kw: Contrast(Difference(a, b, **kw), Difference(a, 'hybrid_0.5'))])
def test_columns_that_are_told_are_noted_where_the_sides_differ(make):
    d = scored(decoders=('direct',))
    ask = make('gradual', 'stacked', told=('decoder', 'loss'))
    assert ask(d).note=='' and make('gradual', 'stacked')(d.assign(decoder=d.arm)).note==''
    d.loc[d.arm=='stacked', 'decoder'] = 'chain'
    assert ask(d).note=='decoder: direct against chain'
    d['loss'] = np.where(d.arm=='gradual', 'mse', None)
    assert ask(d).note=='decoder: direct against chain; loss: mse against none'
    note = ask(d.assign(encoder_seed=0)).note
    assert note.startswith('decoder: direct against chain; loss: mse against none; 1 encoder for 5 runs')
    assert limits(ask(d))==limits(make('gradual', 'stacked')(d))

def test_what_is_told_of_a_trend():
    d = rows().assign(decoder=lambda d: np.where(d.arm=='random', 'chain', 'direct'))
    assert Trend('pretrained', 'random', told='decoder')(d).note=='decoder: direct against chain'
    assert Trend('pretrained', told='decoder')(d).note==''

# What is missing

ASKS = dict(difference=Difference('pretrained', 'random', dict(labels=100)),
    over=Difference('pretrained', 'random', over='labels'), mean=Mean('pretrained', dict(labels=100)),
    contrast=Contrast(*at_each(Difference('pretrained', 'random'), labels=[100, 1000])),
    trend=Trend('pretrained', 'random'), ratio=Ratio('pretrained', 'random', dict(labels=100)),
    sd=Ratio('pretrained', 'random', of='sd', over='labels'),
    least=Least(at_each(Mean('pretrained'), labels=[100, 1000])),
    greatest=Greatest(at_each(Mean('pretrained'), labels=[100, 1000])),
    all=All((Trend('pretrained', 'random'), Difference('pretrained', 'random', dict(labels=100)))))
each = pytest.mark.parametrize('ask', ASKS.values(), ids=ASKS)

@each
def test_missing_rows_are_no_answer(ask):
    d = rows()
    for gone in (d[:0], pd.DataFrame(), d[d.arm=='other'], d.drop(columns='arm'), d.drop(columns='value'),
        d[d.arm=='random'], d.assign(value=np.nan)):
        assert ask(gone) is None

@pytest.mark.parametrize('ask', [a for k, a in ASKS.items() if k not in ('over', 'sd')])
def test_another_cell_is_no_answer(ask):
    d = rows()
    assert ask(d[d.labels==100].assign(labels=7)) is None

@each
def test_too_few_runs_are_not_shown(ask):
    e = ask(rows(n=1))
    assert np.isnan([e.low, e.high]).all() and e.n==1 and e.note
    assert judge(e, Expect('>', -1e9))=='not shown'

@each
def test_no_spread_is_not_shown(ask):
    e = ask(rows(noise=0.).assign(value=lambda d: 80.+(d.arm=='pretrained')))
    assert np.isnan([e.low, e.high]).all() and 'no spread' in e.note and judge(e, Expect('>', -1e9))=='not shown'

@each
def test_runs_that_diverged_are_left_out_and_noted(ask):
    d = rows(n=6)
    d.loc[(d.head_seed==2) & (d.arm=='pretrained'), 'value'] = np.inf
    e = ask(d)
    assert np.isfinite(e.low) and 'without a finite value left out' in e.note

@each
def test_two_rows_in_one_place_are_an_error_of_one_line(ask):
    with pytest.raises(LedgerError, match='two rows .* they differ in metric') as e:
        ask(pd.concat([rows().assign(metric='accuracy'), rows().assign(metric='loss')]))
    assert '\n' not in str(e.value)

# Words

num = st.floats(-3, 3).map(lambda v: round(v, 2))

@settings(max_examples=300, deadline=None)
@given(num, num, num, st.sampled_from([None, .25, .5, 1.]))
def test_the_rules(a, b, bound, margin):
    low, high = sorted((a, b))
    say = lambda rel, l=low, h=high, c=bound, m=margin: judge(Estimate((l+h)/2, l, h, 5), Expect(rel, c, m))
    assert say('>')==say('<', -high, -low, -bound)
    assert say('>') in WORDS[:3]
    if margin is None:
        if say('>')=='holds': assert say('no gain')=='does not hold'
        if say('>')=='does not hold': assert say('no gain')=='holds'
        return
    if say('=')=='holds': assert say('no gain')=='holds'
    if say('no gain')=='does not hold': assert say('=')=='does not hold' and say('>')=='holds'
    wide = say('=', l=low-.1, h=high+.1)
    assert not (say('=')=='not shown' and wide!='not shown'), 'a wider interval shows no more'

@pytest.mark.parametrize('bad,match', [(dict(relation='>='), 'one of >'), (dict(relation='='), 'needs a margin'),
    (dict(relation='>', margin=0), 'above 0'), (dict(relation='no gain', margin=-1), 'above 0')])
def test_relations_that_cannot_be_judged(bad, match):
    with pytest.raises(LedgerError, match=match): Expect(**bad)

# Claims

gain = ASKS['difference']
claim = Claim('toy', 'helps', 'It helps', 'Table 1', gain, Expect('>'),
    commands=dict(as_written='aepretrain compare digits', fair='aepretrain compare digits --seeds 5'))

def test_the_fair_reading_decides_where_it_was_run():
    fair, written = rows(noise=.1), rows(1, gains=(-3., -3.), noise=.1).assign(reading='as_written')
    t = settle([claim], pd.concat([fair, written])).iloc[0]
    assert (t.outcome, t.reading, t.as_written_outcome, t.fair_outcome)==('holds', 'fair', 'does not hold', 'holds')
    assert t.difference==t.fair and t.low==t.fair_low and t.command==claim.commands['fair']
    t = settle([claim], written).iloc[0]
    assert (t.outcome, t.reading, t.fair_outcome, t.command)==('does not hold', 'as_written', 'not run here',
        claim.commands['as_written'])

def test_too_few_fair_runs_still_decide():
    t = settle([claim], pd.concat([rows(n=1), rows(noise=.1).assign(reading='as_written')])).iloc[0]
    assert (t.reading, t.outcome, t.as_written_outcome)==('fair', 'not shown', 'holds')

def test_the_papers_figures_are_asked_alike():
    own = rows(noise=.1).assign(reading='reported').drop(columns=list(SEEDS))
    t = settle([claim, replace(claim, name='typed', reported='+1')], own)
    assert t.reported[0].startswith('+') and 'points, n 5' in t.reported[0] and t.reported_outcome[0]
    assert t.reported[1]=='+1' and set(t.outcome)=={'not run here'}

def test_smoke_is_never_asked_and_paper_comes_first():
    small, big = rows(noise=.1), rows(1, gains=(-3., -3.), noise=.1).assign(setting='paper')
    assert settle([claim], small.assign(setting='smoke')).outcome[0]=='not run here'
    assert settle([claim], pd.concat([small, big])).iloc[0][['setting', 'outcome']].tolist()==['paper', 'does not hold']
    assert settle([claim], pd.concat([small, big[big.head_seed==0]])).setting[0]=='quick'

def test_floor_comes_after_paper_and_before_quick():
    have = pd.concat([rows(noise=.1).assign(setting=s)
        for s in ('quick', 'other', 'floor', 'smoke', 'paper', 'digits')])
    first = lambda *gone: settle([claim], have[~have.setting.isin(gone)]).setting[0]
    assert [first(), first('paper'), first('paper', 'floor'),
        first('paper', 'floor', 'quick')]==['paper', 'floor', 'quick', 'digits']
    few = have[(have.setting!='floor') | (have.head_seed==0)]
    assert settle([claim], few[few.setting!='paper']).setting[0]=='quick', 'too few runs at floor'

def test_an_ask_may_be_any_function():
    t = settle([replace(claim, ask=lambda d: Estimate(d.value.max(), 1., 2., len(d), kind='peak'))], rows())
    assert t.n[0]==20 and t.kind[0]=='peak' and t.outcome[0]=='holds'

@pytest.mark.parametrize('bad', [dict(name='It helps'), dict(ask='value'), dict(expect='>'),
    dict(commands=dict(guess='x')), dict(ask=dict(fair=3))])
def test_claims_that_are_not_complete(bad):
    with pytest.raises(LedgerError) as e: replace(claim, **bad)
    assert '\n' not in str(e.value)

def test_a_broken_ask_names_its_claim():
    with pytest.raises(LedgerError, match='toy helps, fair: two rows'): settle([claim], pd.concat([rows(), rows(1)]))

# Several asks

decoders = 'chain', 'direct'

def test_the_deciding_one_of_several_asks_is_named():
    d = scored()
    asks = [Difference('gradual', b) for b in ('hybrid_0.5', 'stacked')]
    both = sum((at_each(a, decoder=decoders) for a in asks), ())
    greatest, least = Greatest(both)(d), Least(both)(d)
    assert (greatest.by, least.by)==('hybrid_0.5, decoder=chain', 'stacked, decoder=direct')
    assert greatest.value==both[0](d).value and least.value==both[3](d).value
    assert str(greatest).endswith('(decided by hybrid_0.5, decoder=chain)')
    assert Greatest(at_each(asks[0], decoder=decoders))(d).by=='decoder=chain', 'only what differs'
    one = d[d.decoder=='chain']
    assert Greatest(tuple(asks))(one).by=='hybrid_0.5' and Greatest(tuple(asks[:1]))(one).by==''

def test_nested_asks_name_both_choices():
    d = scored()
    best = lambda c: Least(tuple(Difference(a, 'gradual', dict(decoder=c)) for a in ('hybrid_0.5', 'stacked')))
    assert Greatest(tuple(map(best, decoders)))(d).by=='hybrid_0.5, decoder=direct'

@pytest.mark.parametrize('asks,by', [
    ([Difference('stacked', 'gradual'), Difference('gradual', 'stacked')], 'stacked against gradual'),
    ([Difference(dict(arm='stacked', loss='mse'), 'gradual'),
    Difference(dict(arm='gradual', loss='bce'), 'hybrid_0.5')], 'stacked, loss=mse against gradual'),
    ([Contrast(Difference('stacked', 'gradual'), Difference('stacked', b)) for b in ('stacked', 'hybrid_0.5')],
    'stacked'),
    ([Mean('stacked', dict(runs=Below(k))) for k in (9, 8)], 'runs<9'),
    ([Mean(a) for a in ('stacked', 'gradual')], 'stacked'),
    ([Mean('stacked', value=v) for v in ('value', 'half')], 'value=value'),
    ([lambda d, conf: Estimate(2., 1., 3.), lambda d, conf: Estimate(1., 0., 2.)], ''),
    ([lambda d, conf: Estimate(2., 1., 3., by='its own'), lambda d, conf: Estimate(1., 0., 2.)], 'its own')])
def test_an_ask_is_told_from_its_siblings_by_what_differs(asks, by):
    d = scored(decoders=('chain',))
    d = d.assign(loss=d.arm.map(dict(stacked='mse', gradual='bce')), runs=np.where(d.head_seed==0, 8, 2),
        half=d.value/2, unit='')
    assert Greatest(tuple(asks))(d).by==by

def test_the_deciding_ask_stands_in_every_form():
    ask = Greatest(sum((at_each(Difference('gradual', b), decoder=decoders) for b in ('hybrid_0.5', 'stacked')), ()))
    t = settle([replace(claim, ask=ask, expect=Expect('<'))], scored())
    assert t.note[0]==t.fair_note[0]=='decided by hybrid_0.5, decoder=chain' and t.outcome[0]=='holds'
    for form in (t.blocks(200), t.page(), t.to_csv()): assert t.note[0] in form
    t = settle([replace(claim, ask=ask, reported=None)], scored().assign(reading='reported'))
    assert t.reported[0].count('decided by hybrid_0.5, decoder=chain')==1

def test_numbers_of_unlike_units_have_no_least():
    with pytest.raises(LedgerError, match='toy helps, fair: no greatest of numbers in points and % *$'):
        settle([replace(claim, ask=Greatest((gain, Mean('random', dict(labels=100)))))], rows())

def over_mixes(rows, conf=.95):
    "Gradual against stacked and every mix that is there, under the decoder that speaks most for the other"
    against = lambda arm: at_each(Difference('gradual', arm), decoder=decoders)
    found = {a: against(a) for a in sorted(rows.arm.unique()) if a.startswith('hybrid_')}
    mixes = [o for asks in found.values() if all(ask(rows) for ask in asks) for o in asks]
    return Greatest((*mixes, *against('stacked')))(rows, conf) if mixes else None

def test_cells_that_are_named_one_by_one_must_all_be_there():
    "A mean over six arms is no mean over the three that were run"
    rows = pd.DataFrame([dict(arm=a, head_seed=s, encoder_seed=s, subset_seed=s, value=float(s)) for a in 'abc'
        for s in range(3)])
    def mean(arms): return Mean(dict(arm=arms), {}, over=('arm',), unit='points')(rows)
    assert mean(['a', 'b', 'c']).value==1. and mean(['a', 'b', 'c', 'd']) is None

def test_an_ask_over_the_arms_that_are_there():
    d = scored(gains=(1., 1., 1., 1.), arms=('gradual', 'hybrid_0.25', 'hybrid_0.5', 'hybrid_0.75', 'stacked'))
    some = lambda *arms: over_mixes(d[d.arm.isin(['gradual', *arms])])
    e = over_mixes(d)
    assert e.by=='hybrid_0.25, decoder=chain' and e.how.startswith('greatest of 8')
    assert some('hybrid_0.5', 'stacked').by=='hybrid_0.5, decoder=chain'
    assert some('stacked') is some('hybrid_0.5') is None
    e = over_mixes(d[(d.arm!='hybrid_0.25') | (d.decoder=='direct')])
    assert e.by=='hybrid_0.5, decoder=chain'
    assert e.how.startswith('greatest of 6'), 'a mix that is not scored by each decoder is left out'
    assert settle([replace(claim, ask=over_mixes, expect=Expect('<'))],
        d).note[0]=='decided by hybrid_0.25, decoder=chain'
    assert Least(())(d) is Greatest(())(d) is All(())(d) is None

ends = st.tuples(*[st.floats(-3, 3).map(lambda v: round(v, 2))]*3).map(sorted)

@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ends, st.floats(0, 2)), min_size=1, max_size=4))
def test_all_holds_where_each_part_does(parts):
    say = lambda l, v, h, more: lambda d, conf: Estimate(v, l, h+more*(conf>.96), 5)
    est = All(tuple(say(*e, more) for e, more in parts))(None)
    refused = any(h+more*(len(parts)>1)<0 for (*_, h), more in parts)
    assert judge(est, Expect('>'))==('does not hold' if refused else 'holds' if all(l>0 for (l, *_), _ in parts)
        else 'not shown')
    assert (est.low, est.value) in [(l, v) for (l, v, _), _ in parts]

@pytest.mark.parametrize('gains,word,by,unit',
    [((3., 0.), 'holds', '', ''), ((0., 3.), 'does not hold', 'trend', 'points per ×10 labels'),
    ((-3., -6.), 'does not hold', 'difference', 'points'),
    ((-3., 0.), 'does not hold', '', ''), ((3., 3.), 'not shown', 'trend', 'points per ×10 labels'),
    ((0., -3.), 'not shown', 'difference', 'points')])
def test_a_gain_that_fades(gains, word, by, unit):
    parts = Trend('random', 'pretrained'), Difference('pretrained', 'random', dict(labels=100))
    d = rows(1, n=8, gains=gains, noise=.3)
    e, own = All(parts)(d), [p(d) for p in parts]
    assert judge(e, Expect('>'))==word and e.how.startswith('weakest of 2')
    assert (e.value, e.low, e.unit) in [(o.value, o.low, o.unit) for o in own]
    if by: assert (e.by, e.unit)==(by, unit)

def test_a_part_without_an_interval_leaves_all_open():
    sure, bare, bad = (lambda d, conf, e=e: e
        for e in (Estimate(2., 1., 3.), Estimate(5., n=1, note='one run'), Estimate(-2., -3., -1.)))
    assert [judge(All(p)(None), Expect('>'))
        for p in ((sure, bare), (bare, bad), (sure, sure))]==['not shown', 'does not hold', 'holds']
    assert All((sure, lambda d, conf: None))(None) is None and All((sure, bare))(None).note=='one run'

@pytest.mark.parametrize('expect', [Expect('<'), Expect('>', 1), Expect('>', margin=.5), Expect('no gain')])
@pytest.mark.parametrize('ask', [ASKS['all'], dict(as_written=gain, fair=ASKS['all'])], ids=['one', 'each'])
def test_all_is_asked_whether_it_is_above_0(ask, expect):
    replace(claim, ask=ask)
    with pytest.raises(LedgerError, match='toy helps: All asks whether each part is above 0'):
        replace(claim, ask=ask, expect=expect)

def test_readings_may_be_decided_in_unlike_units():
    ask = All((Trend('random', 'pretrained'), Difference('pretrained', 'random', dict(labels=100))))
    t = settle([replace(claim, ask=ask)],
        pd.concat([rows(gains=(0., 3.), noise=.1), rows(gains=(-3., -6.), noise=.1).assign(reading='as_written')]))
    assert (t.fair_unit[0], t.as_written_unit[0])==('points per ×10 labels', 'points')
    said = {l.split('  ')[1]: l for l in t.blocks(200).splitlines() if l.startswith('  ')}
    assert said['as written'].endswith('points, n 5, quick, decided by difference: does not hold')
    assert 'points per ×10 labels, n 5' in said['fair']
    assert said['expected'].endswith('more than 0')

# What rows tell against themselves

def doubtful(**more):
    "Rows with all that doubts are read from, and nothing to doubt"
    kw = dict(kind='fit', metric='accuracy', chance=10., n_test=10_000, lr=.3, lrs='0.1 0.3 1') | more
    d = rows(noise=.1, gains=(3., 3.), **kw).assign(encoder=lambda d: np.where(d.arm=='random', 'random', 'pretrained'))
    return pd.concat([d, encoders()], ignore_index=True)

def encoders(arm='pretrained', n=5, mse=.01, mean_image=.06, last_fifth=-.01, **more):
    "A row for each autoencoder"
    kw = dict(data='toy', arm=arm, reading='fair', setting='quick', kind='encoder', mean_image=mean_image,
        last_fifth=last_fifth) | more
    return pd.DataFrame([dict(encoder_seed=s, mse=mse+s*1e-4, value=mse, **kw) for s in range(n)])

def changed(d, of, **columns):
    "`d` with other columns in the rows that `of` says"
    d = d.copy()
    for c, v in columns.items(): d.loc[d.eval(of), c] = v
    return d

fine = doubtful()
few, most = 'encoder_seed<2', 'encoder_seed<3'
out = lambda d, c=claim: settle([c], d).iloc[0]

GATES = dict(control=('not settled', 'did not train: random (3 of 5 runs at chance)',
    changed(changed(fine, 'arm=="random"', value=12.), f'arm=="random" and {most}', value=10.)),
    treatment=('not settled', 'did not train: pretrained (5 of 5 runs at chance)',
    changed(fine, 'arm=="pretrained" and kind=="fit"', value=10.)),
    said=('not settled', 'did not train: random (5 of 5 runs at chance)', fine.assign(at_chance=fine.arm.eq('random'))),
    error=('not settled', 'did not train: random (5 of 5 runs at chance)',
    changed(fine, 'arm=="random"', value=90., metric='error')),
    low=('not settled', 'rate at an end of its list: random (3 of 5 runs)',
    changed(fine, f'arm=="random" and {most}', lr=.1)),
    high=('not settled', 'rate at an end of its list: pretrained (5 of 5 runs)',
    changed(fine, 'arm=="pretrained"', lr=1.)),
    sought=('not settled', 'rate of the autoencoder at an end of its list: pretrained (5 of 5 runs)',
    changed(fine, 'kind=="encoder"', lr=2., lrs='0.5 1 2')),
    untrained=('too short', 'the autoencoder is no better than the mean image: pretrained (3 of 5)',
    changed(fine, f'kind=="encoder" and {most}', mse=.06)),
    falling=('too short', 'the autoencoder was still improving: pretrained (-21 % over its last fifth)',
    changed(fine, 'kind=="encoder"', last_fifth=-.21)),
    curve=('too short', 'the autoencoder was still improving: pretrained (-25 % over its last fifth)',
        changed(fine, 'kind=="encoder"', last_fifth=np.nan).assign(curve=fine.kind.map(dict(encoder='9 8 7 4 3')))))

@pytest.mark.parametrize('word,why,d', GATES.values(), ids=GATES)
def test_a_word_is_withheld_and_says_why(word, why, d):
    r = out(d)
    assert (r.outcome, r.why, r.fair_outcome, r.fair_why)==(word, why, word, why)
    assert np.isnan([r.p, r.p_holm, r.p_bh]).all() and not r.survives
    assert why in ' '.join(settle([claim], d).blocks(500).split()) and why in settle([claim], d).page()
    assert limits(gain(d))==(r.difference, r.low, r.high), 'the number itself is told all the same'

def test_rows_that_nothing_speaks_against_keep_their_word():
    r = out(fine)
    assert (r.outcome, r.why, r.note)==('holds', '', '') and r.p<.05

FEW = dict(chance=changed(fine, f'arm=="random" and {few}', value=10.),
    rate=changed(fine, f'arm=="random" and {few}', lr=.1),
    one_rate=fine.assign(lr=.1, lrs='0.1'),
    other_arm=pd.concat([fine, changed(fine, 'kind=="fit"', arm='other', lr=.1, value=10.)]),
    other_size=changed(fine, 'labels==1000', lr=.1, value=10.),
    other_encoder=pd.concat([fine, encoders('other', last_fifth=-.5)]),
    other_seed=pd.concat([fine, encoders(last_fifth=-.5, mse=.06).assign(encoder_seed=9.)]),
    rising=changed(fine, 'kind=="encoder"', last_fifth=.3),
    five=changed(fine, 'kind=="encoder"', last_fifth=-.05),
    some=changed(fine, f'kind=="encoder" and {few}', last_fifth=-.5, mse=.07))

@pytest.mark.parametrize('d', FEW.values(), ids=FEW)
def test_less_than_half_and_what_is_not_compared_withholds_nothing(d):
    r = out(d, replace(claim, expect=Expect('>', -50)))
    assert (r.outcome, r.why)==('holds', '')

def test_what_withholds_nothing_is_noted():
    assert out(FEW['chance'], replace(claim, expect=Expect('>', -50))).note=='runs at chance: random (2 of 5)'
    assert out(FEW['rate']).note=='rate at an end of its list: random (2 of 5 runs)'
    assert out(fine[fine.kind=='fit']).note=='pre-training not recorded: pretrained'
    bare = fine.drop(columns=['mean_image', 'last_fifth'])
    missing = 'error of the mean image and fall over the last fifth of the autoencoder'
    assert out(bare).note==f'{missing} not recorded: pretrained'

def test_the_gravest_doubt_gives_the_word():
    both = changed(GATES['low'][2], 'kind=="encoder"', last_fifth=-.5)
    assert out(both).outcome=='too short' and out(both).why.startswith('the autoencoder') and 'rate' in out(both).why
    assert out(changed(both, 'arm=="random"', value=10.)).outcome=='not settled'

def test_a_claim_may_be_exempt_with_a_reason():
    c = replace(claim, exempt=dict(falling='both have one budget by design'))
    r = out(GATES['falling'][2], c)
    assert (r.outcome, r.why)==('holds', '') and 'still improving: pretrained' in r.note
    assert 'both have one budget by design' in r.note
    assert out(GATES['low'][2], c).outcome=='not settled'
    with pytest.raises(LedgerError, match="'slow' is no kind of doubt: chance, untrained, falling, rate"):
        replace(claim, exempt=dict(slow='x'))

def test_what_is_not_shown_stays_so_and_counts_among_the_answered():
    r = out(rows(noise=9., seed=3, gains=(0., 0.), lr=.1, lrs='0.1 0.3'))
    assert r.outcome=='not shown' and r.why.startswith('rate') and r.p>.05 and not r.survives

def test_an_encoder_of_other_images_is_found_by_its_arm():
    d = pd.concat([fine[fine.kind=='fit'], encoders(data='other', last_fifth=-.5)])
    assert out(d).outcome=='too short'
    assert out(pd.concat([d, encoders()])).outcome=='holds', 'those of the same images come first'

@pytest.mark.parametrize('kind', ['encoder', 'reconstruction', 'conv reconstruction'])
def test_rows_that_are_autoencoders_stand_for_themselves(kind):
    d = pd.concat([encoders(a, mse=m, kind=kind, last_fifth=f) for a, m, f in (('a', .01, -.01), ('b', .02, -.3))],
        ignore_index=True)
    c = replace(claim, ask=Ratio('b', 'a', value='mse'), expect=Expect('>', 1))
    assert (out(d, c).outcome, out(d, c).why)==('too short',
        'the autoencoder was still improving: b (-30 % over its last fifth)')
    assert out(d.assign(mean_image=.02), c).why.count('no better than the mean image')==1

@pytest.mark.parametrize('ask', ASKS.values(), ids=ASKS)
def test_doubts_travel_through_every_ask(ask):
    d = changed(fine, 'arm=="pretrained" and kind=="fit"', value=10., lr=.1).assign(loss='mse')
    assert {'chance', 'rate'}<={o.kind for o in ask(d).doubts}
    assert {'chance', 'rate'}<={o.kind for o in (lambda rows, conf=.95: ask(rows, conf))(d).doubts}

def test_a_dead_size_spoils_a_mean_over_sizes():
    d = changed(fine, 'labels==1000 and arm=="random"', value=10.)
    c = replace(claim, ask=Difference('pretrained', 'random', over='labels'))
    assert (out(d, c).outcome, out(d, c).why)==('not settled',
        'did not train: random (5 of 5 runs at chance in 1 of 2 cells)')

def test_only_cells_of_both_sides_are_doubted():
    more = changed(fine[(fine.arm=='pretrained') & (fine.labels==1000)], 'labels==1000', labels=10, value=10.)
    assert out(pd.concat([fine, more]), replace(claim,
        ask=Difference('pretrained', 'random', over='labels'))).outcome=='holds'

def test_controls_that_did_not_train_can_be_left_out():
    dead = changed(fine[(fine.arm=='random') & (fine.labels==100)], 'labels==100', value=10., arm='random_small')
    both = Least(tuple(Difference('pretrained', b, dict(labels=100)) for b in ('random', 'random_small')))
    d = pd.concat([fine, dead])
    r = out(d, replace(claim, ask=that_trained(both)))
    assert (r.outcome, r.why, r.note)==('holds', '', 'did not train: random_small (5 of 5 runs at chance)')
    assert r.p<.05 and (r.low, r.high)==limits(gain(fine))[1:]
    assert out(d, replace(claim, ask=both)).outcome=='not settled'
    assert out(changed(d, 'kind=="fit" and arm!="pretrained"', value=10.),
        replace(claim, ask=that_trained(both))).outcome=='not settled'
    assert out(changed(d, 'kind=="fit" and arm=="pretrained"', value=10.),
        replace(claim, ask=that_trained(both))).outcome=='not settled'
    assert that_trained(both)(fine) is None

# One scale for both readings

written = rows(1, noise=.1).assign(reading='as_written')

def test_both_readings_stand_at_one_scale():
    big = rows(2, noise=.1, gains=(-5., -5.)).assign(setting='paper')
    r = out(pd.concat([rows(noise=.1), big, written]))
    assert (r.scale, r.setting, r.fair_setting, r.as_written_setting,
        r.outcome)==('quick', 'quick', 'quick', 'quick', 'holds')
    assert r.other_scales.startswith('paper, fair: -') and r.other_scales.endswith(': does not hold')
    r = out(pd.concat([rows(noise=.1), big, written, written.assign(setting='paper')]))
    assert (r.scale, r.outcome)==('paper', 'does not hold') and r.other_scales.count('quick, ')==2
    assert out(pd.concat([rows(noise=.1), big])).scale=='paper', 'one reading alone'

def test_without_a_common_scale_each_says_its_own():
    r = out(pd.concat([rows(noise=.1).assign(setting='floor'), written]))
    assert (r.scale, r.setting, r.as_written_setting, r.other_scales)==('fair at floor, as written at quick', 'floor',
        'quick', '')
    assert out(pd.concat([rows(noise=.1).assign(setting='smoke'),
        written]))[['scale', 'reading', 'fair_outcome']].tolist()==['quick', 'as_written', 'not run here']

def test_a_scale_with_an_interval_in_both_comes_first():
    one = lambda d: d[d.head_seed==0].assign(setting='paper')
    assert out(pd.concat([rows(noise=.1), written, one(written),
        rows(noise=.1).assign(setting='paper')])).scale=='quick'
    assert out(pd.concat([one(rows(noise=.1)), one(written)])).scale=='paper'

# Many claims at once

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('pair', [True, False])
@pytest.mark.parametrize('expect', [Expect('>'), Expect('<'), Expect('>', 1.5)])
def test_the_p_of_a_difference_is_that_of_the_t_test(seed, pair, expect):
    d = rows(seed)
    x, y = (d[(d.arm==a) & (d.labels==100)].value.to_numpy() for a in ('pretrained', 'random'))
    p = stats.ttest_rel(x-expect.bound, y).pvalue if pair else stats.ttest_ind(x-expect.bound, y,
        equal_var=False).pvalue
    ask = gain if pair else replace(gain, pair=())
    np.testing.assert_allclose(p_value(ask, d, expect), p, rtol=1e-4)

def test_the_p_of_a_margin_is_that_of_two_one_sided_tests():
    d = rows(noise=.1, gains=(.1, .1))
    x = d[d.labels==100].pivot(index='head_seed', columns='arm', values='value')
    gap = x.pretrained-x.random
    one = max(stats.ttest_1samp(gap, s*.5, alternative=alt).pvalue for s, alt in ((-1, 'greater'), (1, 'less')))
    np.testing.assert_allclose(p_value(gain, d, Expect('=', margin=.5)), 2*one, rtol=1e-4)

@pytest.mark.parametrize('ask', ASKS.values(), ids=ASKS)
@pytest.mark.parametrize('expect', [Expect('>', .4), Expect('>', .8), Expect('no gain', 70, 15), Expect('=', 1, .5),
    Expect('<', 83)], ids=str)
def test_p_is_the_level_at_which_the_word_is_lost(ask, expect):
    if isinstance(ask, All): expect = Expect('>')
    d = Kept(rows(2))
    p, word = p_value(ask, d, expect), judge(ask(d), expect)
    assert (p<=.05)==(word!='not shown') and 0<p<=1
    if p in (1, 1e-12): return
    inside, outside = (judge(ask(d, 1-p*k), expect) for k in (1.001, .999))
    assert inside!='not shown' and outside!=inside and word in (inside, 'not shown')

def test_there_is_no_p_without_an_interval_or_a_level():
    assert np.isnan(p_value(gain, rows(n=1), Expect('>')))
    assert np.isnan(p_value(gain, rows().query('labels>100'), Expect('>')))
    t = settle([claim, replace(claim, name='deaf', ask=lambda rows: gain(rows))], rows(noise=.1))
    assert np.isnan(t.p[1]) and t.outcome[1]==t.outcome[0]=='holds' and not t.survives[1] and t.p_holm[0]==t.p[0]

def test_p_are_corrected_over_the_answered_claims_of_each_paper():
    from statsmodels.stats.multitest import multipletests
    d = rows(noise=.5, cells=(1, 2, 3, 4, 5, 6), gains=(4., 1., .5, .2, 5., 0.), lr=.3)
    cs = [replace(claim, paper=p, name=f'at-{k}', ask=replace(gain, where=dict(labels=k))) for p in ('toy', 'other')
        for k in range(1, 7+(p=='toy'))]
    d.loc[d.labels==5, 'lrs'] = '0.3 1'
    t = settle(cs, d)
    assert t.outcome[[4, 6, 11]].tolist()==['not settled', 'not run here', 'not settled']
    for _, g in t[t.p.notna()].groupby('paper'):
        assert len(g)==5
        for how, got in (('holm', g.p_holm), ('fdr_bh', g.p_bh)):
            np.testing.assert_allclose(got, multipletests(g.p, method=how)[1])
    assert (t.survives==((t.p_holm<=.05) & t.outcome.isin(['holds', 'does not hold']))).all()
    assert 0<t.survives.sum()<len(t)
    assert t[['p', 'p_holm', 'p_bh']].isna().sum().tolist()==[3, 3, 3]

def test_counts_go_by_paper_reading_and_scale():
    d = pd.concat([rows(noise=.1), written, rows(5).assign(setting='floor')])
    t = settle([claim, replace(claim, name='none', ask=replace(gain, where=dict(labels=9))),
        replace(claim, name='late', commands=dict(fair='x')),
        replace(claim, paper='other')], d)
    n = counts(t).set_index(['paper', 'reading', 'scale'])
    assert n.claims.sum()==sum(t.as_written_outcome!='not asked')+len(t)-sum(t.fair_outcome=='not asked')
    assert n.loc[('toy', 'fair', 'quick'), ['claims', 'holds', 'survive']].tolist()==[2, 2, 2]
    assert n.loc[('other', 'as_written', 'quick'), 'survive']==0
    assert n.loc[('toy', 'fair', ''), 'not run here']==1
    assert (n[list(WORDS)].sum(axis=1)+n['not settled']+n['too short']==n.claims).all()

# Our numbers and theirs

def printed(d, n=1):
    "The means of `d` as a paper would print them, or runs of its own"
    own = [rows(9+i, noise=.1)
        for i in range(n)] if n>1 else [d.groupby(['data', 'arm', 'labels'], as_index=False).value.mean()]
    return pd.concat(own).drop(columns=list(SEEDS), errors='ignore').assign(reading='reported', setting='paper',
        unit='%', subset=None)

def test_an_agreement_is_a_one_sample_t_against_printed_numbers():
    p = printed(written).assign(value=lambda d: d.value - 14*((d.arm=='random') & (d.labels==1000)))
    e = Agreement()(pd.concat([written, p]))
    x = written[(written.arm=='random') & (written.labels==1000)].value - p.set_index(['arm', 'labels']).value['random',
        1000]
    np.testing.assert_allclose((e.value, e.high), (x.mean(), stats.ttest_1samp(x, 0).confidence_interval(.95).high))
    np.testing.assert_allclose(e.low, stats.ttest_1samp(x, 0).confidence_interval(1-.05/4).low)
    assert (e.by, e.how, e.unit, e.kind, e.n)==('arm=random, labels=1000', 'largest of 4, one-sample t', 'points',
        'distance', 5)
    t = Agreement().cells(pd.concat([written, p]))
    assert len(t)==4 and t.set_index(['arm', 'labels']).low['random', 1000]==pytest.approx(e.low)

def test_an_agreement_with_runs_is_welchs():
    p = rows(7, n=8).drop(columns=list(SEEDS)).assign(reading='reported', setting='paper', subset=None)
    e, at = Agreement(dict(arm='random'))(pd.concat([written, p])), written.arm=='random'
    found = [stats.ttest_ind(written[at & (written.labels==c)].value, p[(p.arm=='random') & (p.labels==c)].value,
        equal_var=False) for c in (100, 1000)]
    assert e.how=='largest of 2, Welch t'
    assert e.high==pytest.approx(max(abs(v) for r in found for v in r.confidence_interval()))

def test_an_agreement_over_sizes_and_of_common_cells():
    p = printed(written)
    e = Agreement(of='arm', over='labels')(pd.concat([written, p[p.labels==100],
        p[(p.labels==1000) & (p.arm=='random')]]))
    assert e.how.startswith('largest of 2') and e.value==pytest.approx(0, abs=1e-9)
    for gone in (written, p, pd.concat([written, p.assign(arm='other')]), p[:0]): assert Agreement()(gone) is None

def test_a_claim_hands_an_agreement_both_readings():
    c = replace(claim, name='agrees-with-reported', ask=dict(as_written=Agreement()), expect=Expect('<', 3),
        reported='as printed', commands=dict(as_written='x'))
    d = pd.concat([written, written.assign(setting='paper', value=written.value+9), printed(written), rows()])
    r = out(d, c)
    assert (r.scale, r.reading, r.outcome, r.fair_outcome, r.by if 'by' in r else '')==('paper', 'as_written',
        'does not hold', 'not asked', '')
    assert 'ours is higher' in r.note and r.difference==pytest.approx(9) and 'quick, as written' in r.other_scales
    assert out(pd.concat([written, printed(written)]), replace(c, expect=Expect('<', 30))).outcome=='holds' and r.p<.05

def test_an_agreement_is_wrong_no_more_often_than_it_says():
    rng = np.random.default_rng(0)
    cells = lambda: [({}, Found([Block(1., rng.normal(1, 1, 5))], 't', '')) for _ in range(4)]
    found = [_largest(Agreement(), cells(), .95) for _ in range(300)]
    wrong = np.mean([(e.low>1, e.high<1) for e in found], axis=0)
    assert (wrong<=.05+2.6*(.05*.95/300)**.5).all()

# Spreads and shared encoders

@pytest.mark.parametrize('rho', [0., .5, .95])
@pytest.mark.parametrize('n', [3, 5])
def test_the_ratio_of_spreads_covers_however_sizes_go_together(rho, n):
    rng, cells, hits = np.random.default_rng(1), 12, []
    for _ in range(400):
        a, b = (pd.DataFrame(s*(rho**.5*rng.normal(size=(n, 1)) + (1-rho)**.5*rng.normal(size=(n, cells))))
            for s in (2, 1))
        _, low, high, *_ = _f_ratio(a, b, .95)
        hits.append(low<2<high)
    assert np.mean(hits)>=.95-2.6*(.95*.05/400)**.5

def test_runs_of_few_encoders_count_as_few():
    d = rows(n=6)
    d['encoder_seed'] = d.head_seed//2
    e = Difference('pretrained', 'random', dict(labels=100))(d)
    x = d[d.labels==100].pivot(index='head_seed', columns='arm', values='value')
    r = stats.ttest_1samp((x.pretrained-x.random).groupby(np.arange(6)//2).mean(), 0)
    np.testing.assert_allclose(limits(e), [(x.pretrained-x.random).mean(), *r.confidence_interval()])
    assert (e.how, e.note)==('paired t by encoder', '3 encoders for 6 runs')

def test_other_metrics_are_asked_by_their_column():
    d = rows().assign(f1=lambda d: d.value-2, balanced=lambda d: d.value-1, valid=lambda d: d.value-3)
    for v in ('f1', 'balanced', 'valid'):
        e = replace(gain, value=v)(d)
        np.testing.assert_allclose(limits(e), limits(gain(d)))
        assert (e.unit, e.n)==('points', 5)

# Forms

book = settle([claim, replace(claim, name='long', text='A <b>claim</b> of many words, '*12,
    place='section 4.1.1 and figure 5', reported='no numbers are given, only filters by eye '*4,
    commands=dict(fair='aepretrain compare digits --arms '+','.join(f'arm{i}'
    for i in range(9))+' --labels 50,100 --seeds 5 --out a --set finetune.steps=2000'*3)),
    replace(claim, name='later', ask=Mean('other'), commands={})], rows())

def test_text_keeps_to_its_width():
    assert all(len(l)<=100 for l in book.blocks().splitlines())
    assert all(len(l)<=72 or ' ' not in l.strip(' \\').split('  ')[-1] for l in book.blocks(72).splitlines())
    assert 'not run here 1' in repr(book) and str(settle([], rows()))=='no claims'

def test_commands_can_be_pasted():
    for c, block in zip(book.command, book.blocks().split('\n\n')):
        said = block.partition('  command')[2].replace('\\\n', '')
        assert shlex.split(said)==shlex.split(c)

def test_html_is_escaped():
    assert '<b>claim' not in book.page() and '&lt;b&gt;claim' in book.page()
    assert book._repr_html_()==book.page() and '<table' in book[['claim', 'outcome']]._repr_html_()

def test_a_ledger_is_a_dataframe(tmp_path):
    assert list(book.columns)==COLUMNS and isinstance(book[book.outcome=='holds'], Ledger)
    assert book[book.outcome=='holds'].blocks()
    book.to_csv(tmp_path/'l.csv', index=False)
    back = pd.read_csv(tmp_path/'l.csv')
    np.testing.assert_allclose(back.difference, book.difference)
    assert repr(book[['claim']]).split()==['claim', '0', 'helps', '1', 'long', '2', 'later']

# Papers

class Point:
    "An entry point"
    def __init__(self, found, name='toy'): self.found, self.name, self.value = found, name, 'somewhere:CLAIMS'
    def load(self):
        if isinstance(self.found, Exception): raise self.found
        return self.found

def declare(monkeypatch, *points):
    monkeypatch.setattr(L, 'entry_points', lambda group: {'aepretrain_nb.claims': points}[group])

@pytest.mark.parametrize('found,match',
    [(ImportError('no module'), 'cannot be loaded'), (AttributeError('no CLAIMS'), 'cannot be loaded'),
    (None, 'cannot be loaded'), ([3], 'is not a list of claims'),
    ([replace(claim, paper='other')], "is not a list of claims of 'toy'"), ([claim, claim], "'helps' twice")])
def test_what_an_entry_point_may_not_hold(monkeypatch, found, match):
    declare(monkeypatch, Point(found))
    with pytest.raises(LedgerError, match=match) as e: ledger('toy')
    assert '\n' not in str(e.value)

def test_only_the_paper_asked_for_is_loaded(monkeypatch, tmp_path):
    declare(monkeypatch, Point([claim]), Point(ImportError('broken'), 'other'))
    rows().to_csv(tmp_path/'toy.csv', index=False)
    t = ledger('toy', tmp_path)
    assert list(t.claim)==['helps'] and t.n[0]==5
    with pytest.raises(LedgerError, match="no claims of 'tyo'; did you mean 'toy'\\? There are: other, toy"):
        ledger('tyo')

def test_papers_without_results_are_not_run_here(monkeypatch, tmp_path):
    declare(monkeypatch, Point([claim]))
    assert list(ledger(results=tmp_path).outcome)==['not run here']
    with pytest.raises(AnswerError, match='is no folder of results'): ledger('toy', tmp_path/'nowhere')
    with pytest.raises(AnswerError, match="no recorded results of 'toy'"): recorded('toy', tmp_path)
    assert list(ledger('toy', rows()).outcome)==['holds'] or ledger('toy', rows()).n[0]==5

def test_the_command_line_prints_blocks_and_columns(monkeypatch, tmp_path, capsys):
    from aepretrain_nb.cli import main
    declare(monkeypatch, Point([claim]), Point([], 'other'))
    rows().to_csv(tmp_path/'toy.csv', index=False)
    t = ledger('toy', tmp_path)
    for argv, want in ((['toy'], f'{t.blocks()}\n'), ([], f'{t.blocks()}\n'), (['other'], 'no claims\n'),
        (['toy', '--csv'], t.to_csv(index=False, float_format='%.6g', lineterminator='\n'))):
        assert main(['ledger', *argv, '--results', str(tmp_path)])==0
        assert capsys.readouterr().out==want

def test_no_claims_is_an_empty_ledger(monkeypatch):
    declare(monkeypatch)
    assert len(ledger())==0 and list(ledger().columns)==COLUMNS

def test_the_module_loads_neither_torch_nor_a_paper():
    code = 'import sys, aepretrain_nb.answers.ledger; print(*sys.modules)'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    assert 'aepretrain_nb.answers.ledger' in loaded and not {'torch', 'fastai', 'aepretrain_nb.papers'} & set(loaded)

# What is recorded

def tool():
    spec = importlib.util.spec_from_file_location('tools_ledger', ROOT/'tools'/'ledger.py')
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod

@pytest.mark.slow
def test_every_row_of_the_recorded_ledger_follows_from_the_recorded_rows(tmp_path):
    tool().write(tmp_path/'ledger.csv')
    new, old = (pd.read_csv(f, keep_default_na=False, na_values={c: [''] for c in NUMBERS})
        for f in (tmp_path/'ledger.csv', ROOT/'results'/'ledger.csv'))
    assert list(new.columns)==list(old.columns)==COLUMNS, 'run `make ledger`'
    assert list(zip(new.paper, new.claim))==list(zip(old.paper, old.claim)), 'run `make ledger`'
    for c in COLUMNS:
        if c in NUMBERS:
            np.testing.assert_allclose(new[c].astype(float), old[c].astype(float), rtol=1e-4, atol=1e-6,
                err_msg=f'{c}: run `make ledger`')
        else: assert new[c].tolist()==old[c].tolist(), f'{c}: run `make ledger`'

def test_two_ledgers_are_compared(tmp_path):
    new = settle([claim, replace(claim, name='late')], GATES['low'][2])
    old = settle([claim, replace(claim, name='gone')], rows(noise=.1).assign(setting='floor'))
    t = tool().against(pd.DataFrame(old), pd.DataFrame(new)).set_index('claim')
    assert t.loc['helps', ['before', 'after', 'scale']].tolist()==['holds', 'not settled', 'quick']
    assert t.why['helps']=='was told at floor; rate at an end of its list: random (3 of 5 runs)'
    assert t.before['late']=='no such claim' and t.after['gone']=='withdrawn'

def test_an_altered_word_or_number_is_found(monkeypatch, tmp_path):
    declare(monkeypatch, Point([claim]))
    rows(noise=.1).to_csv(tmp_path/'toy.csv', index=False)
    t = tool().write(tmp_path/'ledger.csv', tmp_path)
    assert pd.read_csv(tmp_path/'ledger.csv').outcome.tolist()==t.outcome.tolist()==['holds']
    rows(noise=.1, gains=(-1., 1.)).to_csv(tmp_path/'toy.csv', index=False)
    assert tool().write(tmp_path/'ledger.csv', tmp_path).outcome.tolist()==['does not hold']

def test_declared_claims_name_papers_places_and_commands_that_parse():
    from aepretrain_nb.cli import parser
    for name, cs in claims_of().items():
        for c in cs:
            assert c.text and c.place and c.commands, f'{name} {c.name}'
            for line in (part for v in c.commands.values() for part in v.replace('{setting}', c.setting).split(' && ')):
                verb, *args = shlex.split(line)
                if verb=='aepretrain': parser().parse_args(args)
                else: assert re.match(r'python|make', verb), f'{name} {c.name}: {line}'
