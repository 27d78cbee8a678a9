"Commands in processes of their own that are forked, not started: everything is imported already, so they are at work at once, and any moment of that work can be the last."
import gc, io, itertools, os, signal, sys, tempfile, time, traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
import psutil
from aepretrain_nb.cli import main

_COUNT = itertools.count()

def not_drawn(self, f, **kw):
    "In the place of `Figure.savefig`: an empty file, since drawing takes longer than all the rest."
    return f.write(b'') if hasattr(f, 'write') else Path(f).write_bytes(b'')

def without_pictures():
    "Figures are made and not drawn, for the rest of the process."
    from matplotlib.figure import Figure
    Figure.savefig = not_drawn

def warm():
    "Run a small grid here: what is imported and made at its first use is there in every process that is forked."
    with tempfile.TemporaryDirectory(prefix='torture-') as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        main(f'compare digits --recipe kohlbrenner --setting smoke --labels 50 --seeds 2 --arms pretrained,random_default --out {folder}/out'.split())
    gc.freeze() # nobody's to collect, so that nobody copies it

class Child:
    "A process in a session of its own, what it says in files."
    def __init__(self,
        run,         # called without arguments, gives the exit code; or the words of a command line
        folder,      # for what it says, and where it runs
        before=None  # called first, in the new process
    ):
        self.folder,self.name = Path(folder),f'said-{next(_COUNT)}'
        self.begun,self.code = time.monotonic(),None
        self.pid = os.fork()
        if self.pid==0: self._be(run if callable(run) else lambda: main(list(run)), before)

    def _be(self, run, before):
        "The new process, from its first line to its last"
        code = 99
        try:
            os.setsid()
            os.chdir(self.folder)
            for fd,kind in ((1, 'out'), (2, 'err')): os.dup2(os.open(self.file(kind), os.O_WRONLY|os.O_CREAT, 0o666), fd)
            sys.stdout,sys.stderr = (open(fd, 'w', buffering=1, closefd=False, encoding='utf-8', errors='backslashreplace') for fd in (1, 2))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if before: before()
            code = run()
        except BaseException: traceback.print_exc()
        finally: os._exit(code)

    def file(self, kind): return self.folder/f'{self.name}.{kind}'
    def err(self): return self.file('err').read_text(encoding='utf-8') if self.file('err').exists() else ''

    def ended(self):
        "Its exit code, minus the signal that ended it; None while it runs."
        if self.code is None:
            pid,status = os.waitpid(self.pid, os.WNOHANG)
            if pid: self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds=120):
        "Its exit code; it is killed, and the code is None, where it takes too long."
        end = time.monotonic()+seconds
        while self.ended() is None and time.monotonic()<end: time.sleep(.005)
        if self.code is None: self.send(signal.SIGKILL)
        return self.code

    def family(self):
        "The processes of its session that live."
        def lives(p):
            try: return os.getsid(p.pid)==self.pid and p.status()!=psutil.STATUS_ZOMBIE
            except (psutil.Error, OSError): return False
        return [p for p in psutil.process_iter() if lives(p)]

    def send(self, sig, whom='all'):
        "A signal to 'all' of its session, to the 'parent' or to one 'worker' (to the parent, where there is none)."
        if whom=='all': pids = [p.pid for p in self.family()]
        else: pids = ([p.pid for p in self.family() if p.pid!=self.pid and whom=='worker'] or [self.pid])[:1]
        for pid in pids:
            try: os.kill(pid, sig)
            except ProcessLookupError: pass

    def alone(self, seconds=15):
        "Are its workers gone, at the latest after some seconds?"
        end = time.monotonic()+seconds
        while self.family() and time.monotonic()<end: time.sleep(.05)
        return not self.family()
