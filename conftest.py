"""Notebooks as tests: pytest collects nbs/**/*.ipynb, one id a notebook, run in process by nbdev; `--slow` also runs
the cells and the tests marked so, as CI does.

`--docs` looks at every page of the site in a browser."""
import atexit, io, os, re, shutil, signal, subprocess, sys, tempfile
# read when torch is imported
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)

from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pandas as pd, pytest

ROOT = Path(__file__).parent

def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='also run notebook cells and tests that are marked slow')
    parser.addoption('--docs', action='store_true',
        help='also open every page of the site in a browser; the site is built where _docs/ is older than its sources')

def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: takes more than a few seconds; runs with --slow')
    config.addinivalue_line('markers', 'docs: opens pages of the site in a browser; runs with --docs')
    # tests end processes, not machines: waiting for the disk would take a twentieth of their time
    os.fsync = lambda fd: None
    # where there is a pyarrow, pandas would take twice as long for our small tables
    pd.set_option('mode.string_storage', 'python')

    if not hasattr(config, 'workerinput'):  # the processes that it starts are ended without a chance to tidy up
        os.environ.setdefault('PYTEST_DEBUG_TEMPROOT', tempfile.gettempdir())
        os.environ['TMPDIR'] = tempfile.tempdir = tempfile.mkdtemp(prefix='aepretrain-tests-')
        atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

def pytest_collection_modifyitems(config, items):
    why = dict(docs='pages of the site: make docs builds them and looks at each', slow='takes longer: runs with --slow')
    left_out = [k for k in why if not config.getoption(k)]
    for o in items:
        for k in left_out:
            if o.get_closest_marker(k): o.add_marker(pytest.mark.skip(reason=why[k]))

def pytest_collect_file(file_path, parent):
    if file_path.suffix != '.ipynb' or any(o[0] in '._' for o in file_path.relative_to(ROOT).parts): return
    return NotebookFile.from_parent(parent, path=file_path)

class NotebookFile(pytest.File):
    def collect(self): yield NotebookItem.from_parent(self, name=self.path.stem)

class NotebookError(Exception): "A cell failed; the message holds its source and traceback."

@contextmanager
def as_found():
    """Give back what running a notebook in process changes: the interrupt handler, `sys.path`, the environment, figures
    left open."""
    handler, path, env = signal.getsignal(signal.SIGINT), sys.path[:], dict(os.environ)
    try: yield
    finally:
        signal.signal(signal.SIGINT, handler)
        sys.path[:] = path
        os.environ.clear(); os.environ.update(env)
        if plt := sys.modules.get('matplotlib.pyplot'): plt.close('all')

class NotebookItem(pytest.Item):
    def runtest(self):
        from nbdev.config import get_config
        from nbdev.test import CaptureShell, test_nb
        flags = get_config(ROOT).tst_flags.split()
        force = ['slow'] if self.config.getoption('slow') else []
        with as_found(), patch.object(sys, '__stderr__', io.StringIO()) as err:
            ok, _ = test_nb(self.path, skip_flags=flags, force_flags=force, basepath=ROOT, profile=False)
        # which takes a second at the end, for each notebook
        atexit.unregister(CaptureShell._instance.atexit_operations)
        if not ok: raise NotebookError(self.describe(err.getvalue()))

    def describe(self, tb):
        "The traceback `tb` as nbdev prints it, below the source of the cell that it names."
        from fastcore.nbio import read_nb
        n = re.search(r'While Executing Cell #(\d+)', tb)
        src = read_nb(self.path).cells[int(n[1])-1].source if n else ''
        head, _, rest = tb.partition('\n')
        return f'{head}\n\n{src}\n\n{rest}'

    def repr_failure(self, excinfo, style=None):
        return str(excinfo.value) if isinstance(excinfo.value, NotebookError) else super().repr_failure(excinfo, style)

    def reportinfo(self): return self.path, None, str(self.path.relative_to(ROOT))

@pytest.fixture(scope='session')
def real():
    "The root of the real data sets, unpacked where they lie beside the checkout; else the test is skipped."
    unpack = ROOT.parent/'shared/data/unpack.py'
    if not unpack.exists(): pytest.skip(f'no real data: {unpack} is not there')
    subprocess.run([sys.executable, unpack, ROOT/'data', 'mnist', 'fashion_mnist', 'cifar10', 'cifar100'], check=True,
        capture_output=True)
    return ROOT/'data'
