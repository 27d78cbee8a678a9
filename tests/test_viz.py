"What pictures cannot show: geometry, scales, numbers drawn, odd input, and that nothing is shown or opened unasked."
import re, warnings

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from sklearn.metrics import confusion_matrix
from aepretrain_nb.answers import viz
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.judged import with_ends
from aepretrain_nb.answers.stats import interval
from aepretrain_nb.answers.verdict import verdict
from aepretrain_nb.answers.viz import MANY, against_best, arm_styles, boxes, curves, forest, label_curve
from aepretrain_nb.data.grid import show_images, tile
from aepretrain_nb.nets.learnt import confusion, show_filters, show_reconstructions

rng = np.random.default_rng(0)

@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    "Warnings are errors, `plt.show` is forbidden, and figures are closed."
    monkeypatch.setattr(plt, 'show', lambda *a, **k: pytest.fail('plt.show was called'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield
    plt.close('all')

def trials(n=3, sizes=(10, 100, 1000)):
    rows = [(l, a, s, f'{l}/{s}') for l in sizes for a in ('pretrained', 'r1', 'r2') for s in range(n)]
    df = pd.DataFrame(rows, columns=['labels', 'arm', 'seed', 'subset'])
    return df.assign(value=rng.uniform(.5, .9, len(df)), epoch=df.labels, valid=.5)

def pictures(ax=None):
    x = rng.uniform(size=(5, 1, 4, 6))
    return dict(show_images=lambda ax: show_images(x, ax=ax),
        show_reconstructions=lambda ax: show_reconstructions(x, x/2, ax=ax),
        label_curve=lambda ax: label_curve(trials(), scale=100, ax=ax),
        forest=lambda ax: forest(differences(trials()), scale=100, ax=ax),
        confusion=lambda ax: confusion([0, 1, 1], [0, 1, 0], ax=ax),
        curves=lambda ax: curves(trials(), scale=100, ax=ax))

@pytest.mark.parametrize('name', pictures())
def test_draws_where_it_is_told(name):
    f = pictures()[name]
    own = f(None)
    assert isinstance(own, plt.Axes) and len(plt.get_fignums())==1
    ax = plt.figure().add_subplot()
    assert f(ax) is ax and len(plt.get_fignums())==2
    for fig in (own.figure, ax.figure): fig.canvas.draw()

def test_bands_of_crossed_runs_heed_what_they_share():
    "Three subsets with four encoders each are not twelve independent runs."
    d = pd.MultiIndex.from_product([range(3), range(4)], names=['subset', 'encoder_seed']).to_frame(index=False)
    d = d.assign(arm='a', labels=10, value=rng.normal(70, .1, 12) + 2*d.subset + d.encoder_seed)
    band = label_curve(d).collections[0].get_paths()[0].vertices[:, 1]
    _, low, high = interval(d.value, bounds=(0, 100), subset=d.subset, encoder=d.encoder_seed)
    assert (band.min(), band.max())==pytest.approx((low, high))
    assert high-low > 1.5*np.ptp(interval(d.value)[1:])

@pytest.mark.parametrize('n,ncol,h,w', [(1, None, 3, 5), (7, 3, 2, 2), (6, 6, 1, 4), (5, 8, 4, 1)])
def test_tile_puts_every_image_in_its_place(n, ncol, h, w):
    x = rng.uniform(size=(n, h, w, 3))
    t, c = tile(x, ncol, fill=np.nan), ncol or int(np.ceil(n**.5))
    for i in range(n): np.testing.assert_array_equal(t[i//c*(h+1):, i%c*(w+1):][:h, :w], x[i])
    assert np.isfinite(t).sum()==x.size

@pytest.mark.parametrize('kind', ['uint8', 'float32', 'tensor', 'grad'])
@pytest.mark.parametrize('shape', [(4, 5, 6), (4, 1, 5, 6), (4, 3, 5, 6), (4, 7, 5, 6)])
def test_any_images(kind, shape):
    x = (rng.uniform(size=shape)*255).astype('uint8')
    v = {'uint8': x, 'float32': x.astype('float32')/255, 'tensor': torch.tensor(x),
        'grad': torch.tensor(x/255., requires_grad=True)}[kind]
    before = v.copy() if isinstance(v, np.ndarray) else v.detach().clone()
    got = show_images(v, ncol=4).images[0].get_array()
    want = x/255 if x.ndim==3 else x[:, 0]/255 if shape[1]==1 else np.moveaxis(x/255, 1,
        -1) if shape[1]==3 else (x/255).mean(1)
    np.testing.assert_allclose(got[:, :6], want[0], atol=1e-6)
    assert (before==v).all()

def test_floats_out_of_range_are_clipped():
    a = show_images(np.array([[[-3., .5], [1., 7.]]])).images[0].get_array()
    assert a.min()==0 and a.max()==1

@pytest.mark.parametrize('shape', [(8, 1, 5, 5), (8, 3, 5, 5), (8, 16, 3, 5), (2, 1, 1, 1)])
def test_filters_share_a_symmetric_scale(shape):
    a, b = rng.normal(0, .1, shape), rng.normal(0, .5, shape)
    axs = show_filters(a, torch.tensor(b, requires_grad=True))
    plt.gcf().canvas.draw()
    ims = [ax.images[0] for ax in axs]
    if shape[1]==3:
        m = max(abs(a).max(), abs(b).max())
        np.testing.assert_allclose(ims[0].get_array()[:5, :5], .5+np.moveaxis(a[0], 0, -1)/m/2)
    else:
        m = max(abs(a[:, 0]).max(), abs(b[:, 0]).max())
        assert [im.get_clim() for im in ims]==[(-m, m)]*2
        np.testing.assert_array_equal(ims[0].get_array()[:shape[2], :shape[3]], a[0, 0])

def test_filters_alone_and_all_zero():
    assert len(show_filters(np.zeros((4, 1, 3, 3))))==1
    plt.gcf().canvas.draw()

def test_label_curve_draws_means_intervals_and_runs():
    df = trials(n=4)
    ax = label_curve(df, scale=1)
    lines = {l.get_label(): l for l in ax.lines if not l.get_label().startswith('_')}
    for a, l in lines.items():
        want = [interval(v) for _, v in df[df.arm==a].groupby('labels').value]
        np.testing.assert_allclose(l.get_ydata(), [m for m, *_ in want])
    lo = ax.collections[0].get_paths()[0].vertices[:, 1].min()
    assert np.isclose(lo,
        min(l for _, l, _ in [interval(v) for _, v in df[df.arm=='pretrained'].groupby('labels').value]))
    assert sum(len(l.get_xdata()) for l in ax.lines if l.get_label().startswith('_'))==len(df)

@pytest.mark.parametrize('n,sizes', [(1, (10, 100)), (3, (50,)), (1, (50,)), (2, range(10, 200, 10))])
def test_label_curve_of_few_runs_and_many_sizes(n, sizes):
    df = trials(n, sizes)
    df.loc[df.arm=='r2', 'value'] = np.nan
    ax = label_curve(df)
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_legend().get_texts()][-1]=='r2'

def test_forest_row_order_and_numbers():
    d = differences(trials())
    ax = forest(d, scale=100)
    assert len(ax.texts)==6 and ax.get_ylim()[0]>ax.get_ylim()[1]
    assert [t.get_text() for t in ax.get_yticklabels()][:2]==['10 labels vs r1', '10 labels vs r2']
    first = [100*d[c][0] for c in ('diff', 'low', 'high')]
    assert ax.texts[0].get_text()==' '.join(with_ends(*first)), 'digits of the verdict'
    styles = arm_styles(trials().arm)
    assert ax.lines[0].get_color()==styles['r1']['color'], 'controls look as in the label curve'

def test_bands_stay_inside_per_cents():
    "A control of which one run of five has learnt: its band does not reach below 0."
    df = trials(5, (10, 100)).assign(unit='%')
    df['value'] = np.where((df.arm=='r1') & (df.seed>0), 10., 95.+.1*df.seed)
    for kw in (dict(scale=1), dict(scale=1, bounds=(0, 100))):
        ends = np.concatenate([c.get_paths()[0].vertices[:, 1] for c in label_curve(df, **kw).collections])
        assert ends.min()>=0 and ends.max()<=100
    free = label_curve(df, scale=1, bounds=None).collections
    assert min(c.get_paths()[0].vertices[:, 1].min() for c in free)<0
    shares = label_curve(df.drop(columns="unit").assign(value=df.value/100), scale=100).collections
    assert min(c.get_paths()[0].vertices[:, 1].min() for c in shares)>=0

def test_an_arm_that_did_not_train_shows_no_help():
    d = differences(trials()).assign(chance_b=[0, 2, 0, 0, 0, 0], chance_a=[0, 0, 0, 0, 3, 3])
    ax = forest(d)
    marks = [l for l in ax.lines if len(l.get_xdata())==1 and l.get_label()!='_beyond']
    words = [t.get_text() for t in ax.texts]
    assert words[1]=='did not train' and words[4:]==['pretrained did not train']*2 and '[' in words[0]
    assert [m.get_markerfacecolor()=='none' for m in marks]==[False, True, False, False, True, True]

@pytest.mark.parametrize('classes', [None, list('abcd')])
def test_confusion_counts(classes):
    y, p = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    ax = confusion(torch.tensor(y), p, classes)
    want = confusion_matrix(y, p)
    assert {t.get_position(): int(t.get_text()) for t in ax.texts}=={(j, i): want[i, j] for i, j in np.argwhere(want)}

def test_a_class_that_never_occurs():
    confusion([0, 2], [0, 0], classes='xyz').figure.canvas.draw()

def test_curves_without_seeds():
    df = trials(1).drop(columns='seed')
    assert len(curves(df).lines)==3 and len(curves(df, seed=None).lines)==3

def test_wrong_shapes_say_which():
    with pytest.raises(ValueError, match=r'not \(2, 3\)'): show_images(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r'not \(2, 3\)'): show_filters(np.zeros((2, 3)))

@pytest.mark.parametrize('arms', ['abcdef', ['pretrained', *'abc', 'random', 'frozen_random'],
    ['random', 'random_default', 'random_matched', 'frozen_random']])
def test_palette_differs_for_the_colour_blind(arms):
    """Any two colours of a figure stay apart under full deuteranopia and protanopia (Machado et al. 2009), in linear
    RGB."""
    see = [np.eye(3),
        np.array([[.367322, .860646, -.227968], [.280085, .672501, .047413], [-.011820, .042940, .968881]]),
           np.array([[.152286, 1.052583, -.204868], [.114503, .786281, .099216], [-.003882, -.048116, 1.051998]])]
    cols = np.array([matplotlib.colors.to_rgb(s['color']) for s in arm_styles(arms).values()])**2.2
    for m in see:
        c = cols @ m.T
        assert min(np.linalg.norm(c[i]-c[j]) for i in range(len(c)) for j in range(i))>.1

# One look, a legend off the data

ARMS = 'pretrained', 'sparse', 'random', 'frozen_random', 'random_matched', 'SWWAE-all', 'SWWAE-first', 'SAE-layerwise'

def of_arms(arms, sizes=(10, 100, 1000), n=3):
    d = pd.MultiIndex.from_product([sizes, arms, range(n)], names=['labels', 'arm', 'seed']).to_frame(index=False)
    return d.assign(value=rng.uniform(50, 90, len(d)), subset=d.labels.astype(str)+'/'+d.seed.astype(str), valid=60.,
        step=d.labels,
        unit='%', metric='accuracy', better='higher',
        encoder=d.arm.where(d.arm.str.contains('SWWAE|pretrained'), 'random'))

def looks(ax):
    "Arm -> colour and marker of the legend"
    legend = ax.get_legend()
    return {t.get_text(): h.get_color() for t, h in zip(legend.get_texts(), legend.legend_handles)}

@pytest.mark.parametrize('draw', [label_curve, boxes, lambda d: curves(d, x='step')],
    ids=['label_curve', 'boxes', 'curves'])
def test_an_arm_keeps_its_look_and_its_place_among_others(draw):
    every = looks(draw(of_arms(ARMS[:5])))
    assert list(every)==['pretrained', 'sparse', 'random', 'random_matched', 'frozen_random'], 'trained, random, frozen'
    for few in (['random_matched', 'pretrained'], ['frozen_random', 'random']):
        found = looks(draw(of_arms(few)))
        assert found=={a: every[a] for a in found} and set(found)==set(few)

def test_arms_beyond_the_palette_still_have_a_look():
    sty = arm_styles([f'variant {i}' for i in range(20)]+['random', *(f'random_{i}' for i in range(9))])
    assert len(sty)==30 and len({tuple(s.values()) for s in sty.values()})>=12

@pytest.mark.parametrize('n', [2, 5, 8])
@pytest.mark.parametrize('draw', [label_curve, boxes, lambda d: curves(d, x='step')],
    ids=['label_curve', 'boxes', 'curves'])
def test_no_point_lies_under_the_legend(draw, n):
    ax = draw(of_arms(ARMS[:n]))
    ax.figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    points = np.concatenate([ax.transData.transform(np.c_[l.get_xdata(), l.get_ydata()])
        for l in ax.lines if len(l.get_xdata())])
    assert not any(box.contains(*p) for p in points[np.isfinite(points).all(1)])
    assert len(ax.get_legend().get_texts())==n

@pytest.mark.parametrize('sizes', [(50,), (10, 100, 1000), tuple(range(10, 500, 10))])
def test_ticks_stand_at_the_sizes_that_were_run_and_end_with_them(sizes):
    ax = label_curve(of_arms(ARMS[:3], sizes))
    ticks = ax.get_xticks()
    assert max(ticks)<=max(sizes)*1.1 and ax.get_xlabel()=='labelled images'
    if len(sizes)<=MANY: assert ticks.tolist()==list(sizes)

def test_a_huge_difference_does_not_squeeze_the_rest():
    d = differences(of_arms(ARMS[:3]).assign(value=lambda d: d.value/100))
    d.loc[d.control=='random', ['diff', 'low', 'high']] = [30., 24., 36.]
    ax = forest(d, unit='points')
    assert ax.get_xlim()[1]<3 and sum(l.get_label()=='_beyond' for l in ax.lines)>=3 and 'arrow' in ax.get_xlabel()
    assert any(t.get_text()=='+30 [24, 36]' for t in ax.texts)
    assert 'arrow' not in forest(d, span=(-40, 40)).get_xlabel()

# The answer

@pytest.mark.parametrize('sizes', [(50,), (10, 100, 1000), tuple(range(10, 200, 10))])
def test_the_answer_says_the_verdict_with_the_digits_of_the_headline(sizes):
    rows = of_arms(['pretrained', 'random', 'frozen_random'], sizes, 5)
    rows['value'] = rows.value/20 + 60 + 12*(rows.arm=='pretrained') - 20*(rows.arm=='frozen_random')
    v = verdict(differences(rows), unit='points')
    ax = against_best(v.best, v.unit)
    said = ' '.join(t.get_text() for t in ax.texts)
    assert 'helps' in said and 'random' in ax.get_title(loc='left')
    if len(sizes)==1: assert re.search(r'\(([+-]\S+) points', v.headline)[1]+' [' in said
    if len(sizes)>MANY: assert f'of {len(sizes)} sizes' in said.replace('\n', ' ')
    else: assert ax.get_ylim()[0]>ax.get_ylim()[1] and len(ax.get_yticks())==len(sizes)

def test_the_answer_about_a_dead_control_has_words_and_no_interval():
    rows = of_arms(['pretrained', 'random'], (10, 100)).assign(at_chance=lambda d: (d.arm=='random') & (d.labels==10))
    ax = against_best(verdict(differences(rows)).best)
    words = [t.get_text() for t in ax.texts]
    assert words[0]=='no verdict' and 'did not train' in words[1].replace('\n', ' ') and '[' in words[3]
