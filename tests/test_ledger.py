"The ledger: estimates against slow or other computations, missing rows, the words, the recorded ledger recomputed."
import importlib.util, itertools, re, shlex, subprocess, sys
from dataclasses import replace
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from aepretrain_nb import ledger as L
from aepretrain_nb.asks import Block, _t
from aepretrain_nb.ledger import (COLUMNS, SEEDS, All, Below, Claim, Contrast, Difference, Estimate, Expect, Greatest, Least, Ledger, LedgerError, Mean, Ratio, Trend, at_each, claims_of,
    judge, ledger, recorded, settle)
from aepretrain_nb.stats import differences

ROOT = Path(__file__).resolve().parents[1]
WORDS = 'holds', 'does not hold', 'not shown', 'not run here'

def rows(seed=0, n=5, cells=(100, 1000), gains=(1., 2.), arms=('pretrained', 'random'), noise=1., **more):
    "Runs of two arms in cells that share seeds and labelled images"
    rng, out = np.random.default_rng(seed), []
    for (c, g), s in itertools.product(zip(cells, gains), range(n)):
        base = 80 + rng.normal(0, 2)
        for k, a in enumerate(arms): out.append(dict(data='toy', arm=a, labels=c, reading='fair', setting='quick', **{o: s for o in SEEDS}, subset=f'{c}-{s}',
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
    gain = [d[(d.labels==c) & (d.arm=='pretrained')].value.mean()-d[(d.labels==c) & (d.arm=='random')].value.mean() for c in cells]
    np.testing.assert_allclose(e.value, np.polyfit(np.log10(cells), gain, 1)[0])
    assert (e.how, e.n)==(('slopes of pairs', 4) if seeds=='shared' else ('independent t', 4))

def test_a_trend_in_plain_units_and_of_one_arm():
    d = rows(n=3, cells=(1, 2, 4), gains=(0, 1, 3), noise=1e-6)
    assert Trend('pretrained', 'random', log=False)(d).value==pytest.approx(1, abs=1e-4)
    own = d[d.arm=='pretrained'].groupby('head_seed')[['labels', 'value']].apply(lambda g: np.polyfit(np.log10(g.labels), g.value, 1)[0])
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

@pytest.mark.parametrize('coefs,sizes,sds', [((1, -1, -1, 1), (5, 5, 5, 5), (1, 1, 1, 1)), ((1, -1, -1, 1), (10, 10, 5, 5), (2, .5, 1, 1)), ((-.7, -.1, .8), (4, 4, 4), (1, 2, .5))])
def test_intervals_hold_the_truth_as_often_as_they_say(coefs, sizes, sds):
    rng, truth = np.random.default_rng(0), sum(c*i for i, c in enumerate(coefs))
    hits = [low<truth<high for _, low, high, *_ in (_t([Block(c, rng.normal(i, s, n)) for i, (c, n, s) in enumerate(zip(coefs, sizes, sds))], .95) for _ in range(2000))]
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
    np.testing.assert_allclose(e.value, rows(0).query('arm=="pretrained" and labels==100').value.mean()-rows(1).query('arm=="pretrained" and labels==100').value.mean())

def test_a_bound_takes_the_cells_below_it():
    d = rows(cells=(100, 1000, 5000), gains=(1., 2., 3.))
    ask = lambda v: Difference('pretrained', 'random', dict(labels=v), over='labels')
    for k, cells in ((1000, [100]), (1001, [100, 1000]), (1e9, [100, 1000, 5000])): assert ask(Below(k))(d)==ask(cells)(d)
    assert ask(Below(100))(d) is None
    empty = d.assign(labels=d.labels.astype(object).where(d.labels!=5000, None))
    assert ask(Below(1e9))(empty)==ask([100, 1000])(d)
    assert Trend('pretrained', 'random', where=dict(labels=Below(5000)))(d)==Trend('pretrained', 'random', where=dict(labels=[100, 1000]))(d)

@pytest.mark.parametrize('where,match', [(dict(data=Below(5)), "data<5: not all values of 'data' and the bound are numbers"), (dict(labels=Below('many')), 'labels<many: not all values'),
    (dict(labels=Below(5000)), 'two rows for labels<5000, arm=pretrained at one seed: they differ in labels')])
def test_a_bound_that_cannot_be_asked_is_one_line(where, match):
    with pytest.raises(LedgerError, match=match) as e: Difference('pretrained', 'random', where)(rows())
    assert '\n' not in str(e.value)

def scored(seed=0, gains=(1., 2., 3.), arms=('gradual', 'hybrid_0.5', 'stacked'), decoders=('chain', 'direct'), **kw):
    "Errors of arms, each further one higher by its gain, under several decoders; under the later ones half a point more for each"
    d = pd.concat([rows(seed, cells=(0,), gains=(0.,), arms=arms, **dict(noise=.01) | kw).drop(columns='labels').assign(decoder=c, value=lambda d, k=k: d.value+k*.5*(d.arm!=arms[0]))
        for k, c in enumerate(decoders)])
    return d.assign(value=d.value+d.arm.map(dict(zip(arms, (0, *np.cumsum(gains)[:len(arms)-1])))))

@pytest.mark.parametrize('make', [Difference, Ratio, lambda a, b, **kw: Contrast(Difference(a, b, **kw), Difference(a, 'hybrid_0.5'))])
def test_columns_that_are_told_are_noted_where_the_sides_differ(make):
    d = scored(decoders=('direct',))
    ask = make('gradual', 'stacked', told=('decoder', 'loss'))
    assert ask(d).note=='' and make('gradual', 'stacked')(d.assign(decoder=d.arm)).note==''
    d.loc[d.arm=='stacked', 'decoder'] = 'chain'
    assert ask(d).note=='decoder: direct against chain'
    d['loss'] = np.where(d.arm=='gradual', 'mse', None)
    assert ask(d).note=='decoder: direct against chain; loss: mse against none'
    assert ask(d.assign(encoder_seed=0)).note.startswith('decoder: direct against chain; loss: mse against none; 1 encoder for 5 runs')
    assert limits(ask(d))==limits(make('gradual', 'stacked')(d))

def test_what_is_told_of_a_trend():
    d = rows().assign(decoder=lambda d: np.where(d.arm=='random', 'chain', 'direct'))
    assert Trend('pretrained', 'random', told='decoder')(d).note=='decoder: direct against chain'
    assert Trend('pretrained', told='decoder')(d).note==''

# What is missing

ASKS = dict(difference=Difference('pretrained', 'random', dict(labels=100)), over=Difference('pretrained', 'random', over='labels'), mean=Mean('pretrained', dict(labels=100)),
    contrast=Contrast(*at_each(Difference('pretrained', 'random'), labels=[100, 1000])), trend=Trend('pretrained', 'random'), ratio=Ratio('pretrained', 'random', dict(labels=100)),
    sd=Ratio('pretrained', 'random', of='sd', over='labels'), least=Least(at_each(Mean('pretrained'), labels=[100, 1000])), greatest=Greatest(at_each(Mean('pretrained'), labels=[100, 1000])),
    all=All((Trend('pretrained', 'random'), Difference('pretrained', 'random', dict(labels=100)))))
each = pytest.mark.parametrize('ask', ASKS.values(), ids=ASKS)

@each
def test_missing_rows_are_no_answer(ask):
    d = rows()
    for gone in (d[:0], pd.DataFrame(), d[d.arm=='other'], d.drop(columns='arm'), d.drop(columns='value'), d[d.arm=='random'], d.assign(value=np.nan)): assert ask(gone) is None

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
    with pytest.raises(LedgerError, match='two rows .* they differ in metric') as e: ask(pd.concat([rows().assign(metric='accuracy'), rows().assign(metric='loss')]))
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

@pytest.mark.parametrize('bad,match', [(dict(relation='>='), 'one of >'), (dict(relation='='), 'needs a margin'), (dict(relation='>', margin=0), 'above 0'), (dict(relation='no gain', margin=-1), 'above 0')])
def test_relations_that_cannot_be_judged(bad, match):
    with pytest.raises(LedgerError, match=match): Expect(**bad)

# Claims

gain = ASKS['difference']
claim = Claim('toy', 'helps', 'It helps', 'Table 1', gain, Expect('>'), commands=dict(as_written='aepretrain compare digits', fair='aepretrain compare digits --seeds 5'))

def test_the_fair_reading_decides_where_it_was_run():
    fair, written = rows(noise=.1), rows(1, gains=(-3., -3.), noise=.1).assign(reading='as_written')
    t = settle([claim], pd.concat([fair, written])).iloc[0]
    assert (t.outcome, t.reading, t.as_written_outcome, t.fair_outcome)==('holds', 'fair', 'does not hold', 'holds')
    assert t.difference==t.fair and t.low==t.fair_low and t.command==claim.commands['fair']
    t = settle([claim], written).iloc[0]
    assert (t.outcome, t.reading, t.fair_outcome, t.command)==('does not hold', 'as_written', 'not run here', claim.commands['as_written'])

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
    have = pd.concat([rows(noise=.1).assign(setting=s) for s in ('quick', 'other', 'floor', 'smoke', 'paper', 'digits')])
    first = lambda *gone: settle([claim], have[~have.setting.isin(gone)]).setting[0]
    assert [first(), first('paper'), first('paper', 'floor'), first('paper', 'floor', 'quick')]==['paper', 'floor', 'quick', 'digits']
    few = have[(have.setting!='floor') | (have.head_seed==0)]
    assert settle([claim], few[few.setting!='paper']).setting[0]=='quick', 'too few runs at floor'

def test_an_ask_may_be_any_function():
    t = settle([replace(claim, ask=lambda d: Estimate(d.value.max(), 1., 2., len(d), kind='peak'))], rows())
    assert t.n[0]==20 and t.kind[0]=='peak' and t.outcome[0]=='holds'

@pytest.mark.parametrize('bad', [dict(name='It helps'), dict(ask='value'), dict(expect='>'), dict(commands=dict(guess='x')), dict(ask=dict(fair=3))])
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
    ([Difference(dict(arm='stacked', loss='mse'), 'gradual'), Difference(dict(arm='gradual', loss='bce'), 'hybrid_0.5')], 'stacked, loss=mse against gradual'),
    ([Contrast(Difference('stacked', 'gradual'), Difference('stacked', b)) for b in ('stacked', 'hybrid_0.5')], 'stacked'),
    ([Mean('stacked', dict(runs=Below(k))) for k in (9, 8)], 'runs<9'),
    ([Mean(a) for a in ('stacked', 'gradual')], 'stacked'),
    ([Mean('stacked', value=v) for v in ('value', 'half')], 'value=value'),
    ([lambda d, conf: Estimate(2., 1., 3.), lambda d, conf: Estimate(1., 0., 2.)], ''),
    ([lambda d, conf: Estimate(2., 1., 3., by='its own'), lambda d, conf: Estimate(1., 0., 2.)], 'its own')])
def test_an_ask_is_told_from_its_siblings_by_what_differs(asks, by):
    d = scored(decoders=('chain',))
    d = d.assign(loss=d.arm.map(dict(stacked='mse', gradual='bce')), runs=np.where(d.head_seed==0, 8, 2), half=d.value/2, unit='')
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

def test_an_ask_over_the_arms_that_are_there():
    d = scored(gains=(1., 1., 1., 1.), arms=('gradual', 'hybrid_0.25', 'hybrid_0.5', 'hybrid_0.75', 'stacked'))
    some = lambda *arms: over_mixes(d[d.arm.isin(['gradual', *arms])])
    e = over_mixes(d)
    assert e.by=='hybrid_0.25, decoder=chain' and e.how.startswith('greatest of 8')
    assert some('hybrid_0.5', 'stacked').by=='hybrid_0.5, decoder=chain'
    assert some('stacked') is some('hybrid_0.5') is None
    e = over_mixes(d[(d.arm!='hybrid_0.25') | (d.decoder=='direct')])
    assert e.by=='hybrid_0.5, decoder=chain' and e.how.startswith('greatest of 6'), 'a mix that is not scored by each decoder is left out'
    assert settle([replace(claim, ask=over_mixes, expect=Expect('<'))], d).note[0]=='decided by hybrid_0.25, decoder=chain'
    assert Least(())(d) is Greatest(())(d) is All(())(d) is None

ends = st.tuples(*[st.floats(-3, 3).map(lambda v: round(v, 2))]*3).map(sorted)

@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ends, st.floats(0, 2)), min_size=1, max_size=4))
def test_all_holds_where_each_part_does(parts):
    say = lambda l, v, h, more: lambda d, conf: Estimate(v, l, h+more*(conf>.96), 5)
    est = All(tuple(say(*e, more) for e, more in parts))(None)
    refused = any(h+more*(len(parts)>1)<0 for (*_, h), more in parts)
    assert judge(est, Expect('>'))==('does not hold' if refused else 'holds' if all(l>0 for (l, *_), _ in parts) else 'not shown')
    assert (est.low, est.value) in [(l, v) for (l, v, _), _ in parts]

@pytest.mark.parametrize('gains,word,by,unit', [((3., 0.), 'holds', '', ''), ((0., 3.), 'does not hold', 'trend', 'points per ×10 labels'), ((-3., -6.), 'does not hold', 'difference', 'points'),
    ((-3., 0.), 'does not hold', '', ''), ((3., 3.), 'not shown', 'trend', 'points per ×10 labels'), ((0., -3.), 'not shown', 'difference', 'points')])
def test_a_gain_that_fades(gains, word, by, unit):
    parts = Trend('random', 'pretrained'), Difference('pretrained', 'random', dict(labels=100))
    d = rows(1, n=8, gains=gains, noise=.3)
    e, own = All(parts)(d), [p(d) for p in parts]
    assert judge(e, Expect('>'))==word and e.how.startswith('weakest of 2')
    assert (e.value, e.low, e.unit) in [(o.value, o.low, o.unit) for o in own]
    if by: assert (e.by, e.unit)==(by, unit)

def test_a_part_without_an_interval_leaves_all_open():
    sure, bare, bad = (lambda d, conf, e=e: e for e in (Estimate(2., 1., 3.), Estimate(5., n=1, note='one run'), Estimate(-2., -3., -1.)))
    assert [judge(All(p)(None), Expect('>')) for p in ((sure, bare), (bare, bad), (sure, sure))]==['not shown', 'does not hold', 'holds']
    assert All((sure, lambda d, conf: None))(None) is None and All((sure, bare))(None).note=='one run'

@pytest.mark.parametrize('expect', [Expect('<'), Expect('>', 1), Expect('>', margin=.5), Expect('no gain')])
@pytest.mark.parametrize('ask', [ASKS['all'], dict(as_written=gain, fair=ASKS['all'])], ids=['one', 'each'])
def test_all_is_asked_whether_it_is_above_0(ask, expect):
    replace(claim, ask=ask)
    with pytest.raises(LedgerError, match='toy helps: All asks whether each part is above 0'): replace(claim, ask=ask, expect=expect)

def test_readings_may_be_decided_in_unlike_units():
    ask = All((Trend('random', 'pretrained'), Difference('pretrained', 'random', dict(labels=100))))
    t = settle([replace(claim, ask=ask)], pd.concat([rows(gains=(0., 3.), noise=.1), rows(gains=(-3., -6.), noise=.1).assign(reading='as_written')]))
    assert (t.fair_unit[0], t.as_written_unit[0])==('points per ×10 labels', 'points')
    said = {l.split('  ')[1]: l for l in t.blocks(200).splitlines() if l.startswith('  ')}
    assert said['as written'].endswith('points, n 5, quick, decided by difference: does not hold') and 'points per ×10 labels, n 5' in said['fair']
    assert said['expected'].endswith('more than 0')

# Forms

book = settle([claim, replace(claim, name='long', text='A <b>claim</b> of many words, '*12, place='section 4.1.1 and figure 5', reported='no numbers are given, only filters by eye '*4,
    commands=dict(fair='aepretrain compare digits --arms '+','.join(f'arm{i}' for i in range(9))+' --labels 50,100 --seeds 5 --out a --set finetune.steps=2000'*3)),
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
    assert list(book.columns)==COLUMNS and isinstance(book[book.outcome=='holds'], Ledger) and book[book.outcome=='holds'].blocks()
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

def declare(monkeypatch, *points): monkeypatch.setattr(L, 'entry_points', lambda group: {'aepretrain_nb.claims': points}[group])

@pytest.mark.parametrize('found,match', [(ImportError('no module'), 'cannot be loaded'), (AttributeError('no CLAIMS'), 'cannot be loaded'), (None, 'cannot be loaded'), ([3], 'is not a list of claims'),
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
    with pytest.raises(LedgerError, match="no claims of 'tyo'; did you mean 'toy'\\? There are: other, toy"): ledger('tyo')

def test_papers_without_results_are_not_run_here(monkeypatch, tmp_path):
    declare(monkeypatch, Point([claim]))
    assert list(ledger(results=tmp_path).outcome)==['not run here']
    with pytest.raises(LedgerError, match='is no folder of results'): ledger('toy', tmp_path/'nowhere')
    with pytest.raises(LedgerError, match="no recorded results of 'toy'"): recorded('toy', tmp_path)
    assert list(ledger('toy', rows()).outcome)==['holds'] or ledger('toy', rows()).n[0]==5

def test_the_command_line_prints_blocks_and_columns(monkeypatch, tmp_path, capsys):
    from aepretrain_nb.cli import main
    declare(monkeypatch, Point([claim]), Point([], 'other'))
    rows().to_csv(tmp_path/'toy.csv', index=False)
    t = ledger('toy', tmp_path)
    for argv, want in ((['toy'], f'{t.blocks()}\n'), ([], f'{t.blocks()}\n'), (['other'], 'no claims\n'), (['toy', '--csv'], t.to_csv(index=False, float_format='%.6g', lineterminator='\n'))):
        assert main(['ledger', *argv, '--results', str(tmp_path)])==0
        assert capsys.readouterr().out==want

def test_no_claims_is_an_empty_ledger(monkeypatch):
    declare(monkeypatch)
    assert len(ledger())==0 and list(ledger().columns)==COLUMNS

def test_the_module_loads_neither_torch_nor_a_paper():
    code = "import sys, aepretrain_nb.ledger; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'fastai') or m.startswith('aepretrain_nb.papers')])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()=='[]'

# What is recorded

def tool():
    spec = importlib.util.spec_from_file_location('tools_ledger', ROOT/'tools'/'ledger.py')
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod

def test_every_row_of_the_recorded_ledger_follows_from_the_recorded_rows(tmp_path):
    tool().write(tmp_path/'ledger.csv')
    new, old = (pd.read_csv(f, keep_default_na=False, na_values={c: [''] for c in L._NUMBERS}) for f in (tmp_path/'ledger.csv', ROOT/'results'/'ledger.csv'))
    assert list(new.columns)==list(old.columns)==COLUMNS, 'run `make ledger`'
    assert list(zip(new.paper, new.claim))==list(zip(old.paper, old.claim)), 'run `make ledger`'
    for c in COLUMNS:
        if c in L._NUMBERS: np.testing.assert_allclose(new[c].astype(float), old[c].astype(float), rtol=1e-4, atol=1e-6, err_msg=f'{c}: run `make ledger`')
        else: assert new[c].tolist()==old[c].tolist(), f'{c}: run `make ledger`'

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
