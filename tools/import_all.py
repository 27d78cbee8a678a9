"Import every module of the installed package, look for its data and entry points, and say where it came from."
import importlib, pkgutil, sys
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import aepretrain_nb

src = Path(__file__).resolve().parents[1]
at = Path(aepretrain_nb.__file__).resolve()
if at.is_relative_to(src): sys.exit(f'imported from the source tree, not from an installed package: {at}')
names = [m.name for m in pkgutil.walk_packages(aepretrain_nb.__path__, 'aepretrain_nb.')]
for n in names: importlib.import_module(n)
want = {'.'.join(p.relative_to(src).with_suffix('').parts)
    for p in (src/'aepretrain_nb').rglob('*.py') if p.name!='__init__.py'}
if lost := want-set(names): sys.exit(f'not in the package: {", ".join(sorted(lost))}')
data = {p.name for p in (src/'aepretrain_nb'/'reported').glob('*.csv')}
if lost := data-{p.name for p in files('aepretrain_nb').joinpath('reported').iterdir()}:
    sys.exit(f'not in the package: {", ".join(sorted(lost))}')
for o in [*entry_points(group='aepretrain_nb.recipes'), *entry_points(group='nbdev', name='aepretrain_nb')]: o.load()
print(f'{len(names)} modules and {len(data)} data files imported from an installed package, version '
    f'{aepretrain_nb.__version__}')
