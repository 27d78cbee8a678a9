"The script that records the comparisons of the first page."
from pathlib import Path
import pytest
from aepretrain_nb.answers.results import Results

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
    assert {k: (o.told('recipe'), o.arms) for k,o in found.items()}==dict.fromkeys(asked, ('default', ['pretrained', 'random', 'frozen_random']))
    assert '--n-unlabelled 200' not in found['one'].told('command') and found['two'].rows.n_unlabelled.max()==200

def test_a_comparison_that_fails_is_the_last(front, tmp_path):
    assert front.record(tmp_path, [], dict(one='digits --setting none', two='digits'), tmp_path)==2
    assert not list(tmp_path.glob('*.csv'))
