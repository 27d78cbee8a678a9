"""Results from tables: the same numbers whatever they were read from, scores of every direction and unit, and what is
refused."""
import json
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.rows import AnswerError, SEEDS, pair_of, recorded, take_rows
from aepretrain_nb.answers.saved import read_csv
from aepretrain_nb.answers.scores import METRICS, at_chance, bounds_of, metric_of, stuck, widest
from aepretrain_nb.train.scores import SCORES

@pytest.fixture(autouse=True)
def close():
    yield
    plt.close('all')

ARMS = dict(pretrained=88., random=84., random_small=83.)

def made(means=ARMS, sizes=(100, 1000), seeds=5, sd=.5, of=0):
    "A grid of runs whose subsets differ by more than the arms do"
    rng = np.random.default_rng(of)
    d = pd.MultiIndex.from_product([sizes, range(seeds), means],
        names=['labels', 'head_seed', 'arm']).to_frame(index=False)
    luck = d.labels.astype(str)+'/'+d.head_seed.astype(str)
    shift = luck.map({k: rng.normal(0, 2) for k in luck.unique()})
    value = (d.arm.map(means) + shift + rng.normal(0, sd, len(d))).round(3)
    seeds = {c: d.head_seed for c in ('subset_seed', 'encoder_seed')}
    return d.assign(**seeds, value=value, valid=value+1, subset=luck, data='toy', metric='accuracy', unit='%',
        chance=10., n_test=500,
        encoder=d.arm.where(d.arm=='pretrained', 'random'), revision='1')

def curve(arm, ys, labels=100): return pd.DataFrame(dict(arm=arm, labels=labels, seed=0, step=range(len(ys)), valid=ys))

def known():
    "Results with everything that a grid gives"
    rows = made()
    lost = rows.tail(1)[['arm', 'labels', *SEEDS]].assign(reason='TrialFailed: the loss became nan')
    encoders = pd.DataFrame(dict(arm='pretrained', encoder_seed=range(5), lr=.1, opt='adam', mse=[.02]*5,
        mean_image=.06, pca=.01,
        curve='5 4 3 2 1', key=list('abcde'), seconds=3.))
    rng = np.random.default_rng(1)
    arrays = lambda n: dict(images=rng.random((n, 1, 8, 8)), outputs=rng.random((n, 1, 8, 8)),
        before=np.ones((4, 1, 3, 3)), after=None)
    about = dict(data='toy', n_test=500, setting='smoke', valid='test', classes=10,
        arms={a: dict(encoder='x') for a in ARMS}, labels=[1000, 100])
    curves = pd.concat([curve('pretrained', [50, 80, 84, 85, 85.1]), curve('random', [40, 60, 70, 75, 79])])
    return Results(rows.iloc[:-1], lost, curves, encoders, about=about, odd=['2 of 42 images twice'], pictures=arrays,
        margin=3.)

# One table, three ways to it

def test_a_folder_gives_back_what_was_saved(tmp_path):
    res = known()
    names = res.save(tmp_path)
    again = Results.read(tmp_path)
    assert {'results.csv', 'missing.csv', 'curves.csv', 'encoders.csv', 'label_curve.png', 'pretraining.png',
        'about.json'}<=set(names)
    assert again.text()==res.text() and again.warnings==res.warnings and again.margin==3.
    pd.testing.assert_frame_equal(again.cells, res.cells)
    pd.testing.assert_frame_equal(again.differences(), res.differences())
    pd.testing.assert_frame_equal(again.rising(), res.rising())
    assert again.pretraining(3) is not None and json.loads((tmp_path/'about.json').read_text())['about']['n_test']==500

def test_saving_twice_gives_the_same_bytes_and_removes_what_is_gone(tmp_path):
    known().save(tmp_path)
    first = {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.suffix in ('.csv', '.json')}
    known().save(tmp_path)
    assert first=={f.name: f.read_bytes() for f in tmp_path.iterdir() if f.suffix in ('.csv', '.json')}
    Results(made()).save(tmp_path)
    assert not (tmp_path/'missing.csv').exists() and not (tmp_path/'curves.csv').exists()

def test_recorded_rows_give_what_pandas_by_hand_gives():
    res = Results.read('kohlbrenner', data='mnist', reading='fair', setting='quick',
        arms=['pretrained', 'random_paper'])
    d = recorded('kohlbrenner')
    d = d[(d.kind=='fit') & (d.data=='mnist') & (d.reading=='fair') & (d.setting=='quick') & d.arm.isin(res.arms)]
    by = d.groupby(['labels', 'arm']).value.agg(['count', 'mean', 'std'])
    cells = res.cells.set_index(['labels', 'arm']).sort_index()
    np.testing.assert_allclose(cells[['n', 'mean', 'sd']], by.sort_index())
    want = differences(d, 'pretrained', pair=('subset_seed', 'head_seed'))
    np.testing.assert_allclose(res.differences()[['diff', 'low', 'high', 'p']], want[['diff', 'low', 'high', 'p']])
    assert set(res.curves.arm)<=set(res.arms) and set(res.encoders.arm)=={'pretrained'}
    assert set(res.encoders.kind)=={'encoder'}
    assert list(res.label_curve().get_legend_handles_labels()[1])

def test_arms_keep_the_order_that_was_asked_for():
    arms = ['random_paper', 'pretrained']
    res = Results.read('kohlbrenner', data='mnist', reading='fair', setting='quick', arms=arms,
        treatment='random_paper')
    assert res.arms==arms and res.treatment=='random_paper' and set(res.differences().control)=={'pretrained'}

def test_cells_that_nobody_asked_for_are_no_missing_runs():
    rows = made()
    res = Results(rows[~((rows.arm=='random_small') & (rows.labels==1000))])
    assert list(zip(res.differences().labels, res.differences().control))==[(100, 'random'), (100, 'random_small'),
        (1000, 'random')]
    assert not any('missing' in w for w in res.verdict().warnings)

@pytest.mark.parametrize('kw,match',
    [(dict(reading='fair'), "several values of 'data': cifar10, mnist: choose one, as data='cifar10'"),
    (dict(data='mnst'), "no rows with data = 'mnst'; did you mean 'mnist'"),
    (dict(datum='mnist'), "no column 'datum'.*did you mean 'data'"),
    (dict(data='mnist', reading='fair', arms=['pretraned']), "did you mean 'pretrained'"),
    (dict(data='mnist', reading='fair', metric='acuracy'), "did you mean 'accuracy'"),
    (dict(data='mnist', reading='fair', metric='miou'), 'no row carries its mean IoU'),
    (dict(data='mnist', reading='fair', treatment='pretraned'), "did you mean 'pretrained'")])
def test_wrong_questions_end_in_one_line(kw, match):
    with pytest.raises(AnswerError, match=match) as e: Results.read('kohlbrenner', **kw)
    assert '\n' not in str(e.value)

def test_a_place_without_results_is_named(tmp_path):
    with pytest.raises(AnswerError, match='holds no results'): Results.read(tmp_path)
    with pytest.raises(AnswerError, match='is not there'): Results.read(tmp_path/'x.csv')
    with pytest.raises(AnswerError, match='is not there'): read_csv(tmp_path/'x.csv')

# What is told of them

def test_error_is_what_accuracy_leaves():
    res, rows = known(), made()
    err = Results(res.rows.drop(columns='at_chance'), res.missing, res.curves, metric='error')
    assert (100-err.rows.value).round(3).tolist()==rows.value[:-1].tolist()
    assert (100-err.curves.valid).round(6).tolist()==res.curves.valid.tolist()
    assert err.differences()['diff'].round(6).tolist()==(-res.differences()['diff']).round(6).tolist()
    assert err.verdict().table.verdict.tolist()==res.verdict(None).table.verdict.tolist()
    assert err.rising().arm.tolist()==res.rising().arm.tolist()==['random']

@pytest.mark.parametrize('name', ['nats', 'mse'])
def test_lower_is_better_where_the_rows_say_so(name):
    """The same runs told as a loss in its own unit: helps means that it fell, the headline has no points, rising is a
    fall"""
    unit = METRICS[name].unit
    rows = made().assign(metric=name, unit=unit, better='lower', chance=2.3)
    rows = rows.assign(value=4-rows.value/25, valid=4-rows.valid/25)
    falling = pd.concat([curve('pretrained', [2., 1.1, 1., .99, .99]), curve('random', [2., 1.6, 1.4, 1.2, 1.])])
    res = Results(rows, curves=falling)
    v = res.verdict()
    assert set(v.table.verdict)=={'helps'} and (v.table['diff']<0).all() and v.lower and v.unit==unit
    assert 'helps' in v.headline and unit in v.headline and 'points' not in v.headline and 'lower is better' in str(v)
    assert v.best.control.tolist()==['random', 'random'], 'the best control has the lowest validation loss'
    assert res.rising().arm.tolist()==['random']
    assert f'last fifth of a fit ({unit}): random 0.2 at 100 labels' in ' '.join(res.warnings)
    assert res.text().split('\n')[2].startswith(f'{METRICS[name].title} ({unit})')

@pytest.mark.parametrize('recipe, arm, asks',
    [('default', 'random', True), ('default', 'random_longer', False), ('segment', 'random', False)])
def test_fits_that_still_gained_are_one_line_and_name_what_asks_further(recipe, arm, asks):
    """All cells in one line, steepest or not; the question is the default recipe's, and is not asked of who has the
    answer"""
    rising = pd.concat([curve(a, [40, 60, 70, 75, top], n) for n in (100, 1000)
        for a,top in (('pretrained', 79), (arm, 77))])
    line, = [w for w in Results(made(dict(pretrained=80., **{arm: 79.})).assign(recipe=recipe), curves=rising).warnings
        if 'last fifth' in w]
    assert f'pretrained 4.0 at 100, 4.0 at 1000 labels; {arm} 2.0 at 100, 2.0 at 1000 labels' in line
    assert ('--set controls=longer' in line)==asks

def test_a_frozen_arm_alone_asks_for_no_further_steps():
    "The arms with longer fits are those that learn as a whole"
    rising = curve('frozen_random', [40, 60, 70, 75, 79])
    line, = [w for w in Results(made(ARMS | dict(frozen_random=60.)).assign(recipe='default'), curves=rising).warnings
        if 'last fifth' in w]
    assert 'frozen_random 4.0 at 100 labels' in line and 'controls=longer' not in line

MORE = ARMS | dict(frozen_random=60., variant_1=85., variant_2=86., variant_3=87., variant_4=88.5)

@pytest.mark.parametrize('n', [2, 3, 8])
@pytest.mark.parametrize('sizes', [(100,), (100, 1000, 5000), tuple(range(100, 1600, 100))])
@pytest.mark.parametrize('stacked', [False, True])
def test_the_answer_in_one_picture(n, sizes, stacked):
    rows = made(dict(list(MORE.items())[:n]), sizes, 3).assign(metric='miou', chance=8.)
    fig = Results(rows).answer_figure(stacked)
    left, right = fig.axes
    fig.canvas.draw()
    assert left.get_ylabel()=='test mean IoU (%)' and len(left.get_legend().get_texts())==n
    assert right.texts and 'points' in right.get_xlabel()+right.get_ylabel()
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    assert not boxes[0].overlaps(boxes[1]), 'no panel writes into the other'

def test_an_answer_needs_two_arms_for_its_right_half():
    assert len(Results(made(dict(pretrained=88.))).answer_figure().axes)==1
    with pytest.raises(AnswerError, match='nothing to draw'): Results(pd.DataFrame()).answer_figure()

def test_mean_iou_is_told_as_such():
    rows = made().assign(metric='miou', better='higher', chance=8.)
    res = Results(rows.assign(value=rows.value.where(rows.arm!='random_small', 7.)))
    assert 'mean IoU (%) on' in res.text() and 'random_small did not train (5 of 5 runs at chance)' in res.text()
    assert res.label_curve().get_ylabel()=='test mean IoU (%)' and res.differences().high.max()<=100

@pytest.mark.parametrize('metric', ['miou', 'pixel'])
@pytest.mark.parametrize('n_test', [1, 5, 233])
def test_few_test_masks_make_no_trained_net_one_at_chance(metric, n_test):
    "A case of the guide: 86.5 % where one constant mask has 44.5, on five images, was no verdict"
    rows = made().assign(metric=metric, chance=44.5, n_test=n_test).drop(columns='better', errors='ignore')
    assert 'did not train' not in Results(rows).text()
    assert 'random_small did not train' in Results(rows.assign(
        value=rows.value.where(rows.arm!='random_small', 44.5))).text()

def test_a_score_that_no_table_knows_is_told_by_its_rows():
    rows = made().assign(metric='depth_error', unit='m', better='lower', value=lambda d: 10-d.value/10)
    res = Results(rows.drop(columns=['chance', 'n_test']))
    assert res.score.title=='depth error' and res.verdict().unit=='m' and set(res.verdict().table.verdict)=={'helps'}

@pytest.mark.parametrize('chosen,said',
    [((.1, .1, .1, .01, .01), '3 of 5 runs'), ((.1, .1, .01, .01, .01), None), ((.01,)*5, None)])
def test_a_rate_at_an_end_of_its_list_is_warned_of(chosen, said):
    "Where most fits of a cell chose it"
    rows = made(sizes=[100]).assign(lrs='0.001 0.01 0.1', lr=.01)
    rows.loc[rows.arm=='random', 'lr'] = chosen
    warned = [w for w in Results(rows).warnings if 'at an end' in w]
    assert len(warned)==bool(said) and all(f'random at 100 labels in {said}' in w for w in warned)

def test_the_best_of_classes_that_were_never_named_is_a_constant_answer():
    counts = [[[50, 0], [5, 0]]]*30
    records = [dict(curve=[80., 90., 88.], confusion=c) for c in counts]
    res = Results(made(), records=records, about=dict(classes=2))
    assert set(res.rows.fall)=={2.} and set(res.rows.never)=={1}
    assert sum('takes all test images for one class in 5 of 5 runs' in w for w in res.warnings)==6
    read = Results(res.rows, about=dict(classes=2))
    assert [w for w in read.warnings if 'constant' in w]==[w for w in res.warnings if 'constant' in w]

def test_a_planned_grid_keeps_its_interval_and_says_what_was_not_reached():
    sizes = [dict(labels=n, needed=9, seeds=5) for n in (100, 1000)]
    plan = dict(pilot=3, margin=2., most=5, treatment='random', sizes=sizes)
    res = Results(made(), plan=plan)
    assert set(res.differences().test)=={'two-stage t'} and (res.treatment, res.margin)==('random', 2.)
    assert sum('seeds auto ended at 5' in w for w in res.warnings)==2

def test_nothing_has_finished_yet():
    gone = made().head(3)[['arm', 'labels', *SEEDS]].assign(reason='not run')
    res = Results(pd.DataFrame(), gone)
    assert res.text().startswith('nothing has finished yet') and 'not run' in res.text() and len(res.cells)==3
    assert res.verdict().headline=='Bottom line: nothing to compare.' and res.rising().empty

# Scores

def test_the_scores_of_the_tasks_are_known_by_the_same_name_unit_direction_and_bounds():
    known = {k: (m.title, m.unit, m.better, tuple(map(float, m.bounds))) for k, m in METRICS.items()}
    assert known=={k: (s.title, s.unit, s.better, tuple(map(float, s.bounds))) for k, s in SCORES.items()}

def test_rows_of_several_scores_are_not_guessed():
    both = pd.concat([made(), made().assign(metric='nats', unit='nats')])
    with pytest.raises(AnswerError, match='accuracy, nats: choose one'): metric_of(both)

def test_bounds_hold_only_where_the_values_keep_them():
    assert bounds_of(made())==(0, 100) and bounds_of(made().assign(value=101.)) is None
    assert bounds_of(made().assign(metric='nats', unit='nats')) is None
    assert bounds_of(made().drop(columns=['metric', 'unit'])) is None
    assert (widest('points'), widest('nats'))==(100, np.inf)

@pytest.mark.parametrize('better,value,dead',
    [('higher', 8., True), ('higher', 8.1, False), ('lower', 8., True), ('lower', 7.9, False)])
def test_chance_of_other_scores_is_that_of_the_best_constant_answer(better, value, dead):
    d = pd.DataFrame(dict(metric='other', value=[value], chance=8., better=better))
    assert stuck(d).tolist()==[float(dead)] and stuck(d.drop(columns='better')).isna().all()

def test_an_accuracy_is_given_its_luck():
    rows = pd.DataFrame(dict(metric='accuracy', value=[11.4, 13.], chance=10., n_test=1000, better='higher'))
    assert stuck(rows).tolist()==[1, 0]==at_chance(rows.value, 10., 1000).astype(float).tolist()

# Rows

def test_pairs_of_crossed_seeds_have_the_encoder_in_their_name():
    rows = made()
    crossed = pd.concat([rows, rows.assign(encoder_seed=rows.encoder_seed+9)])
    assert pair_of(rows)==('subset_seed', 'head_seed') and pair_of(crossed)==SEEDS

def test_whole_numbers_are_named_whole():
    rows = made().assign(labels=lambda d: d.labels.astype(float))
    with pytest.raises(AnswerError, match='no rows with labels = 50. There are: 100, 1000$'): take_rows(rows, labels=50)
    assert len(take_rows(rows, labels=[100], arm='random'))==5

# Files that were edited, cut or exchanged

def replaced(f, old, new): f.write_text(f.read_text().replace(old, new, 1))
def column(f, name): pd.read_csv(f).drop(columns=name).to_csv(f, index=False)

@pytest.mark.parametrize('name,edit', [
    ('results.csv', lambda f: f.write_bytes(b'')), ('results.csv', lambda f: f.write_bytes(b'\xff\xfe\0\0')),
    ('results.csv', lambda f: replaced(f, ',pretrained,', ',,')), ('results.csv', lambda f: column(f, 'encoder_seed')),
    ('results.csv', lambda f: pd.read_csv(f).assign(value='x').to_csv(f, index=False)),
    ('results.csv', lambda f: pd.read_csv(f).assign(labels=-1).to_csv(f, index=False)),
    ('results.csv', lambda f: pd.read_csv(f).assign(value=1e300).to_csv(f, index=False)),
    ('results.csv', lambda f: f.write_text(f.read_text().partition('\n')[0])),
    ('results.csv', lambda f: replaced(f, ',accuracy,', ',error,')), ('curves.csv', lambda f: column(f, 'valid')),
    ('encoders.csv', lambda f: column(f, 'arm')),
    ('encoders.csv', lambda f: f.write_text(2*f.read_text())), ('missing.csv', lambda f: column(f, 'reason')),
    ('results.csv', lambda f: pd.concat([pd.read_csv(f)]*2).to_csv(f, index=False)),
    ('about.json', lambda f: f.write_text('{')), ('about.json', lambda f: f.write_text('[1]')),
    ('about.json', lambda f: f.write_text('{"format": 3}')),
    ('about.json', lambda f: replaced(f, '"setting": "smoke"', '"setting": "quick"')),
    ('pictures.npz', lambda f: f.write_bytes(f.read_bytes()[:99])),
    ('pictures.npz', lambda f: np.savez(f, images=np.zeros(3), outputs=np.zeros(3))),
    ('pictures.npz', lambda f: np.savez(f, images=np.array([None, {}], dtype=object))),
    ('pictures.npz', lambda f: np.savez(f, images=np.zeros((1, 1, 2, 2))))])
def test_what_was_edited_is_named(tmp_path, name, edit):
    known().save(tmp_path)
    edit(tmp_path/name)
    with pytest.raises(AnswerError, match=name): Results.read(tmp_path)

def test_without_rows_there_is_nothing_to_draw(tmp_path):
    known().save(tmp_path)
    (tmp_path/'results.csv').unlink()
    res = Results.read(tmp_path)
    assert 'nothing has finished yet' in res.text()
    with pytest.raises(AnswerError, match='nothing to draw'): res.label_curve()

def test_what_an_earlier_version_wrote_is_read(tmp_path):
    known().save(tmp_path)
    f = tmp_path/'about.json'
    said = json.loads(f.read_text())
    f.write_text(json.dumps({k: v for k,v in said.items() if k!='sha'}))
    assert Results.read(tmp_path).told('setting')=='smoke'
