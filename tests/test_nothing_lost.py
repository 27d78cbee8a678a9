"""What `compare` accepts, `report` and `compare` can read again; what broke is named, counts as not finished, and is
made again"""
import json, os, shutil, signal
from pathlib import Path
import pandas as pd, pytest, torch
from safetensors.torch import save_file
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data import ground
from aepretrain_nb.data.ground import write_whole
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment import work
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.papers.kohlbrenner import tied_cae
from aepretrain_nb.train.transfer import save_encoder

pytestmark = pytest.mark.usefixtures('no_pictures')

digits,smoke = dataset('digits'),find_recipe('kohlbrenner', 'smoke')
ARGS = 'compare digits --recipe kohlbrenner --setting smoke --labels 50 --seeds 1'.split()
ONE = dict(labels=[50], seeds=1, progress=False)

def table(res): return res.rows.drop(columns=['seconds', 'images_s', 'revision']).to_csv(index=False)
def ended(store): return (Path(store)/'log.txt').read_text().count(' done ')

def readable(store):
    "The results in a folder, which tell something and lack nothing"
    res = read_results(store)
    assert res.text() and not len(res.missing)
    return res

def reported(store, capsys):
    "The same, and the command gives a report"
    assert main(['report', str(store)])==0, capsys.readouterr().err
    return readable(store)

# Every store can be read again

def encoder(path, seed):
    path.parent.mkdir(exist_ok=True)
    return save_encoder(path, tied_cae(1, 8, 8, torch.Generator().manual_seed(seed),
        width=smoke['encoder']['width']).encoder, {})

def test_encoder_files_are_arms_told_apart_by_what_is_in_them(tmp_path, capsys):
    "Two files of one stem, then one that was trained again under an old name, then none of them"
    a,b = (encoder(tmp_path/f'run{s}'/'encoder.safetensors', s) for s in (0, 1))
    go = lambda *arms: main([*ARGS, '--out', str(tmp_path/'s'), '--arms', ','.join(map(str, arms))])
    assert go(f'file:{a}', 'random_default')==0
    assert set(pd.read_csv(tmp_path/'s/results.csv').arm)=={'file:encoder', 'random_default'}
    assert go(f'file:{a}', f'file:{b}')==0
    two = readable(tmp_path/'s').rows
    assert len(two)==3 and two.arm.nunique()==3 and two.key.nunique()==3
    encoder(a, 2)
    assert go(f'file:{a}', 'random_default')==0
    three = reported(tmp_path/'s', capsys).rows
    assert three.arm.nunique()==4 and set(two.key)<set(three.key)
    for f in (a, b): f.unlink()
    before = ended(tmp_path/'s')
    assert go('random_default')==0 and ended(tmp_path/'s')==before
    assert set(pd.read_csv(tmp_path/'s/results.csv').key)==set(three.key)

ELSEWHERE = dict(step=dict(steps=[dict(do='reconstruct', images=dict(data='half')), 'classify']),
    change=dict(steps=['reconstruct', 'classify'], change=dict(images=dict(data='half'))))

@pytest.mark.parametrize('how', ELSEWHERE)
def test_arms_that_pretrain_on_other_images(tmp_path, capsys, how):
    half = Splits('half', ImageSet(digits.unlabelled.x[:600]), digits.test)
    r = merged(smoke, dict(arms=dict(elsewhere=ELSEWHERE[how], random_default=smoke['arms']['random_default'])))
    go = lambda sets: compare(digits, recipe=r, store=tmp_path/'s', pretrain_sets=sets, **ONE)
    res = go(dict(half=half))
    work._loaded.clear()
    assert table(reported(tmp_path/'s', capsys))==table(res)==table(go(dict(half=half))) and ended(tmp_path/'s')==3
    with pytest.raises(ExperimentError, match='another images of half'):
        go(dict(half=Splits('half', ImageSet(digits.unlabelled.x[:500]), digits.test)))
    assert table(readable(tmp_path/'s'))==table(res)

@pytest.mark.parametrize('option', ['--n-valid 20', '--precision bf16', '--n-unlabelled 100', '--policy uniform',
    '--lr .2', '--set encoder.width=.2', '--crossed'])
def test_a_second_plan_in_one_folder_is_refused_and_the_folder_stays_readable(kept, tmp_path, capsys, option):
    store = shutil.copytree(kept, tmp_path/'s')
    before = {f: f.read_bytes() for f in store.rglob('*') if f.is_file() and f.suffix!='.lock'}
    capsys.readouterr()
    assert main([*ARGS, '--arms', 'random_default', '--out', str(store), *option.split()])==2
    assert 'choose another folder' in capsys.readouterr().err
    assert {f: f.read_bytes() for f in store.rglob('*') if f.is_file() and f.suffix!='.lock'}==before
    readable(store)

@pytest.mark.parametrize('name', ['digits', 'mnist', 'half'])
def test_own_images_whatever_they_are_called(tmp_path, name):
    own = Splits(name, digits.train.take(range(400)), digits.test.take(range(100)))
    go = lambda: compare(own, ['pretrained'], recipe=smoke, store=tmp_path/'s', **ONE)
    res = go()
    work._loaded.clear()
    assert table(readable(tmp_path/'s'))==table(res)==table(go()) and ended(tmp_path/'s')==2

def test_a_folder_that_was_sent_without_its_images_has_a_report(tmp_path, capsys):
    own = Splits('mine', digits.train.take(range(400)), digits.test.take(range(100)))
    res = compare(own, ['pretrained'], recipe=smoke, store=tmp_path/'s', **ONE)
    work._loaded.clear()
    shutil.rmtree(tmp_path/'s'/'data')
    sent = reported((tmp_path/'s').rename(tmp_path/'sent'), capsys)
    assert table(sent)==table(res) and any('no picture of what was learnt' in w for w in sent.warnings)
    assert 'no picture of what was learnt' in (tmp_path/'sent'/'report.html').read_text()

# What broke

@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    "A small store of the digits"
    store = tmp_path_factory.mktemp('kept')/'s'
    compare(digits, ['pretrained', 'random_default'], store=store, **ONE | dict(recipe='kohlbrenner', setting='smoke'))
    return store

SHORT = dict(finetune=dict(steps=5, evals=1, tune='first', lr=[.1, .2]),
    pretrain=dict(steps=5, evals=1, checkpoints=[1]))

@pytest.fixture(scope='module')
def filled(tmp_path_factory):
    "A store with a file of every kind, and the call that fills one"
    store,own = tmp_path_factory.mktemp('filled')/'s',Splits('mine', digits.train.take(range(400)),
        digits.train.take(range(300, 400)))
    def go(s):
        return compare(own, ['pretrained', 'random_default'], recipe=merged(smoke, SHORT), store=s,
            **ONE | dict(progress=True))
    go(store)
    return store,go

KINDS = 'steps', 'weights', 'weights@', 'data', 'plan/cells.json', 'plan/images.json', 'plan/data.json'
DAMAGE = dict(empty=lambda b: b'', cut=lambda b: b[:len(b)//2], foreign=lambda b: b'{"a": 1}',
    noise=lambda b: bytes(range(256)), list=lambda b: b'[1]',
    deep=lambda b: b'['*100_000,
    later=lambda b: b.replace(b'"do"', b'"does"').replace(b'"cells"', b'"chambers"').replace(b'"train"', b'"learn"'))

def one_of(store, kind):
    "A file of a kind"
    folder = store/kind.rstrip('@')
    return folder if folder.is_file() else next(f
        for f in sorted(folder.iterdir()) if ('@' in f.name)==kind.endswith('@'))

@pytest.mark.parametrize('shift', range(len(DAMAGE)))
def test_broken_files_are_named_and_made_again(filled, tmp_path, capsys, shift):
    "One file of each kind, each with a damage of its own; in all turns every kind has every damage"
    store,go = filled
    whole,at,ways = table(read_results(store)),shutil.copytree(store, tmp_path/'s'),list(DAMAGE)
    files = {one_of(at, k): DAMAGE[ways[(i+shift)%len(ways)]] for i,k in enumerate(KINDS)}
    before = {f: f.read_bytes() for f in files}
    for f,damaged in files.items(): f.write_bytes(damaged(before[f]))
    hurt = [f.name for f in files if f.read_bytes()!=before[f]]
    work._loaded.clear()
    capsys.readouterr()
    code = main(['report', str(at)])
    said = capsys.readouterr().err
    assert code in (0, 2) and 'Traceback' not in said and (code==0 or said.splitlines()[-1].startswith('aepretrain'))
    res = go(at)
    said = capsys.readouterr().err
    assert table(res)==whole and [n for n in hurt if n not in said]==[]
    work._loaded.clear()
    assert table(readable(at))==whole and capsys.readouterr().err==''

@pytest.mark.parametrize('content', [b'', b'[1]', b'{"first', b'\xff'])
def test_what_calls_have_in_common_is_written_again(filled, tmp_path, capsys, content):
    at = shutil.copytree(filled[0], tmp_path/'s')
    f = at/'plan'/'common.json'
    before = json.loads(f.read_text())
    f.write_bytes(content)
    capsys.readouterr()
    filled[1](at)
    assert f'{f}' in capsys.readouterr().err and json.loads(f.read_text())==before

def test_weights_that_changed_places_are_named_and_made_again(filled, tmp_path, capsys):
    store,go = filled
    at = shutil.copytree(store, tmp_path/'s')
    a,b = one_of(at, 'weights'),at/'weights'/'0123.safetensors'
    a.rename(b)
    save_file(dict(w=torch.ones(2)), a)
    capsys.readouterr()
    assert table(go(at))==table(read_results(store))
    assert f'{a.name} does not say whose weights' in capsys.readouterr().err

@pytest.mark.parametrize('content,why',
    [(b'', 'is empty'), (b'{"fo', 'not readable'), (b'{"format": 3}', 'another version'),
    (b'{"format": 2, "data": 1}', 'data is'), (b'[]', 'another version')])
def test_a_folder_whose_experiment_cannot_be_read_is_left_alone(kept, tmp_path, capsys, content, why):
    at = shutil.copytree(kept, tmp_path/'s')
    (at/'experiment.json').write_bytes(content)
    before = {f: f.stat().st_mtime_ns for f in at.rglob('*')}
    for argv in (['report', str(at)], [*ARGS, '--arms', 'pretrained', '--out', str(at)],
        [*ARGS, '--arms', 'pretrained', '--out', str(tmp_path/'new'), '--reuse', str(at)]):
        capsys.readouterr()
        assert main(argv)==2
        err = capsys.readouterr().err
        assert err.count('\n')==1 and why in err and str(at) in err
    assert {f: f.stat().st_mtime_ns for f in at.rglob('*')}==before and not (tmp_path/'new').exists()

@pytest.mark.parametrize('kind', KINDS)
def test_a_folder_in_the_place_of_a_file_is_one_line(filled, tmp_path, capsys, kind):
    at = shutil.copytree(filled[0], tmp_path/'s')
    f = one_of(at, kind)
    f.unlink()
    f.mkdir()
    for run in (lambda: main(['report', str(at)]), lambda: filled[1](at) and 0):
        capsys.readouterr()
        try: assert run() in (0, 2)
        except (OSError, ValueError) as e: assert f.name in str(e)
        assert 'Traceback' not in capsys.readouterr().err

def test_a_failed_step_is_tried_again_and_a_broken_note_of_it_too(tmp_path, capsys):
    bad = merged(smoke, dict(finetune=dict(opt='sgd', lr=1e38)))
    go = lambda: compare(digits, ['random_default'], recipe=bad, store=tmp_path/'s', **ONE)
    assert len(go().missing)==1
    note, = (tmp_path/'s'/'failed').iterdir()
    for text in ('', '{}', json.dumps(json.loads(note.read_text()) | dict(reason='none'))):
        note.write_text(text)
        capsys.readouterr()
        assert main(['report', str(tmp_path/'s')]) in (0, 2) and 'Traceback' not in capsys.readouterr().err
        assert go().missing.reason.str.contains('StepFailed').all()

# Written whole

def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    "Each file of a store, its tables and its report"
    synced,renamed,fsync,replace = set(),[],os.fsync,os.replace
    monkeypatch.setattr(ground.os, 'fsync', lambda fd: (synced.add(os.fstat(fd).st_ino), fsync(fd)))
    def named(a, b):
        renamed.append((str(b), os.stat(a).st_ino in synced))
        replace(a, b)
    monkeypatch.setattr(ground.os, 'replace', named)
    own = Splits('mine', digits.train.take(range(400)), digits.test.take(range(100)))
    compare(own, ['pretrained'], recipe=smoke, store=tmp_path/'s', **ONE).save(tmp_path/'s')
    assert main(['report', str(tmp_path/'s')])==0
    there = {str(f) for f in (tmp_path/'s').rglob('*') if f.is_file() and f.name!='log.txt' and f.suffix!='.lock'}
    assert {f for f,_ in renamed}==there and all(ok for _,ok in renamed)

def killed(write):
    "A process that is killed while it writes"
    pid = os.fork()
    if pid==0:
        try: write()
        finally: os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])==-signal.SIGKILL

def half(f):
    f.write_bytes(b'{"half')
    os.kill(os.getpid(), signal.SIGKILL)

def test_what_killed_writers_left_is_gone_when_the_next_begins(filled, tmp_path, capsys):
    "Records, images, tables and the report; what a living process is at stays"
    store,go = filled
    at = shutil.copytree(store, tmp_path/'s')
    names = [*(one_of(at, k) for k in KINDS), at/'results.csv', at/'report.html', at/'experiment.json']
    for f in names: killed(lambda: write_whole(f, half))
    assert len([f for f in at.rglob('.*')])==len(names)
    mine = at/'steps'/f'.a.json.{ground._machine()}.{os.getpid()}.1'
    mine.write_text('half')
    before = ended(at)
    go(at)
    assert [f for f in at.rglob('.*')]==[mine] and ended(at)==before

def test_a_killed_beginning_is_no_experiment_of_someone_else(tmp_path):
    killed(lambda: write_whole(tmp_path/'s'/'experiment.json', half))
    compare(digits, ['random_default'], store=tmp_path/'s', **ONE | dict(recipe='kohlbrenner', setting='smoke'))
    assert not [*(tmp_path/'s').rglob('.*')] and len(read_results(tmp_path/'s').rows)==1

def test_the_lock_of_a_beginning_that_was_killed_as_it_ended_goes(filled, tmp_path):
    store,go = filled
    at = shutil.copytree(store, tmp_path/'s')
    (at/'.experiment.json.lock').write_text('')
    go(at)
    assert not [*at.rglob('.*')]
