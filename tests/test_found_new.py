"What a newcomer found: a metric of another task, words that look like nothing, 16 bits among 8, axes and reports."
import numpy as np, pandas as pd, pytest
from PIL import Image
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.report import report
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.viz import forest
from aepretrain_nb.cli import main
from aepretrain_nb.data.given import label_words
from aepretrain_nb.data.own import read_own
from aepretrain_nb.data.parts import label_remarks
from aepretrain_nb.experiment.subgroups import subgroups_of

@pytest.fixture
def two(tmp_path):
    rng = np.random.default_rng(0)
    for i,c in enumerate(('cat', 'dog')):
        (tmp_path/'two'/c).mkdir(parents=True)
        for k in range(12):
            x = rng.integers(0, 60, (16, 16, 3)).astype(np.uint8)+120*np.uint8(i)
            Image.fromarray(x).save(tmp_path/'two'/c/f'{k}.png')
    return tmp_path/'two'

@pytest.mark.parametrize('more', [[], ['--dry-run']])
def test_a_metric_of_another_task_is_refused_before_any_work(two, tmp_path, capsys, more):
    line = ['compare', str(two), '--setting', 'smoke', '--labels', '10', '--seeds', '1', '--metric', 'miou']
    assert main([*line, '--out', str(tmp_path/'o'), *more])==2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "metric 'miou': two is scored by accuracy, error, balanced, f1, top5" in said and not (tmp_path/'o').exists()

def test_words_that_a_person_would_read_otherwise_are_remarked():
    said = label_remarks(pd.Series(['red', 'blue', 'red;blue', 'NA', '?', 'Red', None]))
    assert said[0].startswith("'NA', '?' is taken for a class")
    assert said[1]=="classes 'Red' and 'red' differ by capitals alone"
    assert said[2].startswith("classes such as 'red;blue' are made of others") and len(said)==3
    assert label_remarks(pd.Series(['red fox', 'blue whale', 'fox'])) == []

def test_they_stand_in_the_account(two):
    (two/'cat').rename(two/'NA')
    assert "'NA' is taken for a class" in read_own(two, cache=False).account.text()

def test_several_labels_in_an_array_say_where_to_go():
    with pytest.raises(ValueError, match=r'one for each image; for several each see the questions and answers'):
        label_words(np.zeros((5, 3)), 5)

@pytest.mark.parametrize('mixed,words', [(True, '12 images of 16 bits are brought to the 8 of the others'),
    (False, '16 bits, but no value above 4,')])
def test_16_bits_that_turn_dark_are_told(two, mixed, words):
    rng = np.random.default_rng(0)
    for c in ('cat',) if mixed else ('cat', 'dog'):
        for f in (two/c).glob('*.png'):
            Image.fromarray(rng.integers(0, 4080, (16, 16)).astype(np.uint16)).save(f.with_suffix('.tif'))
            f.unlink()
    assert any(words in o for o in read_own(two, cache=False).account.notes)

def scored(**cols):
    d = pd.MultiIndex.from_product([('pretrained', 'random'), [50], range(3)], names=['arm', 'labels', 'seed'])
    d = d.to_frame(index=False)
    return d.assign(value=60.+5*d.arm.eq('pretrained')+d.seed, chance=10., n_test=500, **cols)

def test_pairs_that_differ_by_the_same_have_a_reason_of_their_own():
    row = Results(scored()).verdict().table.iloc[0]
    assert row.words=='no verdict: all pairs differ by the same'

def test_one_seed_has_no_spread_on_screen():
    assert 'nan' not in Results(scored().query('seed==0')).text()

@pytest.mark.parametrize('metric,asked,title', [('miou', None, 'mean IoU'), ('balanced', None, 'balanced accuracy'),
    ('accuracy', 'error', 'error'), ('accuracy', 'balanced', 'accuracy')])
def test_curves_carry_the_score_that_validation_goes_by(metric, asked, title, tmp_path):
    rows = scored(metric=metric, unit='%', balanced=50.)
    curves = pd.DataFrame(dict(arm='pretrained', labels=50, seed=0, step=[1, 2], valid=[40., 50], train_loss=1.,
        valid_loss=1.))
    res = Results(rows, curves=curves, metric=asked)
    assert res.validated.title==title
    page = report(res, tmp_path/'r.html').read_text(encoding='utf-8')
    assert f'validation {res.validated.titled} along training' in page

def test_a_dead_difference_out_of_range_is_an_arrow():
    d = differences(scored(subset=[f'{s}' for s in [*range(3)]*2]).assign(
        value=lambda d: d.value+.01*d.seed*d.arm.eq('random')))
    far = pd.concat([d, d.assign(control='dead', diff=56., low=50., high=60., chance_b=3, n_b=3)], ignore_index=True)
    lines = forest(far).lines
    assert {o.get_marker() for o in lines if len(o.get_ydata())==1 and o.get_ydata()[0]==1}=={'>'}

def test_test_images_without_a_subgroup_are_told(two, tmp_path, capsys):
    splits = read_own(two, cache=False)
    t = splits.account.table
    names = t.name[t.part=='test'].tolist()
    assert subgroups_of(splits, dict.fromkeys(names[1:], 'a'))[0] is None
    assert f'1 of {len(names)} test images, such as {names[0]}, have no subgroup: left out' in capsys.readouterr().err

def test_new_images_of_another_light_are_told(two, tmp_path, capsys):
    out = tmp_path/'o'
    assert main(['compare', str(two), '--setting', 'smoke', '--labels', '10', '--seeds', '1', '--out', str(out)])==0
    x = np.random.default_rng(0).integers(0, 4080, (5, 16, 16, 3)).astype(np.uint16)//16
    np.save(tmp_path/'dark.npy', (x//20).astype(np.uint8))
    capsys.readouterr()
    def said(images):
        assert main(['predict', str(out), str(images), '-o', str(tmp_path/'p.csv')])==0
        return capsys.readouterr().err
    assert 'warning: the new images are much darker than those of training' in said(tmp_path/'dark.npy')
    assert 'darker' not in said(two)
