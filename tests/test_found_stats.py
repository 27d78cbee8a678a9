"""What a statistician found: a control that was chosen by bad luck, margins beside a chosen control, draws of all the
images there are, test images that are few, a classifier that finds a rare class, runs that agree."""
import numpy as np, pandas as pd, pytest
from scipy.stats import norm
from aepretrain_nb.answers import differences as of_pairs
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.scores import stuck
from aepretrain_nb.answers.seeds import unplanned
from aepretrain_nb.answers.verdict import verdict

@pytest.fixture(autouse=True)
def no_permutations(monkeypatch): monkeypatch.setattr(of_pairs, 'permutation', lambda *a, **kw: np.nan)

def grids(n, means, n_valid, seed=0, seeds=5):
    "`n` comparisons at one size: arms with these true accuracies, all scored on the same few validation images"
    rng,rows = np.random.default_rng(seed),[]
    for r,s in np.ndindex(n, seeds):
        luck,shared = rng.normal(0, 2),rng.normal(size=n_valid)
        for arm,mean in means.items():
            value = mean+luck+rng.normal(0, 1)
            right = .8**.5*shared+.2**.5*rng.normal(size=n_valid)<norm.ppf(value/100)
            rows.append(dict(rep=r, labels=100, seed=s, arm=arm, value=value, valid=100*right.mean(),
                subset=f'{r}-{s}'))
    rows = pd.DataFrame(rows).assign(metric='accuracy', unit='%', chance=10., n_test=10_000)
    return rows.assign(encoder=rows.arm.where(rows.arm=='pretrained', 'random'))

def best(rows, **kw):
    each = differences(rows, by=['rep', 'labels']).groupby('rep')
    return pd.concat([verdict(d.drop(columns='rep'), unit='points', **kw).best for _,d in each], ignore_index=True)

def test_help_over_a_start_that_was_chosen_by_bad_luck_is_not_said():
    """Twenty validation images take the worse start in a fifth of all experiments; nominal is 2.5 %, standard error 1.3
    %"""
    found = best(grids(150, dict(pretrained=70, good=70, worse=67), n_valid=20))
    assert found.control.eq('worse').mean()>.1
    assert found.verdict.eq('helps').mean()<.065
    unbeaten = found[found.unbeaten.ne('') & found.low.gt(0)]
    assert len(unbeaten) and unbeaten.words.str.endswith('ahead of worse, but not shown to be ahead of good').all()

def test_help_over_all_starts_is_said_whichever_was_chosen():
    found = best(grids(40, dict(pretrained=76, good=70, worse=67), n_valid=20))
    assert found.verdict.eq('helps').mean()>.95 and {'good', 'worse'}==set(found.control)

def test_the_sentence_names_the_start_that_is_not_beaten():
    rows = grids(1, dict(pretrained=70, good=70, worse=60), n_valid=20).drop(columns='rep')
    rows['valid'] = rows.arm.map(dict(pretrained=70., good=60., worse=65.))
    said = verdict(differences(rows), unit='points').headline
    assert said.startswith('Bottom line: no difference shown against the best random start (worse, chosen on '
        'validation)')
    assert said.endswith('at 100 labels: ahead of it, but not shown to be ahead of good.')

def test_a_gain_at_the_margin_is_below_it_no_more_often_for_a_choice_of_controls():
    means = dict(pretrained=53) | {f'start_{i}': 50 for i in range(4)}
    rows = grids(150, means, n_valid=20, seeds=8).drop(columns='valid')
    found = best(rows, margin=3)
    assert found.rivals.eq(4).all()
    assert found.words.str.contains('by less than 3|equivalent').mean()<.05

def comparison(n_labels, pool=600, n_test=360, spread=.2):
    rng = np.random.default_rng(1)
    cells = pd.MultiIndex.from_product([('pretrained', 'random'), n_labels, range(5)], names=['arm', 'labels', 'seed'])
    d = cells.to_frame(index=False)
    d['value'] = 95+d.arm.eq('pretrained')+rng.normal(0, spread, len(d))
    return Results(d, about=dict(n_test=n_test, pool=pool, classes=10))

def test_draws_that_share_most_images_are_told():
    said = [w for w in comparison([100, 400, 600]).verdict().warnings if 'share most' in w]
    assert said==['at 400 and 600 labels runs share most of the 600 images with a label: intervals speak of these '
        'images, hardly of others']
    assert not any('share most' in w for w in comparison([100, 300]).verdict().warnings)

def test_few_test_images_are_told_where_seeds_agree():
    def said(**kw): return [w for w in comparison([100], **kw).verdict().warnings if 'test images are few' in w]
    assert len(said())==1 and 'by 1 points or so' in said()[0]
    assert 'by 10 points or so' in said(n_test=4)[0]
    assert said(spread=3.)==said(n_test=100_000)==[]

@pytest.mark.parametrize('chance,n,value,at', [(95., 200, 97.5, 0), (95., 200, 95., 1), (95., 200, 95.5, 1),
    (90., 100, 95., 0), (99.5, 200, 100., 0), (99.5, 200, 99.5, 1), (50., 100, 58., 1), (50., 100, 65., 0)])
def test_a_classifier_that_finds_a_rare_class_has_learnt(chance, n, value, at):
    rows = pd.DataFrame(dict(value=[value], chance=chance, n_test=n, metric='accuracy', unit='%'))
    assert stuck(rows).item()==at
    assert stuck(rows.assign(value=100-value, metric='error', better='lower')).item()==at

def test_the_luck_of_guesses_stays_in_scores_where_a_guess_is_as_good_as_a_constant():
    rows = pd.DataFrame(dict(value=[85., 92.], chance=500/6, n_test=100, metric='top5', unit='%'))
    assert stuck(rows).tolist()==[1, 0]

def test_a_control_that_no_seeds_were_planned_for_is_told():
    plan = dict(margin=1.5, sizes=[dict(labels=100, control='calm', needed=6, seeds=6)])
    row = pd.DataFrame(dict(labels=[100], control=['wild'], df=[5.], se=[1.]))
    assert unplanned(row, plan)==['seeds auto: at 100 labels seeds were planned for calm; against wild the interval is '
        '±2.6, not ±1.5']
    assert unplanned(row.assign(se=.5), plan)==unplanned(row.assign(control='calm'), plan)==unplanned(row, {})==[]

def test_the_call_of_the_first_page_says_what_the_report_says():
    rows = grids(1, dict(pretrained=71, masked=71.5, sparse=70, random=70), n_valid=200).drop(columns='rep')
    res = Results(rows.assign(encoder=rows.arm.where(rows.arm.ne('random'), 'random')), treatment='masked')
    assert res.verdict().headline==res.text().splitlines()[0]
    assert res.verdict().best.family.eq(3).all() and res.verdict(treatment='masked').best.family.eq(1).all()

def test_words_count_controls_only_where_they_were_counted():
    "Three sizes, a gain that Holm refuses: its p was not multiplied by the number of controls"
    rows = pd.concat([grids(1, dict(pretrained=70+g, good=70, worse=66), n_valid=500, seed=3).assign(labels=n)
        for n,g in ((100, 0), (200, 0), (300, 1.6))]).drop(columns='rep')
    rows['subset'] = rows.labels.astype(str)+rows.subset
    found = verdict(differences(rows), unit='points').best
    assert found.tries.where(found['diff']>0, 1).eq(1).all() and found.rivals.eq(2).all()
    assert not found.words[found['diff']>0].str.contains('controls').any()
