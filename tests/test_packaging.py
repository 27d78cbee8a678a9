"What is declared fits what is used: requirements, tested versions, packages, entry points."
import ast, importlib, re, sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canon
from setuptools import find_packages

ROOT, LIB = Path(__file__).resolve().parents[1], 'aepretrain_nb'
cfg = ConfigParser(delimiters=['='], interpolation=None)
cfg.read(ROOT/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
PINS = {canon(n): v for n,v in re.findall(r'^([\w.-]+)==(\S+)$', (ROOT/'constraints.txt').read_text(encoding='utf-8'), re.M)}

def declared(*keys): return [Requirement(l) for k in keys for l in cfg[k].strip().splitlines()]
def names(*keys): return {canon(r.name) for r in declared(*keys)}

def imported(py, top_only=False):
    "Top-level names of the packages that a file imports, with `top_only` just those of its import time"
    tree = ast.parse(py.read_text(encoding='utf-8'))
    for o in (tree.body if top_only else ast.walk(tree)):
        if isinstance(o, ast.Import): yield from (a.name.split('.')[0] for a in o.names)
        elif isinstance(o, ast.ImportFrom) and not o.level: yield o.module.split('.')[0]

def undeclared(files, *keys):
    dists, ok = packages_distributions(), names(*keys) | {canon(LIB)}
    mods = {(m, f.relative_to(ROOT).as_posix()) for f in files for m in imported(f)}
    return sorted((f, m) for m,f in mods if m not in sys.stdlib_module_names and not {canon(d) for d in dists.get(m, [m])} & ok)

def test_every_requirement_is_pinned_to_a_version_it_allows():
    for r in declared(*[k for k in cfg if k.endswith('requirements')]):
        if canon(r.name)!=canon(LIB): assert r.specifier.contains(PINS[canon(r.name)]), f'{r} against {PINS[canon(r.name)]}'

def test_the_package_imports_only_what_it_requires():
    assert undeclared((ROOT/LIB).rglob('*.py'), 'requirements') == []

def test_tests_and_tools_import_only_what_their_extras_bring():
    brought = 'requirements', 'tests_requirements', 'dev_requirements', 'docs_requirements'
    here = {p.stem for d in ('tests', 'tools') for p in (ROOT/d).glob('*.py')}
    assert [o for o in undeclared([*(ROOT/'tests').glob('*.py'), *(ROOT/'tools').glob('*.py'), ROOT/'conftest.py'], *brought) if o[1] not in here] == []

def test_every_folder_with_modules_is_a_package():
    want = {'.'.join(p.parent.relative_to(ROOT).parts) for p in (ROOT/LIB).rglob('*.py')}
    assert set(find_packages(ROOT, include=[LIB, f'{LIB}.*'])) == want

@pytest.mark.parametrize('line', cfg['console_scripts'].strip().splitlines() + cfg['recipes'].strip().splitlines())
def test_entry_points_lead_somewhere(line):
    mod, obj = line.partition(' = ')[2].split(':')
    assert callable(getattr(importlib.import_module(mod), obj))

def test_license_is_the_declared_one():
    assert 'Apache License' in (ROOT/'LICENSE').read_text(encoding='utf-8') and cfg['license']=='Apache-2.0'
