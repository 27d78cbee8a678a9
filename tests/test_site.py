"""What `tools/docs.py` makes of notebooks for the site: the menu, tables, descriptions of pictures. test_docs_browser
looks at the result."""
import importlib, json, re
from pathlib import Path

import pandas as pd, pytest
from fastcore.basics import AttrDict

ROOT = Path(__file__).resolve().parents[1]

@pytest.fixture
def docs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT/'tools')
    return importlib.import_module('docs')

@pytest.fixture
def site(docs, tmp_path):
    from nbdev.config import get_config
    return docs.Site(get_config(ROOT), tmp_path)

def test_every_notebook_has_its_place_once(site):
    placed = [o for pgs in site.grouped().values() for o in pgs]
    assert len(placed)==len({*placed}) and site.pages.keys() <= {*placed}
    assert site.grouped()['Papers'][:2]==['papers/kalmanovich', 'papers/kalmanovich_claims']

def test_a_notebook_without_a_place_is_an_error(site):
    site.pages['stray'] = Path('stray.ipynb')
    with pytest.raises(ValueError, match='no group of tools/docs.py: stray'): site.grouped()

def test_the_first_page_names_every_other():
    said = (ROOT/'nbs/index.ipynb').read_text(encoding='utf-8')
    pages = {str(p.relative_to(ROOT/'nbs'))
        for p in (ROOT/'nbs').rglob('*.ipynb') if not re.search(r'(^|/)\.', str(p.relative_to(ROOT/'nbs')))}
    assert len(pages)>100
    assert [p for p in sorted(pages-{'index.ipynb'}) if not re.search(rf'\({re.escape(p)}[)#]', said)]==[]

def test_numbers_stand_right_and_words_left(docs):
    d = pd.DataFrame(dict(arm=['random', None], mean=[1.5, None], gain=['+0.2 [-0.1, 0.5]', '']),
        ['a', 'b']).rename_axis('run')
    d['said'] = ['short', 'a sentence of more than thirty-two letters']
    html = docs.aligned(d.to_html())
    classes = [re.findall(r'<td(?: class="(\w+)")?>', r) for r in re.findall(r'<tr.*?</tr>', html, re.S) if '<td' in r]
    assert classes==[['word', '', '', 'word'], ['word', '', '', 'long']]
    assert re.findall(r'<th class="word">(\w+)', html)==['arm', 'said']
    assert docs.aligned('<p>no table</p>')=='<p>no table</p>'

@pytest.mark.parametrize('text,columns',
    [('one line of words\nand another', False), ('a  1\nb  2', True), ('    def f():\n        return  1', False),
    ('name  value', False)])
def test_text_in_columns_is_not_wrapped(docs, text, columns):
    assert docs.in_columns(dict(text=text)) is columns is docs.in_columns(dict(data={'text/plain': text}))

@pytest.mark.parametrize('given,made', [
    ('see [[`a`](x.html#a)](b.ipynb), [`c`](d)', 'see [`a`](b.ipynb), [`c`](d)'),
    ('[the [`a`](x) of it](b)', '[the `a` of it](b)'), ('[[`a`](x) and [`b`](y)](z)', '[`a` and `b`](z)'),
    ('[`a`](x) and [b](y)', '[`a`](x) and [b](y)')])
def test_a_name_within_a_link_is_none_of_its_own(docs, given, made): assert docs.unnested(given)==made

def picture_cell(source, n): return AttrDict(source=source, id='abc', outputs=[{'data': {'image/png': ''}}]*n)

def test_pictures_are_described(docs):
    assert docs.alts(picture_cell('#| fig-alt: a line\n#| fig-alt: goes on\nplot()', 1), 'x')==['a line goes on']
    assert docs.alts(picture_cell('#| fig-alt: one\n#| fig-alt: two\nplot()', 2), 'x')==['one', 'two']
    assert docs.alts(picture_cell('print()', 0), 'x')==[]
    for source,n in ('plot()', 1), ('#| fig-alt: one\nplot()', 2), ('#| fig-alt: one\nprint()', 0):
        with pytest.raises(ValueError, match=f'x: cell abc shows {n} pictures'): docs.alts(picture_cell(source, n), 'x')

MATRICES = 'train/00_learner',  # a row and a column for each class

def columns(cell):
    "The numbers of columns of the tables that a cell shows, beside the names of their rows"
    html = '\n'.join(''.join(o.get('data', {}).get('text/html', '')) for o in cell.get('outputs', ()))
    return [body.split('</tr>')[0].count('<td') for body in html.split('<tbody>')[1:]]

@pytest.mark.parametrize('page', sorted(ROOT.glob('nbs/**/[!.]*.ipynb')), ids=lambda p: p.stem)
def test_tables_have_at_most_eight_columns(page):
    if page.relative_to(ROOT/'nbs').with_suffix('').as_posix() in MATRICES: return
    cells = json.loads(page.read_text(encoding='utf-8'))['cells']
    wide = {c['id']: n for c in cells if c['cell_type']=='code' for n in columns(c) if n>8}
    assert not wide
