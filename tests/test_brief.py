"The claims that a page shows first: a small table and a picture, both from the ledger"
import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest
from aepretrain_nb.answers.asks import Difference, Ratio
from aepretrain_nb.answers.book import reason
from aepretrain_nb.answers.brief import brief_table, brief_figure, share_legend
from aepretrain_nb.answers.claims import Claim, Expect
from aepretrain_nb.answers.estimates import Estimate
from aepretrain_nb.answers.ledger import settle
from aepretrain_nb.answers.runs import LedgerError, made_up
from aepretrain_nb.answers.viz import label_curve

WORDS = dict(gain='it <b>helps', times='by how much', later='with ten labels')

def claim(name, ask, expect, reported): return Claim('toy', name, name, 'Table 1', ask, expect, reported)

@pytest.fixture
def claims():
    gain,times,later = Difference('pretrained', 'random', dict(labels=100)),Ratio('pretrained', 'random',
        dict(labels=100)),Difference('pretrained', 'random', dict(labels=10))
    return [claim('gain', gain, Expect('>'), '+2.1 points, no interval, n 1 (one run tells nothing about chance)'),
        claim('times', times, Expect('>', 1), None),
        claim('later', later, Expect('>'), 'by eye')]

@pytest.fixture
def book(claims): return settle(claims, made_up())

def test_the_table_says_what_the_ledger_says(book):
    t = brief_table(book, WORDS)
    assert list(t)==['outcome', 'paper', 'as written', 'fair'] and list(t.index)==list(WORDS.values())
    gain,times,later = (t.iloc[i] for i in range(3))
    assert (gain.paper, gain.fair)==('+2.1 points\nno interval', '+2.03 [+1.90, +2.16] points\nn 6: holds')
    assert float(times.fair.split()[0])==pytest.approx(100*(book.fair[1]-1), abs=.006) and '] %\n' in times.fair
    assert (later.outcome, later.paper, later.fair)==('– not run here', 'by eye', 'not run here')

def test_the_reason_stands_below_a_word_that_is_withheld(claims):
    d = made_up(chance=10., n_test=1000)
    d.loc[d.arm=='random', 'value'] = 10.
    t = brief_table(settle(claims, d), WORDS)
    assert t.outcome.iloc[0]=='? not settled\ndid not train'

@pytest.mark.parametrize('why,short', [('', ''),
    ('rate at an end of its list: a (5 of 5 runs), b', 'rate at an end of its list'),
    ('did not train: a; did not train: b; stopped early', 'did not train; stopped early')])
def test_reasons(why, short): assert reason(why)==short

def test_html_is_escaped(book):
    page = brief_table(book, WORDS)._repr_html_()
    assert 'it &lt;b&gt;helps' in page and '<b>' not in page and page.count('<tr>')==1+len(WORDS)

def test_a_claim_that_is_not_there(book):
    for f in (brief_table, lambda *a: brief_figure(*a, 'points')):
        with pytest.raises(LedgerError, match="no claim 'gains' in this ledger; did you mean 'gain'"):
            f(book, dict(gains=''))

def marks(ax):
    return [(l.get_marker(), round(float(np.ravel(l.get_xdata())[0]), 2), l.get_markerfacecolor()=='w')
        for l in ax.lines if l.get_marker()!='None' and len(np.ravel(l.get_xdata()))]

def test_the_picture_has_a_mark_for_each_who_says_something(book, claims):
    ax = brief_figure(book, dict(gain='gain', later='later'), 'points', dict(gain=Estimate(2.1)))
    assert [o[:2] for o in marks(ax)]==[('D', 2.1), ('o', 2.03)] and not any(o[2] for o in marks(ax))
    assert [t.get_text() for t in ax.get_yticklabels()]==['gain', 'later'] and ax.get_xlabel()=='points'
    d = made_up(chance=10., n_test=1000)
    d.loc[d.arm=='random', 'value'] = 10.
    assert marks(brief_figure(settle(claims, d), dict(gain=''), 'points'))[0][2], 'a number without a word is hollow'
    plt.close('all')

def test_claims_of_several_units_have_no_common_axis(book):
    with pytest.raises(LedgerError, match='claims in points and times: draw them apart'):
        brief_figure(book, dict(gain='', times=''), '')

def test_one_legend_for_all_panels():
    fig,axs = plt.subplots(1, 2, figsize=(8, 3))
    lengths = []
    for ax in axs:
        label_curve(made_up(), ax=ax)
        lengths.append(ax.get_xlim()[1])
    share_legend(fig, 2)
    assert all(ax.get_legend() is None for ax in axs)
    assert [t.get_text() for t in fig.legends[0].get_texts()]==['pretrained', 'random']
    assert all(ax.get_xlim()[1]<=n for ax,n in zip(axs, lengths)), 'the room of a legend is given back'
    plt.close('all')

def test_a_legend_for_all_panels_stays_within_a_narrow_figure():
    "Its ends were cut off"
    fig,ax = plt.subplots(figsize=(3, 2.4), layout='constrained')
    for k in ('pre-trained', 'random start', 'supervised', 'frozen'): ax.plot([0, 1], label=k)
    share_legend(fig)
    legend, = fig.legends
    assert legend.get_window_extent().width<=fig.bbox.width and len(legend.get_texts())==4
