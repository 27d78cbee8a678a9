"Every public function and method says in one line what it does, and in a comment what each of its parameters is"
import ast
from pathlib import Path
import pytest
import aepretrain_nb

ROOT = Path(aepretrain_nb.__file__).parent
MODULES = sorted(str(p.relative_to(ROOT)) for p in ROOT.rglob('*.py') if not p.name.startswith('_'))

def definitions(node, path=()):
    "Public definitions under `node`, with those of public classes; a property has no parameters to explain"
    for o in getattr(node, 'body', []):
        if isinstance(o, ast.ClassDef) and not o.name.startswith('_'):
            yield '.'.join((*path, o.name)), o
            yield from definitions(o, (*path, o.name))
        elif isinstance(o, ast.FunctionDef) and (not o.name.startswith('_') or o.name=='__init__'):
            yield '.'.join((*path, o.name)), o

def undocumented(source):
    "What `source` leaves unsaid"
    lines = source.splitlines()
    for name,o in definitions(ast.parse(source)):
        props = [ast.unparse(d) for d in getattr(o, 'decorator_list', [])]
        # a framework's hooks say what they do by their names
        hook = '.' in name and (o.name in ('__init__','extra_repr') or o.name.startswith(('before_','after_')))
        if not hook and 'property' not in props and not ast.get_docstring(o): yield f'{name}: no docstring'
        if isinstance(o, ast.ClassDef): continue
        a = o.args
        for p in [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]:
            if p is None or p.arg in ('self','cls','ctx'): continue
            if '#' not in lines[p.lineno-1][p.end_col_offset:]: yield f'{name}: nothing about {p.arg!r}'

@pytest.mark.parametrize('module', MODULES)
def test_documented(module):
    assert not list(undocumented((ROOT/module).read_text(encoding='utf-8')))

def test_notices():
    source = 'class A:\n    "One"\n    def f(self, x, # an x\n          y): pass\n    def _g(self, z): pass\n'
    assert list(undocumented(source)) == ['A.f: no docstring', "A.f: nothing about 'y'"]
