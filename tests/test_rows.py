"Tables that are made of rows say what a slow reader would find in them."
import re
from pathlib import Path
import numpy as np, pandas as pd, pytest
from fastcore.nbio import read_nb
from aepretrain_nb.answers.rows import AnswerError, across, aggregate

NOTEBOOKS = Path(__file__).resolve().parents[1]/'nbs'

@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    arms,data = ['trained', 'random', 'other'],['mnist', 'cifar10']
    d = pd.DataFrame(dict(data=rng.choice(data, 90), labels=rng.choice([1000, 50, 200], 90), arm=rng.choice(arms, 90)))
    d = d.assign(value=rng.normal(size=90), seconds=range(90))
    first = pd.DataFrame(dict(data=data, labels=1000, arm='trained', value=0., seconds=0))
    return pd.concat([first, d[~(d.arm.eq('other') & d.labels.eq(50))]], ignore_index=True)

def picked(rows, **which):
    "Values of the rows with those columns, one row after the other"
    return [o.value for o in rows.itertuples() if all(getattr(o, k)==v for k,v in which.items())]

def test_across_by_hand(rows):
    t = across(rows, by=('data', 'labels'))
    assert [*t.index]==[(d, n) for d in ('mnist', 'cifar10') for n in (50, 200, 1000)]
    for (d, n),r in t.iterrows():
        for a,v in r.items():
            own = picked(rows, data=d, labels=n, arm=a)
            assert np.isclose(v, np.mean(own)) if own else np.isnan(v) and (a, n)==('other', 50)

@pytest.mark.parametrize('shuffle', range(3))
def test_across_does_not_depend_on_the_order_of_numbers(rows, shuffle):
    mixed = rows.sample(frac=1, random_state=shuffle)
    t,own = (across(d, wanted=['random', 'trained']) for d in (rows, mixed))
    pd.testing.assert_frame_equal(t, own)
    assert across(mixed, by='arm', of='labels').columns.tolist()==[50, 200, 1000]

def test_across_takes_any_reading(rows):
    lists = across(rows, how=list)
    assert sorted(lists.random[200])==sorted(picked(rows, labels=200, arm='random'))
    told = across(rows, how=lambda v: f'{v.mean():.1f} ({len(v)})')
    assert told.random[200]==f'{np.mean(lists.random[200]):.1f} ({len(lists.random[200])})'
    both = across(rows, ['value', 'seconds'], wanted=['random', 'absent', 'trained'])
    assert [*both]==[(c, a) for c in ('value', 'seconds') for a in ('random', 'trained')]
    pd.testing.assert_frame_equal(both['seconds'], across(rows, 'seconds', wanted=['random', 'trained']))

def test_aggregate(rows):
    t = aggregate(rows, ['arm', 'labels'], n=('value', 'size'), least=('value', 'min'))
    assert t.n.sum()==len(rows) and (t.index.names==['arm', 'labels'])
    assert all(o.least==min(picked(rows, arm=a, labels=n)) for (a, n),o in t.iterrows())
    assert aggregate(rows, 'arm', n=('value', 'size')).index[0]=='trained'

@pytest.mark.parametrize('make', [lambda d: across(d, 'valu'), lambda d: across(d, by='arms'),
    lambda d: across(d, of='date'),
    lambda d: aggregate(d, ['arm', 'label'], n=('value', 'size')), lambda d: aggregate(d, 'arm', n=('valu', 'size'))])
def test_a_column_that_is_not_there(rows, make):
    with pytest.raises(AnswerError, match="no column '.*' among the rows; did you mean"): make(rows)

# Pages

BY_HAND = re.compile(r'\.(pivot|pivot_table|unstack|melt|groupby|sort_values|merge)\(|\bcrosstab\(')

@pytest.mark.parametrize('page', sorted(NOTEBOOKS.glob('papers/*.ipynb')) + sorted(NOTEBOOKS.glob('*.ipynb')),
    ids=lambda p: p.stem)
def test_no_page_sorts_or_pivots_by_hand(page):
    "What is exported may; what a page shows is read by `across`, `aggregate` and `Results`"
    shown = (c for c in read_nb(page).cells if c.cell_type=='code' and not re.match(r'#\| exports?\b', c.source))
    assert not [l for c in shown for l in c.source.splitlines() if BY_HAND.search(l)]
