"What pyproject.toml leaves open: read from settings.ini, the version from the package."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

lib, here = 'aepretrain_nb', Path(__file__).parent
cfg = ConfigParser(delimiters=['='], interpolation=None)
cfg.read(here/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
lines = lambda k: cfg[k].strip().splitlines()
version = re.search(r'^__version__ = "(.+)"', (here/lib/'__init__.py').read_text(encoding='utf-8'), re.M)[1]

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
    package_data={lib: ['reported/*.csv']},
    include_package_data=True,
    install_requires=lines('requirements'),
    extras_require={k.removesuffix('_requirements'): lines(k) for k in cfg if k.endswith('_requirements')},
    entry_points={'console_scripts': lines('console_scripts'), 'aepretrain_nb.recipes': lines('recipes'), 'nbdev': [f'{lib} = {lib}._modidx:d']},
    zip_safe=False)
