"Long work, as hostile readers found it: searches that are interrupted, folders that grow, and what is said of both."
import errno, shutil
import pandas as pd, pytest
from filelock import FileLock
from aepretrain_nb.answers.results import Results
from aepretrain_nb.cli import main
from aepretrain_nb.compare import read_results
from aepretrain_nb.data import ground
from aepretrain_nb.experiment.fitted import kept_table
from aepretrain_nb.experiment.grid import Progress
from aepretrain_nb.experiment.kinds import ExperimentError

SHORT = '--set pretrain.steps=8 --set pretrain.evals=2 --set finetune.steps=10 --set finetune.evals=2'
SOUGHT = f'--setting digits --labels 50 --arms pretrained,random --set encoder.width=4 {SHORT}'
FIXED = f'--setting smoke --labels 50 --arms random --set encoder.width=4 {SHORT}'

def asked(words, out, *more): return main(['compare', 'digits', *words.split(), '--out', str(out), *more])

@pytest.fixture
def stopped(monkeypatch):
    "Call the command line, and interrupt it after so many lines of progress"
    def run(n, words, out):
        said,own = [],Progress.__call__
        def call(self, *args):
            own(self, *args)
            said.append(args)
            if len(said)==n: raise KeyboardInterrupt
        with monkeypatch.context() as m:
            m.setattr(Progress, '__call__', call)
            assert asked(words, out)==130
    return run

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp('sought')/'undisturbed'
    assert asked(f'{SOUGHT} --seeds 2', out)==0
    return Results.read(out)

def values(res):
    return res.rows[['arm', 'head_seed', 'lr', 'value', 'key']].sort_values(['arm', 'head_seed']).values.tolist()

@pytest.mark.parametrize('n', [5, 12])
def test_a_rate_that_was_only_tried_is_no_result(stopped, undisturbed, tmp_path, n):
    stopped(n, f'{SOUGHT} --seeds 2', tmp_path/'s')
    assert asked(f'{SOUGHT} --seeds 1', tmp_path/'s')==0
    one = Results.read(tmp_path/'s')
    assert values(one)==[o for o in values(undisturbed) if o[1]==0]
    assert asked(f'{SOUGHT} --seeds 2', tmp_path/'s')==0
    assert values(Results.read(tmp_path/'s'))==values(undisturbed)
    assert kept_table(tmp_path/'s').file.tolist()==kept_table(undisturbed.folder).file.tolist()

def test_while_rates_are_sought_there_are_no_results(stopped, tmp_path, capsys):
    stopped(6, f'{SOUGHT} --seeds 2', tmp_path/'s')
    with pytest.raises(ExperimentError, match='its learning rates are being sought'): read_results(tmp_path/'s')
    capsys.readouterr()
    assert main(['report', str(tmp_path/'s')])==2
    assert 'no fit has ended in' in capsys.readouterr().err and not (tmp_path/'s'/'report.html').exists()

def test_what_was_asked_before_a_note_broke_comes_back(undisturbed, tmp_path, capsys):
    shutil.copytree(undisturbed.folder, tmp_path/'s')
    note = tmp_path/'s'/'plan'/'cells.json'
    note.write_text(note.read_text()[:300])
    assert asked(f'{SOUGHT} --seeds 1', tmp_path/'s')==0
    assert 'what earlier calls asked for is in no table until they are given again' in capsys.readouterr().err
    assert values(Results.read(tmp_path/'s'))==[o for o in values(undisturbed) if o[1]==0]
    assert asked(f'{SOUGHT} --seeds 2', tmp_path/'s')==0
    assert values(Results.read(tmp_path/'s'))==values(undisturbed)

def test_classifiers_that_were_not_kept_are_told(tmp_path, capsys):
    asked(f'{FIXED} --seeds 2 --keep none', tmp_path/'s')
    capsys.readouterr()
    assert asked(f'{FIXED} --seeds 2 --keep all', tmp_path/'s')==0
    assert '2 classifiers that keep=all asks for are not here' in capsys.readouterr().err
    assert asked(f'{FIXED} --seeds 2', tmp_path/'s')==0
    assert '1 classifier that keep=best asks for is not here' in capsys.readouterr().err

def test_a_folder_of_an_own_net_grows(tmp_path, monkeypatch):
    (tmp_path/'mynets.py').write_text('from aepretrain_nb.nets.residual import residual_encoder\n')
    monkeypatch.syspath_prepend(tmp_path)
    own = FIXED.replace('--labels 50', '--encoder mynets:residual_encoder')
    assert asked(f'{own} --labels 50 --seeds 2', tmp_path/'s')==0
    assert asked(f'{own} --labels 100 --seeds 1', tmp_path/'s')==0
    assert pd.read_csv(tmp_path/'s'/'results.csv').labels.value_counts().to_dict()=={50: 2, 100: 1}

def test_power_says_when_more_has_ended_than_the_tables_tell(stopped, tmp_path, capsys):
    two = FIXED.replace('random', 'pretrained,random')
    asked(f'{two} --seeds 2', tmp_path/'s')
    stopped(3, f'{two} --seeds 4', tmp_path/'s')
    capsys.readouterr()
    assert main(['power', str(tmp_path/'s'), '--margin', '5'])==0
    assert 'of which its results.csv tells 4' in capsys.readouterr().err

def test_what_is_taken_over_and_why_nothing_is(tmp_path, capsys):
    asked(f'{FIXED} --seeds 1', tmp_path/'a, b')
    capsys.readouterr()
    assert asked(f'{FIXED} --seeds 1', tmp_path/'same', '--reuse', str(tmp_path/'a, b'))==0
    assert '1 steps are taken over from' in capsys.readouterr().err
    assert asked(f'{FIXED} --seeds 1 --lr .02', tmp_path/'other', '--reuse', str(tmp_path/'a, b'))==0
    err = capsys.readouterr().err
    assert 'differs in finetune: only steps that do not depend on that' in err and 'taken over from' not in err

def test_a_dry_run_refuses_what_a_run_would(tmp_path, capsys):
    first = f'{FIXED} --tune first --lr .01,.03'
    asked(f'{first} --seeds 1', tmp_path/'s')
    said = []
    for more in ([], ['--dry-run']):
        capsys.readouterr()
        assert asked(f'{first} --seeds 5,6', tmp_path/'s', *more)==2
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert said[0]==said[1] and 'another first seed' in said[0]
    there = {f: f.stat().st_mtime_ns for f in (tmp_path/'s').rglob('*')}
    assert asked(f'{first} --seeds 2', tmp_path/'s', '--dry-run')==0
    assert {f: f.stat().st_mtime_ns for f in (tmp_path/'s').rglob('*')}==there

def test_what_a_search_takes_is_no_bound(tmp_path, capsys):
    for words,how in ((SOUGHT, 'about'), (f'{FIXED} --set finetune.patience=1', 'at most')):
        assert asked(f'{words} --seeds 1', tmp_path/'s', '--dry-run')==0
        assert f', {how} ' in capsys.readouterr().out.splitlines()[-1]

@pytest.mark.parametrize('column, value', [('device', 'cuda:0'), ('versions', 'python 3.14.1, torch 2.4.0')])
def test_rows_of_two_kinds_of_machine_are_told(undisturbed, column, value):
    rows = undisturbed.rows.astype({column: object})
    rows.loc[0, column] = value
    assert any(value in w for w in Results(rows).warnings)

def test_a_disk_without_locks_is_named(tmp_path, monkeypatch, capsys):
    def refused(self): raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr(FileLock, '_acquire', refused)
    assert asked(f'{FIXED} --seeds 1', tmp_path/'s')==2
    err = capsys.readouterr().err
    assert '.lock: No locks available' in err and 'Traceback' not in err

def test_another_container_of_the_same_machine_is_another_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(ground, '_machine', lambda: 'here-2')
    half = tmp_path/'steps'/'.a.json.here-1.999999.1'
    half.parent.mkdir()
    half.write_text('half')
    assert ground.sweep(tmp_path)==[] and half.exists()
    assert ground.sweep(tmp_path, days=-1)==[half.name]

def test_an_interruption_while_arguments_are_set_up(monkeypatch):
    def early(): raise KeyboardInterrupt
    monkeypatch.setattr('aepretrain_nb.cli.parser', early)
    assert main(['data', 'list'])==130
