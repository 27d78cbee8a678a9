"Every kind of torture at its smallest, and a harness that notices when a promise is broken; all of it: make torture."
import importlib.util, json, os, random
from functools import partial
from pathlib import Path
import pandas as pd, pytest
import torture
from torture import Kind, edits, fuzz, grid, kinds, races
from torture.child import Child, without_pictures

ROOT = Path(__file__).resolve().parents[1]

@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('tools_torture', ROOT/'tools'/'torture.py')
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod

@pytest.fixture
def small(monkeypatch, no_pictures):
    "One grid of four fits and two autoencoders, fewer cases, no pictures."
    for name in ('frozen', 'rates'): monkeypatch.delitem(grid.GRIDS, name)
    for name in ('auto', 'frozen', 'own'): monkeypatch.delitem(edits.CALLS, name)
    few = '--setting smoke --labels 50 --seeds 2 --arms pretrained,random_default'
    monkeypatch.setattr(grid, 'USUAL', f'compare digits --recipe kohlbrenner {few}'.split())
    monkeypatch.setattr(races, 'ADOPTIONS', 5)
    monkeypatch.setattr(torture.determinism, 'WAYS', [torture.determinism.order])

FEWER = dict(edits=partial(edits.trial, edits=2), fuzz=partial(fuzz.trial, cases=30))

@pytest.mark.parametrize('name', list(kinds()))
def test_a_kind_tries_something_and_nothing_fails(tool, small, name):
    kind = kinds()[name]
    o = tool.attempt(Kind(name, kind.says, FEWER.get(name, kind.trial)), 0, seed=1)
    assert o['tried']>0 and o['failed']==[]

# The judge is judged

def test_both_recipes_in_one_folder_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(races, 'ADOPTIONS', 3)
    monkeypatch.setattr(races.Store, 'adopt', lambda *args: None)
    assert races.adoptions(tmp_path)==['a folder took both recipes']*3

def test_an_edit_that_is_believed_is_noticed(tmp_path, small, monkeypatch):
    def better(rng, out):
        f = out/'steps'/f'{pd.read_csv(out/"results.csv").key[0]}.json'
        record = json.loads(f.read_text())
        record['row']['value'] += 1
        f.write_text(json.dumps(record))
        return f,'better'
    monkeypatch.setattr(edits, 'edited', better)
    assert edits.trial(random.Random(0), tmp_path, edits=1)==(1, [])
    monkeypatch.setattr('aepretrain_nb.experiment.records.check_seal', lambda *args: None)
    _,(failed,) = edits.trial(random.Random(0), tmp_path, edits=1)
    assert 'better: compare: the rows are others' in failed

def test_halves_of_files_are_noticed(tmp_path):
    (tmp_path/'steps').mkdir()
    assert grid.unclean(tmp_path)==[]
    (tmp_path/'steps'/'a.json').write_text('{"row": ')
    (tmp_path/'steps'/'.b.json').write_text('{')
    assert grid.unclean(tmp_path)==['.b.json is left over', 'a.json is half written']

@pytest.mark.parametrize('main,what', [
    (lambda argv: 1/0, 'ZeroDivisionError in '), (lambda argv: 3, 'exit code 3'),
    (lambda argv: 2, 'exit code 2 in 0 lines'),
    (lambda argv: Path('left.txt').write_text('') and 0 or 2, 'exit code 2 in 0 lines'),
    (lambda argv: Path('../../outside.txt').write_text('') or 0, 'outside.txt was written'),
    (lambda argv: print('aepretrain: no', file=__import__('sys').stderr) or Path('left.txt').write_text('') or 2,
    'refused, but left.txt was written')])
def test_a_bad_answer_is_noticed(tmp_path, monkeypatch, main, what):
    own = tmp_path/'house'
    own.mkdir()
    fuzz.furnish(own)
    monkeypatch.setattr('aepretrain_nb.cli.main', main)
    def run():
        judge = fuzz.Judge(own)
        judge(['settings'])
        print(json.dumps([words for *_,words in judge.found.values()]))
        return 0
    c = Child(run, tmp_path)
    assert c.wait()==0, c.err()
    (said,) = json.loads(c.file('out').read_text())
    assert what in said

def test_what_is_noted_is_not_tried_again(tool, tmp_path, monkeypatch, capsys):
    tries = []
    def trial(rng, folder):
        tries.append(rng.random())
        return 2,['broken'] if len(tries)==2 else []
    monkeypatch.setattr('torture.child.warm', lambda: None)
    monkeypatch.setattr(torture, 'kinds', lambda: dict(toy=Kind('toy', 'nothing', trial)))
    words = ['--notes', str(tmp_path/'notes'), '--out', str(tmp_path/'table.csv')]
    assert tool.main(['2', *words])==1 and tool.main(['3', *words])==1 and len(tries)==3
    assert '--only toy:1' in capsys.readouterr().out
    (row,) = pd.read_csv(tmp_path/'table.csv').to_dict('records')
    assert (row['kind'], row['tried'], row['failed'], row['n'])==('toy', 6, 1, 3)
    tool.main(['--only', 'toy:0'])
    assert tries[3]==tries[0] # the same moment, the same edit

def test_the_recorded_table_is_of_every_kind():
    d = pd.read_csv(ROOT/'results'/'torture.csv')
    assert d.kind.tolist()==list(kinds()) and (d.n>=20).all() and d.tried.ge(d.n).all()
