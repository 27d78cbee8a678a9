"What has finished in another folder serves where its key is the same: autoencoders, rates that were tried, and fits."
import pytest
from aepretrain_nb.compare import compare
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.recipe import find_recipe

SOUGHT = dict(lr=[.003, .01, .3], seek='outward', first_lr=.01, tune='each', steps=10, evals=1)
ASKED = dict(data='digits', labels=50, seeds=2, progress=False)

def recipe(**kw): return find_recipe('default', 'smoke', 'digits', finetune=SOUGHT, **kw)

@pytest.fixture(scope='module')
def first(tmp_path_factory):
    return compare(**ASKED, recipe=recipe(), store=tmp_path_factory.mktemp('a')/'first')

def finished(store): return {f.name for f in (store.path/'steps').glob('*.json')}

def test_more_arms_cost_those_arms_only(first, tmp_path, capsys):
    "With all controls in a new folder, what the first one has is told and not run again: it is as it was, to the byte"
    asked = ASKED | dict(recipe=recipe(controls='all'), reuse=[first.store.path])
    new = {'pretrained_frozen', 'random_longer'}
    cost = compare(**asked, store=tmp_path/'s', dry_run=True)
    assert set(cost.table.arm)==new and not cost.count('autoencoder')
    assert not (tmp_path/'s').exists()
    more = compare(**asked | dict(progress=True), store=tmp_path/'s')
    assert new<set(more.rows.arm)
    ran = [l for l in capsys.readouterr().err.splitlines() if l.startswith('[')]
    assert ran and all(any(f'{a}, 50 labels' in l for a in new) for l in ran)
    assert finished(first.store)<finished(more.store)
    for name in finished(first.store):
        old,now = ((s.path/'steps'/name).read_bytes() for s in (first.store, more.store))
        assert old==now
    assert 'reused' in (more.store.path/'log.txt').read_text()

def test_the_rows_of_both_agree(first, tmp_path):
    again = compare(**ASKED, recipe=recipe(), store=tmp_path/'s', reuse=[first.store.path])
    assert again.rows.equals(first.rows) and again.text()==first.text()

def test_kept_classifiers_come_along(first, tmp_path):
    again = compare(**ASKED, recipe=recipe(), store=tmp_path/'s', reuse=[first.store.path])
    assert [o.key for o,*_ in again.store.kept()]==[o.key for o,*_ in first.store.kept()]!=[]
    none = compare(**ASKED, recipe=recipe(), store=tmp_path/'none', reuse=[first.store.path], keep='none')
    assert not none.store.kept() and none.rows.equals(first.rows)

def test_another_protocol_takes_nothing_over(first, tmp_path):
    other = recipe(images=dict(norm=[.5, .5]))
    alone,beside = (compare(**ASKED, recipe=other, dry_run=True, reuse=o) for o in ([], [first.store.path]))
    assert alone.count('autoencoder')==beside.count('autoencoder')==2 and alone.count('fit')==beside.count('fit')

def test_a_folder_without_a_grid_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(ExperimentError, match='holds no experiment'):
        compare(**ASKED, recipe=recipe(), store=tmp_path/'s', reuse=[tmp_path])
    assert not (tmp_path/'s').exists()
