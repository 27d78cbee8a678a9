"What is declared fits what is used: requirements, tested versions, packages, entry points."
import ast, importlib, os, re, shutil, subprocess, sys, tarfile
from configparser import ConfigParser
from importlib.metadata import entry_points, packages_distributions
from io import StringIO
from pathlib import Path

import pandas as pd, pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canon
from setuptools import find_packages

ROOT, LIB = Path(__file__).resolve().parents[1], 'aepretrain_nb'
cfg = ConfigParser(delimiters=['='], interpolation=None)
cfg.read(ROOT/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
PINS = {canon(n): v for n,v in re.findall(r'^([\w.-]+)==(\S+)$', (ROOT/'constraints.txt').read_text(encoding='utf-8'),
    re.M)}

def declared(*keys): return [Requirement(l) for k in keys for l in cfg[k].strip().splitlines()]
def names(*keys): return {canon(r.name) for r in declared(*keys)}

def imported(py, top_only=False):
    "Top-level names of the packages that a file imports, with `top_only` just those of its import time"
    tree = ast.parse(py.read_text(encoding='utf-8'))
    for o in (tree.body if top_only else ast.walk(tree)):
        if isinstance(o, ast.Import): yield from (a.name.split('.')[0] for a in o.names)
        elif isinstance(o, ast.ImportFrom) and not o.level: yield o.module.split('.')[0]

def undeclared(files, *keys, top_only=False):
    dists, ok = packages_distributions(), names(*keys) | {canon(LIB)}
    mods = {(m, f.relative_to(ROOT).as_posix()) for f in files for m in imported(f, top_only)}
    return sorted((f, m) for m,f in mods if m not in sys.stdlib_module_names
        and not {canon(d) for d in dists.get(m, [m])} & ok)

def test_every_requirement_is_pinned_to_a_version_it_allows():
    for r in declared(*[k for k in cfg if k.endswith('requirements')]):
        if canon(r.name)!=canon(LIB):
            assert r.specifier.contains(PINS[canon(r.name)]), f'{r} against {PINS[canon(r.name)]}'

def test_the_package_imports_only_what_it_requires():
    "At its top; a function may ask for what an extra brings"
    assert undeclared((ROOT/LIB).rglob('*.py'), 'requirements', top_only=True) == []
    assert undeclared((ROOT/LIB).rglob('*.py'), 'requirements', 'dask_requirements', 'slurm_requirements',
        'completion_requirements') == []

def test_tests_and_tools_import_only_what_their_extras_bring():
    brought = 'requirements', 'tests_requirements', 'dev_requirements', 'docs_requirements'
    here = {p.stem for d in ('tests', 'tools', 'benchmarks') for p in (ROOT/d).glob('*.py')}
    assert [o for o in undeclared([*(ROOT/'tests').glob('*.py'), *(ROOT/'tools').glob('*.py'), ROOT/'conftest.py'],
        *brought) if o[1] not in here] == []

def test_who_cites_names_this_version():
    said = (ROOT/'CITATION.cff').read_text(encoding='utf-8')
    assert f'version: {importlib.import_module(LIB).__version__}\n' in said and f"license: {cfg['license']}\n" in said

def test_every_folder_with_modules_is_a_package():
    want = {'.'.join(p.parent.relative_to(ROOT).parts) for p in (ROOT/LIB).rglob('*.py')}
    assert set(find_packages(ROOT, include=[LIB, f'{LIB}.*'])) == want

@pytest.mark.parametrize('line', cfg['console_scripts'].strip().splitlines() + cfg['recipes'].strip().splitlines())
def test_entry_points_lead_somewhere(line):
    mod, obj = line.partition(' = ')[2].split(':')
    assert callable(getattr(importlib.import_module(mod), obj))

@pytest.mark.parametrize('group', ['recipes', 'claims'])
def test_entry_points_are_installed_as_declared(group):
    "settings.ini is read when the package is installed: `make test` does it again after a change"
    want = dict(l.split(' = ') for l in cfg[group].strip().splitlines())
    assert want.items() <= {e.name: e.value
        for e in entry_points(group=f'{LIB}.{group}')}.items(), 'pip install -e . --no-deps --no-build-isolation'

@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """The wheel made from the sdist, installed without its requirements into a folder elsewhere; gives a call that runs
    Python there"""
    tmp = tmp_path_factory.mktemp('built')
    local = 'build', '_docs', '_proc', 'data', 'demo'
    def leave(d, fs):
        return [f for f in fs if f[0]=='.' or f=='__pycache__' or f.endswith('.egg-info')
            or (Path(d)==ROOT and f in local)]
    shutil.copytree(ROOT, tmp/'src', ignore=leave)
    def run(*args, cwd=tmp, **env):
        r = subprocess.run([sys.executable, *map(str, args)], cwd=cwd, capture_output=True, text=True,
            env={**os.environ, **env})
        assert not r.returncode, r.stdout + r.stderr
        return r.stdout
    backend = 'from setuptools import build_meta as b; b.build_{}("{}")'
    run('-c', backend.format('sdist', tmp.as_posix()), cwd=tmp/'src')
    with tarfile.open(next(tmp.glob('*.tar.gz'))) as t: t.extractall(tmp/'sdist', filter='data')
    run('-c', backend.format('wheel', tmp.as_posix()), cwd=next((tmp/'sdist').iterdir()))
    run('-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-deps', '--no-index', '--target', tmp/'site',
        next(tmp.glob('*.whl')))
    return lambda *args: run(*args, PYTHONPATH=str(tmp/'site'))

def test_a_wheel_carries_the_recorded_results(installed):
    code = 'import aepretrain_nb; from aepretrain_nb.answers.rows import recorded, results_folder as f; '
    code += 'print(aepretrain_nb.__file__, f(), *sorted(p.name for p in f().iterdir()), len(recorded("digits")))'
    module, folder, *names, n = installed('-c', code).split()
    assert Path(folder)==Path(module).parent/'results' and not Path(folder).is_relative_to(ROOT)
    assert names==sorted(p.name for p in (ROOT/'results').glob('*.csv'))
    assert int(n)==len((ROOT/'results'/'digits.csv').read_text(encoding='utf-8').splitlines())-1

def test_a_wheel_carries_the_templates_and_the_published_numbers(installed):
    code = 'import aepretrain_nb; from pathlib import Path; here = Path(aepretrain_nb.__file__).parent; '
    code += 'files = [p for d in ("templates", "reported") for p in (here/d).iterdir()]; '
    code += 'print(*sorted(p.relative_to(here).as_posix() for p in files))'
    here = ROOT/LIB
    assert installed('-c', code).split()==sorted(p.relative_to(here).as_posix() for d in ('templates', 'reported')
        for p in (here/d).iterdir())

@pytest.mark.slow
def test_the_ledger_of_a_wheel_is_that_of_the_checkout(installed):
    "Of one paper; test_ledger settles them all"
    read = lambda f: pd.read_csv(f, dtype=str, keep_default_na=False)
    got,want = read(StringIO(installed('-m', LIB, 'ledger', 'dong', '--csv'))),read(ROOT/'results'/'ledger.csv')
    assert got.values.tolist()==want[want.paper=='dong'][got.columns].values.tolist() and len(got)>5

def test_license_is_the_declared_one():
    assert 'Apache License' in (ROOT/'LICENSE').read_text(encoding='utf-8') and cfg['license']=='Apache-2.0'
