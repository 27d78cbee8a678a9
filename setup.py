"""What pyproject.toml leaves open: read from settings.ini, the version from the package. A built package carries a copy
of results/."""
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

lib, here = 'aepretrain_nb', Path(__file__).parent
cfg = ConfigParser(delimiters=['='], interpolation=None)
cfg.read(here/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
lines = lambda k: cfg[k].strip().splitlines()
version = re.search(r'^__version__ = "(.+)"', (here/lib/'__init__.py').read_text(encoding='utf-8'), re.M)[1]

class BuildPy(build_py):
    "Puts results/*.csv into the package, unless it is installed as a link to the checkout, where they lie beside it"
    def run(self):
        super().run()
        for src,dst in self.results():
            self.mkpath(str(dst.parent))
            self.copy_file(str(src), str(dst))

    def results(self):
        return [] if self.editable_mode else [(f, Path(self.build_lib)/lib/'results'/f.name)
            for f in sorted((here/'results').glob('*.csv'))]
    def get_outputs(self, include_bytecode=1):
        return super().get_outputs(include_bytecode) + [str(o) for _,o in self.results()]

setup(
    version=version,
    author=cfg['author'],
    license_expression=cfg['license'],
    license_files=['LICENSE'],
    keywords=cfg['keywords'].split(),
    classifiers=lines('classifiers'),
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    packages=find_packages(include=[lib, f'{lib}.*']),
    package_data={lib: ['reported/*.csv', 'templates/*']},
    include_package_data=True,
    install_requires=lines('requirements'),
    extras_require={k.removesuffix('_requirements'): lines(k) for k in cfg if k.endswith('_requirements')},
    cmdclass=dict(build_py=BuildPy),
    entry_points={'console_scripts': lines('console_scripts'), 'aepretrain_nb.recipes': lines('recipes'),
    'aepretrain_nb.claims': lines('claims'), 'nbdev': [f'{lib} = {lib}._modidx:d']},
    zip_safe=False)
