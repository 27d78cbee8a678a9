"The script that records the comparisons of the first page."
from pathlib import Path
import pandas as pd, pytest
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.rows import take_rows

@pytest.fixture
def front(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1]/'tools')
    import front
    return front

def test_a_table_for_each_comparison_in_the_default_recipe(front, tmp_path):
    asked = dict(one='digits --labels 50', two='digits --n-unlabelled 200 --labels 50')
    small = '--setting smoke --seeds 1 --set pretrain.steps=10 --set finetune.steps=10'.split()
    assert front.record(tmp_path, small, asked, tmp_path)==0
    found = {k: Results.read(tmp_path/f'{k}.csv') for k in asked}
    assert {k: (o.told('recipe'), o.arms) for k,o in found.items()}==dict.fromkeys(asked,
        ('default', ['pretrained', 'random', 'frozen_random']))
    assert '--n-unlabelled 200' not in found['one'].told('command') and found['two'].rows.n_unlabelled.max()==200

def test_the_third_comparison_takes_over_what_the_second_has(front, tmp_path):
    "Its own arms are added to rows that stay as they are, times and all"
    small = '--setting smoke --seeds 1 --set pretrain.steps=10 --set finetune.steps=10'.split()
    second,third = (front.ASKED[k].replace('cifar10', 'digits').replace('10000', '200').replace('2000', '50')
        for k in ('photographs', 'photographs_equal'))
    assert front.record(tmp_path, small, dict(photographs=f'{second} --labels 50', more=third), tmp_path)==0
    old,new = (pd.read_csv(tmp_path/f'{k}.csv').dropna(subset='key').drop_duplicates('key').set_index('key')
        for k in ('photographs', 'more'))
    assert set(old.index)<set(new.index)
    assert set(new.loc[new.index.difference(old.index), 'arm'])=={'pretrained_frozen', 'random_longer'}
    assert new.loc[old.index, 'seconds'].equals(old.seconds)

def test_the_fourth_adds_the_pretrained_start_with_longer_fits_alone(front, tmp_path):
    "Both starts and both lengths, of which all but one are there"
    small = '--setting smoke --seeds 1 --set pretrain.steps=10 --set finetune.steps=10'.split()
    names = 'photographs', 'photographs_equal', 'photographs_longer'
    first,*more = (front.ASKED[k].replace('cifar10', 'digits').replace('10000', '200').replace('2000', '50')
        for k in names)
    assert front.record(tmp_path, small, dict(zip(names, [f'{first} --labels 50', *more])), tmp_path)==0
    there,new = (pd.read_csv(tmp_path/f'{k}.csv').query("kind=='fit'").set_index('arm').key for k in names[1:])
    assert set(new.index)=={'pretrained', 'pretrained_longer', 'random', 'random_longer'}
    assert set(new[~new.isin(there)].index)=={'pretrained_longer'}

def test_a_comparison_that_fails_is_the_last(front, tmp_path):
    assert front.record(tmp_path, [], dict(one='digits --setting none', two='digits'), tmp_path)==2
    assert not list(tmp_path.glob('*.csv'))

def test_the_longer_part_of_the_map_takes_what_the_map_has(front, tmp_path):
    import map as maps
    small = '--setting smoke --labels 50 --seeds 1 --set pretrain.steps=10 --set finetune.steps=10'.split()
    for part in ('results', 'longer'): assert maps.record('digits', tmp_path/'store', small, part, tmp_path)==0
    first,longer = (Results.read(tmp_path/f'{k}.csv') for k in ('map_digits', 'map_digits_longer'))
    assert {'masked', 'masked_frozen', 'joint', 'random', 'random_longer', 'frozen_random'}<=set(first.arms)
    assert longer.arms==['pretrained', 'pretrained_longer', 'random', 'random_longer']
    def own(res, arm, *columns): return take_rows(res.rows, arm=arm)[['value', *columns]].values.tolist()
    assert own(first, 'masked')==own(longer, 'pretrained')
    for arm in ('random', 'random_longer'): assert own(first, arm, 'key', 'seconds')==own(longer, arm, 'key', 'seconds')
