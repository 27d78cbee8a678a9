"Comparisons beside each other say what each of them says alone."
import pandas as pd, pytest
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.rows import AnswerError
from aepretrain_nb.answers.several import each, side_by_side, summary

ARMS = ['random_paper', 'pretrained']
ORDER = dict(data=['mnist', 'cifar10'], reading=['fair', 'as_written'])
@pytest.fixture(scope='module')
def grids(): return each('kohlbrenner', ('data', 'reading'), arms=ARMS, **ORDER)

def test_order(grids):
    assert [*grids]==[('mnist', 'fair'), ('mnist', 'as_written'), ('cifar10', 'fair'), ('cifar10', 'as_written')]
    for r in grids.values():
        assert r.arms==ARMS and r.cells.arm.tolist()==2*ARMS and r.cells.labels.is_monotonic_increasing
        assert [*dict.fromkeys(r.curves.arm)]==ARMS

def test_as_alone(grids):
    alone = Results.read('kohlbrenner', data='mnist', reading='fair', arms=ARMS)
    pd.testing.assert_frame_equal(grids['mnist', 'fair'].differences('pretrained'), alone.differences('pretrained'))
    t = side_by_side(grids, ('data', 'reading'), lambda r: r.cells)
    assert [*t.columns[:4]]==['data', 'reading', 'labels', 'arm']
    assert t.n.sum()==sum(len(r.rows) for r in grids.values())
    own = t[t.data.eq('mnist') & t.reading.eq('fair')].drop(columns=['data', 'reading']).reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone.cells)

def test_one_column():
    found = each('barletta', 'data', reading='fair', arms=['plain', 'sparse_fashion'])
    assert set(found)=={'mnist', 'fashion_mnist', 'cifar10'} and found['cifar10'].arms==['plain']
    assert side_by_side(found, 'data', lambda r: r.cells).columns[0]=='data'

def test_summary(grids):
    res = grids['mnist', 'fair']
    t = summary(res, most=('value', 'max'))
    assert t[res.cells.columns].equals(res.cells) and (t.most>=t['mean']).all()

@pytest.mark.parametrize('which', [dict(reading='fairly'), dict(colour='red'), dict(arms=['plane'])])
def test_what_is_not_there(which):
    with pytest.raises(AnswerError): each('kohlbrenner', 'data', **which)

def test_summary_of_encoders(grids):
    res = grids['mnist', 'fair']
    t = summary(res, dict(autoencoders=('mse', 'size'), mse=('mse', 'mean')), most=('value', 'max'))
    assert t[res.cells.columns].equals(res.cells) and t.mse.notna().tolist()==t.arm.eq('pretrained').tolist()
    own = res.encoders[res.encoders.arm=='pretrained'].mse
    assert t.mse.dropna().round(12).unique().tolist()==[round(own.mean(), 12)]
    assert {*t.autoencoders.dropna()}=={len(own)}
    bare = Results(res.rows, about=res.about)
    pd.testing.assert_frame_equal(summary(bare, dict(mse=('mse', 'mean'))), bare.cells)
