"""Where results go, and where there is no room, no right, no reader: one line with the path, nothing half written, and
the same command goes on"""
import io, os, pwd, resource, shutil, signal, socket, stat, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
import pandas as pd, pytest
from aepretrain_nb import compare as module
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.named import DATASETS
from aepretrain_nb.experiment.executor import InProcess
from torture.child import Child
from torture.user import helpless, nobody

pytestmark = pytest.mark.usefixtures('no_pictures')

ARGS = 'compare digits --recipe kohlbrenner --setting smoke --labels 50 --seeds 1 --arms pretrained --out'.split()
ONE = dict(labels=[50], seeds=1, recipe='kohlbrenner', setting='smoke', progress=False)

def table(folder):
    return read_results(folder).rows.drop(columns=['seconds', 'images_s', 'revision']).to_csv(index=False)

@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    store = tmp_path_factory.mktemp('kept')/'s'
    compare('digits', ['pretrained'], store=store, **ONE)
    return store

# Another process, another user

def child(argv, folder, before=None):
    "Exit code and what is said by a command in a process that `before` was called in"
    c = Child([str(a) for a in argv], folder, before)
    return c.wait(),c.err()

@pytest.fixture
def open_path(tmp_path):
    "A folder that the other user can come to and write into"
    for p in (tmp_path, *tmp_path.parents):
        if p.owner()=='root' and str(p).startswith('/tmp/') or p==tmp_path: p.chmod(0o755)
    own = tmp_path/'own'
    own.mkdir()
    own.chmod(0o777)
    return own

def give(folder):
    "Let the other user own a folder and what is in it"
    user = pwd.getpwnam('nobody')
    for f in (folder, *folder.rglob('*')):
        if os.geteuid()==0: os.chown(f, user.pw_uid, user.pw_gid)

def refused(code, err, path):
    assert code==2 and 'Traceback' not in err, err
    last = err.splitlines()[-1]
    assert last.startswith('aepretrain: ') and str(path) in last, err

# A full disk

@pytest.mark.parametrize('size', [300, 1500, 2600, 9000])
def test_a_disk_without_room_for_a_file_of_some_size(tmp_path, kept, size):
    "The limit is met in records, in weights and in tables; safetensors meets it in a library of its own"
    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    code,err = child([*ARGS, tmp_path/'s'], tmp_path, small)
    if code!=2: assert code in (0, 1)
    else: refused(code, err, tmp_path/'s')
    assert 'Traceback' not in err and not [*(tmp_path/'s').rglob('.*')]
    assert main([*ARGS, str(tmp_path/'s')])==0 and table(tmp_path/'s')==table(kept)

# No right

@pytest.mark.parametrize('locked', ['', 'weights', 'claims', 'new'])
def test_a_folder_that_may_not_be_written(open_path, kept, locked):
    store = open_path/'s'
    if locked=='new': out = open_path/'locked'/'s'; out.parent.mkdir()
    else:
        out = store
        shutil.copytree(kept, store)
        for f in store.glob('weights/*'): f.unlink()
        for f in store.glob('steps/*'): f.unlink()
    give(open_path)
    shut = open_path/'locked' if locked=='new' else store/locked
    shut.chmod(0o555)
    code,err = child([*ARGS, out], open_path, nobody)
    refused(code, err, shut)
    shut.chmod(0o755)
    code,err = child([*ARGS, out], open_path, nobody)
    assert code==0 and table(out)==table(kept), err

def test_a_folder_that_may_only_be_read_has_a_report_elsewhere(open_path, kept):
    store = shutil.copytree(kept, open_path/'s')
    give(open_path)
    for f in (store, *store.rglob('*')): f.chmod(0o555 if f.is_dir() else 0o444)
    before = {f: f.stat().st_mtime_ns for f in store.rglob('*')}
    code,err = child(['report', store], open_path, nobody)
    refused(code, err, store/'report.html')
    assert child(['report', store, '--out', open_path/'r.html'], open_path, nobody)==(0, '')
    assert (open_path/'r.html').is_file()
    assert child([*ARGS, open_path/'t', '--reuse', store], open_path, nobody)[0]==0
    assert {f: f.stat().st_mtime_ns for f in store.rglob('*')}==before

@pytest.mark.parametrize('kind', ['experiment.json', 'steps', 'weights', 'plan/cells.json'])
def test_a_file_that_may_not_be_read_is_named(open_path, kept, kind):
    store = shutil.copytree(kept, open_path/'s')
    give(open_path)
    f = store/kind if (store/kind).is_file() else sorted((store/kind).iterdir())[0]
    f.chmod(0)
    for argv in (['report', store], [*ARGS, store]):
        code,err = child(argv, open_path, helpless)
        assert code in (0, 2) and 'Traceback' not in err, err
    if kind=='experiment.json': refused(code, err, f)
    else: assert code==0 and f.name in err and f.stat().st_mode & 0o400, err

# Links, devices, ~

def test_a_link_leads_to_its_folder_and_stays_a_link(tmp_path, monkeypatch, kept):
    (tmp_path/'far').mkdir()
    (tmp_path/'link').symlink_to('far')
    assert main([*ARGS, str(tmp_path/'link')])==0 and (tmp_path/'link').is_symlink()
    assert table(tmp_path/'far')==table(kept)
    for name in ('results.csv', 'report.html'):
        (tmp_path/'far'/name).rename(tmp_path/name)
        (tmp_path/'far'/name).symlink_to(tmp_path/name)
        (tmp_path/name).write_text('old')
    assert main([*ARGS, str(tmp_path/'link')])==0
    for name in ('results.csv', 'report.html'):
        assert (tmp_path/'far'/name).is_symlink() and (tmp_path/name).read_text()!='old'

def odd(folder):
    "Things that are neither file nor folder"
    os.mkfifo(folder/'pipe')
    (folder/'loop').symlink_to('loop')
    with socket.socket(socket.AF_UNIX) as s: s.bind(str(folder/'socket'))
    if os.geteuid()==0: os.mknod(folder/'null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return sorted(f.name for f in folder.iterdir())

@pytest.mark.parametrize('verb', ['report', 'compare', 'below'])
def test_what_is_neither_file_nor_folder_is_never_replaced(tmp_path, monkeypatch, capsys, kept, verb):
    monkeypatch.chdir(tmp_path)
    names = odd(tmp_path)
    before = {n: os.lstat(n) for n in names}
    for n in names:
        capsys.readouterr()
        argv = ['report', str(kept), '--out', n] if verb=='report' else [*ARGS, n if verb=='compare' else f'{n}/below']
        assert main(argv)==2, n
        err = capsys.readouterr().err
        assert err.count('\n')==1 and n in err, err
    after = {n: os.lstat(n) for n in names}
    assert {n: (s.st_mode, s.st_ino) for n,s in after.items()}=={n: (s.st_mode, s.st_ino) for n,s in before.items()}
    assert sorted(f.name for f in tmp_path.iterdir())==names

def test_home_is_home_wherever_it_stands(tmp_path, monkeypatch, kept, capsys):
    (tmp_path/'home').mkdir()
    monkeypatch.setenv('HOME', str(tmp_path/'home'))
    monkeypatch.chdir(tmp_path)
    assert main([*ARGS[:-1], '--out=~/runs'])==0 and table(tmp_path/'home'/'runs')==table(kept)
    assert main(['report', '~/runs', '--out', '~/r.html'])==0 and (tmp_path/'home'/'r.html').is_file()
    capsys.readouterr()
    assert main(['power', '~/runs', '--margin', '2'])==2 and 'only one arm' in capsys.readouterr().err
    assert main([*ARGS, '~/more', '--reuse', '~/runs'])==0
    assert main(['data', 'verify', 'mnist', '--root', '~/sets'])==2
    assert [f.name for f in tmp_path.iterdir()]==['home']
    a,b = (read_results(tmp_path/'home'/n).rows.value.tolist() for n in ('runs', 'more'))
    assert a==b

def test_without_a_home(tmp_path, monkeypatch, capsys, kept):
    monkeypatch.delenv('HOME')
    monkeypatch.delenv('AEPRETRAIN_DATA', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    def unknown(*_): raise KeyError('uid not found')
    monkeypatch.setattr(pwd, 'getpwuid', unknown)
    monkeypatch.chdir(tmp_path)
    for argv in ([*ARGS[:-1], '--out=~/runs'], ['compare', 'mnist', '--out', 'x'], ['data', 'get', 'mnist']):
        capsys.readouterr()
        assert main(argv)==2
        assert capsys.readouterr().err.count('\n')==1
    assert not [*tmp_path.iterdir()]
    assert main([*ARGS, 'runs'])==0 and table('runs')==table(kept)

# A folder that goes

def test_a_folder_that_vanishes_is_said_and_not_begun_anew(tmp_path, capsys, monkeypatch):
    class Vanish(InProcess):
        def submit(self, *args, **kw):
            if (tmp_path/'s').exists(): shutil.rmtree(tmp_path/'s')
            return super().submit(*args, **kw)
    plain = module.run_grid
    monkeypatch.setattr(module, 'run_grid', lambda *args, **kw: plain(*args, **kw | dict(executor=Vanish())))
    assert main([*ARGS, str(tmp_path/'s')])==2
    assert str(tmp_path/'s') in capsys.readouterr().err.splitlines()[-1] and not (tmp_path/'s').exists()

# No reader

TABLES = 'results.csv', 'curves.csv', 'about.json', 'report.html'

@pytest.mark.parametrize('closed', ['out', 'err', 'both', 'none at all'])
def test_tables_are_there_whoever_reads(tmp_path, kept, closed):
    store = shutil.copytree(kept, tmp_path/'s')
    def shut():
        r,w = os.pipe()
        os.close(r)
        for fd,name in ((1, 'out'), (2, 'err')):
            if closed in (name, 'both'):
                os.dup2(w, fd)
                setattr(sys, f'std{name}', open(fd, 'w', closefd=False))
        if closed=='none at all': sys.stdout = sys.stderr = None
    code,err = child([*ARGS, store], tmp_path, shut)
    assert code==0 and 'Traceback' not in err, err
    assert all((store/n).is_file() for n in TABLES)

def test_a_terminal_that_knows_ascii_only(tmp_path, kept):
    store,out = shutil.copytree(kept, tmp_path/'s'),io.TextIOWrapper(io.BytesIO(), 'ascii')
    with redirect_stdout(out), redirect_stderr(io.TextIOWrapper(io.BytesIO(), 'ascii')):
        assert main([*ARGS, str(store)])==0 and main(['report', str(store)])==0 and main(['settings'])==0
        assert main(['data', 'list'])==0
    out.flush()
    assert b'\\xb1' in out.buffer.getvalue() and all((store/n).is_file() for n in TABLES)

# No network

@pytest.mark.parametrize('name', [n for n,s in DATASETS.items() if isinstance(s.reader, type)])
def test_a_download_without_a_network_leaves_nothing(tmp_path, monkeypatch, capsys, name):
    def unreachable(*_, **__): raise OSError(101, 'Network is unreachable')
    for o in ('create_connection', 'getaddrinfo'): monkeypatch.setattr(socket, o, unreachable)
    monkeypatch.chdir(tmp_path)
    for argv in (['data', 'get', name, '--root', 'a/b'],
        ['compare', name, '--download', '--root', 'a/b', '--out', 'o']):
        capsys.readouterr()
        assert main(argv)==2
        err = capsys.readouterr().err
        assert err.count('\n')==1 and name in err and not [*tmp_path.iterdir()], err

# Stores that nobody asked for, and narrower calls

def test_a_temporary_store_is_said_and_goes_with_python(monkeypatch, capsys):
    last = []
    monkeypatch.setattr(module.atexit, 'register', lambda f, *args, **kw: last.append((f, args, kw)))
    res = compare('digits', ['random_default'], **ONE | dict(progress=True))
    assert f'results are in {res.store.path} until Python ends' in capsys.readouterr().err and res.store.path.is_dir()
    for f,args,kw in last: f(*args, **kw)
    assert not res.store.path.exists()

def test_a_narrower_call_leaves_the_tables_of_a_wider_one(tmp_path, kept, capsys):
    store = shutil.copytree(kept, tmp_path/'s')
    wider = [*ARGS, str(store), '--labels', '50,100', '--seeds', '2']
    assert main(wider)==0
    before = {n: pd.read_csv(store/n) for n in ('results.csv', 'curves.csv', 'encoders.csv')}
    assert len(before['results.csv'])==4
    for narrow in (['--labels', '100'], ['--seeds', '1']): assert main([*ARGS, str(store), *narrow])==0
    for n,d in before.items():
        after = pd.read_csv(store/n)
        assert sorted(map(str, after.values.tolist()))==sorted(map(str, d.values.tolist()))
