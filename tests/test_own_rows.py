"Rows of one's own, with no more than an arm, a number of labels, a seed and a score, answer as recorded ones do."
import numpy as np, pandas as pd, pytest
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.rows import SEEDS, AnswerError

def rows(gain=5., seeds=5):
    rng,cells = np.random.default_rng(0),pd.MultiIndex.from_product([('pretrained', 'random'), (50, 100), range(seeds)])
    d = cells.set_names(['arm', 'labels', 'seed']).to_frame(index=False)
    return d.assign(value=70+gain*d.arm.eq('pretrained')+rng.normal(0, 1, len(d)))

def test_one_seed_says_what_three_and_a_subset_say():
    bare = rows()
    whole = bare.assign(**{c: bare.seed for c in SEEDS}, subset=bare.labels.astype(str)+'/'+bare.seed.astype(str))
    a,b = Results(bare),Results(whole.drop(columns='seed'))
    pd.testing.assert_frame_equal(a.verdict().table, b.verdict().table)
    assert a.text()==b.text() and 'helps' in a.text()

def test_a_file_of_them_is_read(tmp_path):
    rows().to_csv(tmp_path/'mine.csv', index=False)
    assert Results.read(tmp_path/'mine.csv').verdict().headline==Results(rows()).verdict().headline

def test_gains_have_the_treatment_where_no_row_tells_of_encoders():
    assert Results(rows()).gains()[['labels', 'treatment', 'control', 'verdict']].to_numpy().tolist()==[
        [n, 'pretrained', 'random', 'helps'] for n in (50, 100)]

@pytest.mark.parametrize('change,words', [
    (lambda d: d.drop(columns='seed'), "no column 'subset_seed' among the rows: give subset_seed, .* or one seed"),
    (lambda d: d.drop(columns='value'), "no column 'value' among the rows: arm, labels, value and a seed"),
    (lambda d: d.assign(value=d.value/100), 'no value is above 1: accuracy is told in %, so give 100 times the shares'),
    (lambda d: d.assign(value=d.value+60), 'a value is 1.*, but accuracy lies between 0 and 100'),
    (lambda d: d.assign(value=-1.), 'a value is -1, but accuracy lies between 0 and 100')])
def test_what_cannot_be_is_one_line(change, words):
    with pytest.raises(AnswerError, match=words) as e: Results(change(rows())).verdict()
    assert '\n' not in str(e.value)

def test_shares_of_one_per_cent_of_a_thousand_classes_are_no_shares():
    few = rows().assign(value=.2, chance=.1)
    assert Results(few).rows.value.eq(.2).all()
