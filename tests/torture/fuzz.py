"Whole command lines, and every setting of every recipe: an answer in one line, and nothing else."
import io, itertools, json, os, pwd, resource, shlex, shutil, signal, sys, tempfile, traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
import psutil
from . import Kind
from .child import Child, without_pictures
from .user import nobody
from .grid import last

CASES = 250 # of a trial
PATIENCE,WORK = 20,1 # seconds for an answer; for the work itself, which is stopped then
WRITES = 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.symlink', 'os.link', 'os.truncate', 'os.chmod', 'os.chown', 'os.utime'

class Enough(BaseException): "The work goes on for longer than anyone wants to wait."
class Late(BaseException): "No answer for a long time."

@contextmanager
def at_most(seconds, error):
    "Raise an error after some seconds"
    def stop(*_): raise error
    old = signal.signal(signal.SIGALRM, stop)
    left,_ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try: yield
    finally:
        signal.signal(signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, left)

# Nobody in an empty house

HOUSE = 'here', 'home', 'tmp'
def furnish(folder):
    "A home and a place to work, with a finished grid, a table and some traps."
    for name in HOUSE: (folder/name).mkdir()
    here = folder/'here'
    (here/'empty').mkdir()
    (here/'file.txt').write_text('mine')
    (here/'table.csv').write_text('arm,labels,value,subset,subset_seed,encoder_seed,head_seed\n' + ''.join(f'{a},50,{v},d{s},{s},{s},{s}\n' for s in range(3) for a,v in (('x', 70+s), ('y', 68.5))))
    (here/'loop').symlink_to('loop')
    (here/'link').symlink_to('empty')
    return here

def without_network():
    "For the rest of the process"
    def hook(event, args):
        if event in ('socket.connect', 'socket.getaddrinfo'): raise OSError(101, 'Network is unreachable')
    sys.addaudithook(hook)

class Watch:
    "What is written outside of a folder."
    def __init__(self, folder):
        self.folder,self.seen,self.on = os.path.realpath(folder),[],True
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        writes = event in WRITES or (event=='open' and isinstance(args[2], int) and args[2] & (os.O_WRONLY|os.O_RDWR|os.O_CREAT))
        if not self.on or not writes or not isinstance(args[0], (str, bytes, os.PathLike)): return
        f = os.path.realpath(os.fsdecode(args[0]))
        if not f.startswith((self.folder, '/dev/', '/proc/')): self.seen.append(f)

def ours(f):
    "Is there such a file, and is it this user's? What the system refused is neither"
    try: return os.lstat(f).st_uid==os.geteuid()
    except OSError: return False

def tree(folder):
    "What lies in the house: path -> what would change with a change."
    out = {}
    for at,dirs,files in itertools.chain.from_iterable(os.walk(folder/name) for name in HOUSE):
        for f in dirs+files:
            s = os.lstat(os.path.join(at, f))
            out[os.path.join(at, f)] = s.st_mode,s.st_size if f in files else 0,s.st_mtime_ns if f in files else 0
    return out

# The work is short

def shorten():
    "Work in this process ends after a second, in others it does not begin; no picture is drawn, one claim is settled, one parser made."
    from aepretrain_nb import cli, compare
    from aepretrain_nb.answers import ledger
    whole,claims,parser = compare.run_grid,ledger.claims_of,cli.parser()
    def brief(steps, store, splits, executor=None, timeout=None, **kw):
        if executor not in (None, 1) or timeout is not None:
            for s in steps[:4]: store.fail(s, 'not tried')
            return
        with at_most(WORK, Enough): whole(steps, store, splits, **kw)
    without_pictures()
    compare.run_grid,cli.parser = brief,lambda: parser
    ledger.claims_of = lambda paper=None: {name: own[:1] for name,own in claims(paper).items()}

class Judge:
    "Runs command lines in a furnished folder, which is as before each time."
    def __init__(self, folder):
        self.folder,self.here,self.spare = folder,folder/'here',folder/'spare'
        shutil.copytree(self.here, self.spare, symlinks=True)
        self.watch,self.found,self.tried = Watch(folder),{},0
        self.before = tree(folder)

    def restore(self):
        "Everything as it was"
        for name in os.listdir(self.here): remove(self.here/name)
        shutil.copytree(self.spare, self.here, symlinks=True, dirs_exist_ok=True)
        for name in ('home', 'tmp'):
            for f in (self.folder/name).iterdir(): remove(f)
        self.before = tree(self.folder)

    def run(self, argv, encoding='utf-8'):
        "What is wrong with the answer to a command line: (kind of fault, words), or None."
        from aepretrain_nb.cli import main
        os.chdir(self.here)
        out,err = io.TextIOWrapper(io.BytesIO(), encoding),io.StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err), at_most(PATIENCE, Late): code = main(list(argv))
        except Enough: code = 0
        except Late: return 'late',f'no answer in {PATIENCE} s'
        except BaseException as e:
            every = traceback.extract_tb(e.__traceback__)
            own = [f for f in every if 'aepretrain_nb' in f.filename] or every
            return (type(e).__name__, own[-1].filename, own[-1].lineno),f'{type(e).__name__} in {Path(own[-1].filename).name}:{own[-1].lineno}: {str(e)[:150]}'
        return self.judged(code, err.getvalue())

    def judged(self, code, said):
        "What is wrong with an exit code and the words on standard error"
        outside,self.watch.seen = [f for f in self.watch.seen if ours(f)],[]
        if code not in (0, 1, 2): return ('code', code),f'exit code {code}'
        if outside: return 'outside',f'{outside[0]} was written'
        if 'Traceback' in said: return 'traceback',f'a traceback: {said.splitlines()[-1]}'
        if code==2 and (said.count('\n')!=1 or not said.startswith('aepretrain')): return 'lines',f'exit code 2 in {said.count(chr(10))} lines: {said[:200]!r}'
        if code==2 and tree(self.folder)!=self.before: return 'written',f'refused, but {changes_of(self.before, tree(self.folder))}'

    def __call__(self, argv, encoding='utf-8'):
        "Try a command line; the shortest of each kind of fault is kept."
        self.tried += 1
        fault = self.run(argv, encoding)
        if tree(self.folder)!=self.before: self.restore()
        if fault is None: return
        kind,words = fault
        if kind not in self.found or len(shlex.join(argv))<len(shlex.join(self.found[kind][0])): self.found[kind] = list(argv),encoding,words

    def shortened(self, kind):
        "The command of a fault without the words that it does not need."
        argv,encoding,words = self.found[kind]
        for size in (2, 1):
            i = 1
            while i<len(argv):
                fewer = argv[:i]+argv[i+size:]
                fault = self.run(fewer, encoding)
                if tree(self.folder)!=self.before: self.restore()
                if fault and fault[0]==kind: argv,words = fewer,fault[1]
                else: i += 1
        return f'{words}: aepretrain {shlex.join(argv)[:500]}' + f' (output in {encoding})'*(encoding!='utf-8')

def remove(f): shutil.rmtree(f) if f.is_dir() and not f.is_symlink() else f.unlink()

def changes_of(before, after):
    "The first thing that two trees differ in, in words"
    changed = [k for k in sorted({*before, *after}) if before.get(k)!=after.get(k)]
    return f'{os.path.basename(changed[0])} was ' + ('changed' if changed[0] in before and changed[0] in after else 'written' if changed[0] in after else 'removed')

def fuzzed(folder, n, seed):
    "Try so many command lines, here and now, and print what was found as JSON; for a process of its own."
    beside = dict(HYPOTHESIS_STORAGE_DIRECTORY='hypothesis', AEPRETRAIN_CACHE='cache')  # outside of the house
    os.environ.update(HOME=str(folder/'home'), TMPDIR=str(folder/'tmp'), **{k: str(folder/name) for k,name in beside.items()})
    from hypothesis import HealthCheck, Phase, given, seed as seeded, settings, strategies as st
    from aepretrain_nb.cli import main
    from .words import CASES, SMALL
    os.environ.pop('AEPRETRAIN_DATA', None)
    tempfile.tempdir = None
    without_network()
    os.chdir(folder/'here')
    with redirect_stdout(io.StringIO()): assert main(['compare', 'digits', *SMALL['compare'], '--out', 'done'])==0
    shorten()
    room = psutil.Process().memory_info().vms + 4*2**30
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    judge = Judge(folder)
    how = settings(max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @seeded(seed)
    @how
    @given(CASES, st.sampled_from(['utf-8', 'utf-8', 'ascii']))
    def each(argv, encoding): judge(argv, encoding)
    each()
    print(json.dumps(dict(tried=judge.tried, failed=[judge.shortened(k) for k in list(judge.found)])))
    return 0

def trial(rng, folder, cases=CASES):
    "Try command lines as a user without rights, in a home of its own."
    folder.chmod(0o755)
    own = folder/'own'
    own.mkdir()
    furnish(own)
    if os.geteuid()==0: given_to_nobody(own)
    c = Child(lambda: fuzzed(own, cases, rng.randrange(2**32)), own, nobody)
    if c.wait(3600)!=0: return cases,[last(c)]
    found = json.loads(c.file('out').read_text(encoding='utf-8').splitlines()[-1])
    return found['tried'],found['failed']

def given_to_nobody(folder):
    "Let the user without rights have a folder"
    user = pwd.getpwnam('nobody')
    for f in (folder, *folder.rglob('*')): os.chown(f, user.pw_uid, user.pw_gid, follow_symlinks=False)

KIND = Kind('fuzz', 'whole command lines drawn from the parser, and every setting of every recipe drawn from the schema, as a user without rights: '
    'exit code 0, 1 or 2; on 2 one line, and nothing written but images decoded into the cache', trial)
