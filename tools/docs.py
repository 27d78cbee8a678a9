"""Render the notebooks as a site in _docs/, without a network: nbdev's processors, then MyST pages in _proc/, then
Sphinx with warnings as errors.

    python tools/docs.py              _docs/, by way of _proc/
    python tools/docs.py --out DIR    DIR, by way of _proc/ beside it
"""
import argparse, ast, base64, json, os, re, shutil, struct, sys
# read when torch is imported
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)

from html import unescape
from itertools import count
from pathlib import Path
from posixpath import normpath

from fastcore.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config, nbpath2html
from nbdev.doclinks import NbdevLookup
from nbdev.processors import FilterDefaults

from aepretrain_nb.answers.report import report
from aepretrain_nb.experiment.default import default_recipe
from aepretrain_nb.experiment.methods import METHODS
from aepretrain_nb.experiment.schema import fields_of

from sync import alts, map_links, notebooks

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(__file__).resolve().parent/'site'  # style, scripts, templates
# the menu: a caption and its pages in reading order; a floor stands for its notebooks, a paper (by year) for its
# further pages
GROUPS = {
    'Start': ['index', 'own_images'],
    'Guides': ['reading_a_report', 'how_many', 'few_masks', 'when_to_stop', 'scaling_out', 'why_default', 'map', 'faq',
    'promises'],
    'Papers': ['papers/kalmanovich', 'papers/zhang', 'papers/dong', 'papers/kohlbrenner', 'papers/barletta'],
    'Library': ['data', 'nets', 'train', 'experiment', 'answers'],
    'Reference': ['cli', 'compare', 'kept', 'gather', 'again', 'commands', 'names']}
FLOORS = {
    'data': 'Arrays, image sets, labels and splits, named data, batches, noise: what is known before there is a net.',
    'nets': 'Layers, encoders, decoders by name, losses, filters.',
    'train': 'The learner, the transfer of weights, schedules, probes, heads, scores and tasks.',
    'experiment': 'Recipes, steps and plans, what a step does, the store, executors, the search for rates.',
    'answers': 'Statistics, verdicts, figures, results and reports, claims and their ledger.'}
SHORT = {'index': 'Start here', 'papers/kalmanovich': 'Kalmanovich & Chechik', 'papers/zhang': 'Zhang, Lee & Lee',
    'papers/dong': 'Dong et al.',
    'papers/kohlbrenner': 'Kohlbrenner et al.', 'papers/barletta': 'Barletta & De Benedetti'}
# of a page's group, beside 15 for a title and 5 for a word in the text
WEIGHTS = dict(Start=8, Guides=6, Papers=3, Library=0, Reference=5)
# a word of search -> what is meant; of a paper, its author
FIRST = {'compare': 'compare', 'masked': 'experiment/methods', 'segmentation': 'few_masks', 'default': 'why_default'}
SAMPLE = '_static/sample_report.html'  # a report from recorded rows, made with the site
SKIP = 'FrontmatterProc', 'insert_warning'  # the title cell stays a cell, so that a paragraph in it is kept
ICON = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<path d="M1 1v14l7-4V5zM15 1v14l-7-4V5z" fill="#0072b2"/></svg>\n')
LIGHT = {'scroll-hint': 'rgb(0 0 0 / .3)', 'card': '0px'}
DARK = {'scroll-hint': 'rgb(255 255 255 / .35)', 'card': '.6rem'}
CONF = dict(project='aepretrain_nb', copyright='aepretrain_nb authors',
    extensions=['myst_nb', 'sphinx-mathjax-offline', 'sphinx_copybutton'], html_theme='furo',
    nb_execution_mode='off', nb_render_markdown_format='myst', nb_merge_streams=True, nb_ipywidgets_js={},
    myst_enable_extensions=['dollarmath', 'amsmath', 'colon_fence'], myst_heading_anchors=4,
    myst_dmath_double_inline=True,
    html_title='aepretrain_nb', html_static_path=['_static'], html_css_files=['site.css'], html_js_files=['site.js'],
    html_favicon='_static/icon.svg',
    html_theme_options=dict(top_of_page_buttons=['view'], light_css_variables=LIGHT, dark_css_variables=DARK),
    templates_path=[str(SITE/'templates')],
    copybutton_selector='.highlight pre:not(.cell_output pre)',
    html_copy_source=False, html_show_sphinx=False, html_use_index=False, exclude_patterns=['images/*'])

NAMES = '''---
nosearch: true
---
# Names

> Where a thing is defined: every public name, and the page that shows it; then methods and settings

:::{{container}} names
{items}
:::

## Methods

What `--method` takes.

:::{{container}} names
{methods}
:::

## Settings

What `--set` takes, in the default recipe; `aepretrain settings RECIPE` prints those of another, with their meanings.

:::{{container}} names
{settings}
:::
'''

def told(names, page, at=''): return '\n'.join(f'- `{n}` [{page}](/experiment/{page}.ipynb{at})' for n in names)
def sentence(s): return s if s.endswith(('.', '?')) else f'{s}.'

class Filter(FilterDefaults):
    "nbdev's processors without those that make front matter for Quarto"
    def base_procs(self): return [o for o in super().base_procs() if o.__name__ not in SKIP]

def text(s): return s if isinstance(s, str) else ''.join(s)

def unnested(s):
    "Markdown in which no name within a link's text is a link of its own, as nbdev makes it one"
    inner = re.compile(r'\[((?:[^][]|\[`[^`]+`\]\([^)]*\))*)\]\(')
    return inner.sub(lambda m: '[' + re.sub(r'\[(`[^`]+`)\]\([^)]*\)', r'\1', m[1]) + '](', s)

def page(nb): return nbpath2html(nb).with_suffix('').as_posix()
def png_width(data): return struct.unpack('>I', base64.b64decode(text(data)[:64])[16:20])[0]
def is_doc(c): return c.cell_type=='code' and re.search(r'^show_doc\(', c.source, re.M)

def plain_types(s):
    "A signature as nbdev writes it, with types as a reader knows them"
    return s.replace(':NoneType=', '=').replace('__main__.', '').replace('torch._C.', 'torch.')

def in_columns(o):
    "Is an output text in columns, which lose their sense where lines are wrapped?"
    s = text(o.get('text', o.get('data', {}).get('text/plain', '')))
    return len(re.findall(r'^.*\S {2,}\S.*$', s, re.M))>1

def aligned(html):
    """A pandas table whose words stand on the left, long ones wrapped, and whose numbers on the right; heads go with
    their column"""
    number = re.compile(r'[-+±~<>=\s]*[\d.][\d.,%eE+×/:±\[\]() -]*|(?i:nan|none|<na>)|-|')
    plain = lambda s: unescape(re.sub(r'<.*?>', '', s, flags=re.S)).strip()
    rows = [re.findall(r'<td>(.*?)</td>', r, re.S) for r in re.findall(r'<tr.*?</tr>', html, re.S)]
    columns = [[plain(o) for o in col] for col in zip(*[r for r in rows if r])]
    words = [not all(number.fullmatch(o) for o in col) for col in columns]
    def cell(m, i):
        return f'<td class="{"long" if len(plain(m[1]))>32 else "word"}">' if words[i] else m[0].partition('>')[0]+'>'
    def row(m):
        n = count()
        if '<td' in m[0]: return re.sub(r'<td>(?=(.*?)</td>)', lambda o: cell(o, next(n)), m[0], flags=re.S)
        heads = len(re.findall('<th', m[0])) - len(words)
        return re.sub(r'<th>', lambda o: '<th class="word">' if (i := next(n)-heads)>=0 and words[i] else o[0], m[0])
    return re.sub(r'<tr.*?</tr>', row, html, flags=re.S)

def patched(f):
    "The class that the function `f` is patched into, or None"
    names = {ast.unparse(getattr(d, 'func', d)) for d in f.decorator_list}
    return ast.unparse(f.args.args[0].annotation) if 'patch' in names else None

def defined(c):
    "The symbols that a shown code cell defines; none if it leaves it to its documentation which parameters they take"
    if c.cell_type!='code' or is_doc(c): return []
    try: body = ast.parse(re.sub(r'^\s*[%!].*$', '', c.source, flags=re.M)).body
    except SyntaxError: return []
    defs = [o for o in body if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
    if any(ast.unparse(d).startswith('delegates') for o in defs for d in o.decorator_list): return []
    return [f'{cls}.{o.name}' if not isinstance(o, ast.ClassDef) and (cls := patched(o)) else o.name for o in defs]

class Site:
    "All pages, and where their symbols are shown"
    def __init__(self, cfg, work):
        self.cfg, self.nbs = cfg, cfg.nbs_path
        self.home, self.out = f'{cfg.doc_host}{cfg.doc_baseurl}/', work/'pages'
        self.srcs = [p.relative_to(self.nbs) for p in notebooks()]
        self.pages = {page(p): p for p in sorted(self.srcs)}
        self.lookup = NbdevLookup()
        self.labels = {}  # page -> symbol -> target
        self.said = {}    # notebook -> cell -> what is seen on its pictures
        self.tops = {}    # page -> title, what it is in a line

    def process(self, src):
        "The notebook `src` after nbdev's processors, which run exported cells to document them"
        nb = read_nb(self.nbs/src)
        self.said[src] = {c.id: alts(c, src.with_suffix('').as_posix()) for c in nb.cells if c.cell_type=='code'}
        title,_,rest = nb.cells[0].source.partition('\n')
        self.tops[page(src)] = title.lstrip('# '), next((l[2:] for l in rest.splitlines() if l.startswith('> ')), '')
        old = os.environ.get('IN_TEST')
        os.environ['IN_TEST'] = '1'
        try: Filter()(nb)
        finally:
            if old is None: del os.environ['IN_TEST']
            else: os.environ['IN_TEST'] = old
        for c in nb.cells:
            if is_doc(c): self.add_label(page(src), self.symbol(c)[0])
        return nb

    def add_label(self, pg, name):
        "A target of its own for the symbol `name`, also where another one differs in case only"
        here = self.labels.setdefault(pg, {})
        new = f'{pg.replace("/", ".")}.{name.lower()}'
        if name not in here: here[name] = new + '-2'*(new in here.values())

    def symbol(self, c):
        """Name, link to the source and description of the symbol that a `show_doc` cell shows; what a notebook exports
        has a link, or the index is old"""
        md = next((text(o.data['text/markdown']) for o in c.outputs if 'text/markdown' in o.get('data', {})), None)
        if md is None: raise ValueError(f'no output of: {c.source}')
        m = re.fullmatch(r'\s*---\s*(?:\[source\]\((.*?)\)(?:\{.*?\})?)?\s*#+ .*?\n(.*)', md, re.S)
        name = re.search(r'^show_doc\(\s*([\w.]+)', c.source, re.M)[1]
        url = m[1] or self.lookup.code(name)  # show_doc finds none below a decorator such as contextmanager
        if c.get('has_sd') and not url: raise ValueError(f'{name} is not in aepretrain_nb/_modidx.py: run `make sync`')
        return name, url, m[2].strip()

    def doc_cell(self, cs, src, level, shown=False):
        """`show_doc` cells as a section that symbol links find; where the code is `shown` below, it already tells
        parameters and purpose"""
        names, urls, bodies = zip(*map(self.symbol, cs))
        targets = '\n'.join(f'({self.labels[page(src)][o]})=' for o in names)
        title = ', '.join(f'`{o}`' for o in names)
        # Sphinx turns signs into hyphens
        other = ''.join(f'<span id="{o.lower()}"></span>' for o in names if len(names)>1 or not o.isalnum())
        link = f'\n\n<a class="symbol-source" href="{urls[0]}">source</a>' if urls[0] else ''
        body = '' if shown else '\n\n' + self.links(plain_types(bodies[0]), src)
        return mk_cell(f'{targets}\n{"#"*level} {title}\n\n{other}{link}{body}', 'markdown')

    def url(self, url, sym, src):
        """Where a link of the notebook `src` leads on the site; nbdev's anchors are lower case, so that the link's text
        `sym` tells `Name` from `name`"""
        if url.startswith(self.home):
            pg, _, anchor = url.removeprefix(self.home).partition('#')
            pg = pg.removesuffix('.md').removesuffix('.html')
            here = self.labels.get(pg, {})
            for a in (anchor.rsplit('.', i)[0] for i in range(anchor.count('.')+1)):
                same = [n for n in here if n.lower()==a]
                if same:
                    return '#' + here[next((n for n in same if sym and sym.removesuffix('()').endswith(n)), same[0])]
            if pg not in self.pages: raise ValueError(f'{src}: no page for {url}')
            return f'/{pg}.ipynb'
        if re.match(r'\w+:|#|/', url) or url==SAMPLE: return url
        path, _, anchor = url.partition('#')
        to = Path(normpath((src.parent/path).as_posix()))
        if to in self.srcs: return f'/{page(to)}.ipynb' + (f'#{anchor}' if anchor else '')
        if not (self.nbs/to).exists(): raise ValueError(f'{src}: the link {url} leads nowhere')
        if to.parts[0]!='..': return f'/{to.as_posix()}'
        beside = (self.nbs/to).resolve().relative_to(self.cfg.config_path).as_posix()
        return f'{self.cfg.git_url}/blob/{self.cfg.branch}/{beside}'

    def links(self, s, src): return map_links(s, lambda url,sym: self.url(url, sym, src))

    def markdown(self, s, src):
        "Markdown as nbdev writes it -> MyST: links, callouts"
        def f(m):
            title, kind = re.search(r'title="(.*?)"', m[1]), re.search(r'callout-(\w+)', m[1])[1]
            return f':::{{admonition}} {title[1]}\n:class: {kind}\n' if title else f':::{{{kind}}}\n'
        return re.sub(r'^:::\s*\{(\.callout.*?)\}\n', f, self.links(unnested(s), src), flags=re.M)

    def code_cells(self, c, src):
        "A code cell with tags for its directives, and a cell for each further picture so that each has its own width"
        opts = dict(re.findall(r'^#\|\s*([\w-]+):\s*(.*?)\s*$', c.source, re.M))
        if opts.get('include')=='false': return []
        source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
        tags = [t for k,v,t in (('echo','false','remove-input'), ('output','false','remove-output'),
            ('code-fold','true','hide-input')) if opts.get(k)==v]
        said,groups = list(self.said[src].get(c.get('id'), [])),[[]]
        if any(in_columns(o) for o in c.get('outputs', [])): tags.append('columns')
        for o in c.get('outputs', []):
            d = o.get('data', {})
            if 'text/html' in d: d['text/html'] = aligned(text(d['text/html']))
            if 'text/markdown' in d: d['text/markdown'] = self.markdown(text(d['text/markdown']), src)
            if 'image/png' in d and any('image/png' in x.get('data', {}) for x in groups[-1]): groups.append([])
            groups[-1].append(o)
        res = []
        for i,outs in enumerate(groups):
            new = mk_cell(source if i==0 else 'pass', 'code')
            new.metadata = dict(tags=tags if i==0 else ['remove-input'])
            if pic := next((o.data['image/png'] for o in outs if 'image/png' in o.get('data', {})), None):
                new.metadata['mystnb'] = dict(image=dict(width=f'{png_width(pic)//2}px', alt=said.pop(0)))
            new.outputs, new.execution_count = outs, None
            res.append(new)
        return res

    def arrange(self, cells):
        """Pairs of a cell and the `show_doc` cells that make its heading: those which nbdev added, above the code that
        they document if it is shown"""
        at = {n: i for i,c in enumerate(cells) for n in defined(c)}
        auto = {self.symbol(c)[0]: c for c in cells if is_doc(c) and c.get('has_sd')}
        moved = {n: c for n,c in auto.items() if n in at}
        for i,c in enumerate(cells):
            if not any(c is o for o in moved.values()):
                yield c, [moved[n] for n in dict.fromkeys(defined(c)) if n in moved and at[n]==i]

    def cells(self, nb, src):
        "The staged cells of a processed notebook"
        level, res = 1, []
        for c,docs in self.arrange(nb.cells):
            if docs: res.append(self.doc_cell(docs, src, level+1, shown=True))
            if c.cell_type=='markdown':
                for m in re.finditer(r'^(#+) ', re.sub(r'^```.*?^```', '', c.source, flags=re.S|re.M), re.M):
                    level = len(m[1])
                res.append(mk_cell(self.markdown(c.source, src), 'markdown'))
            elif is_doc(c): res.append(self.doc_cell([c], src, level+1))
            elif c.cell_type=='code': res += self.code_cells(c, src)
        return res

    def below(self, pg):
        "The pages below a page of the menu: a floor's notebooks, a paper's further pages"
        return [p for p in self.pages if p.startswith(f'{pg}/' if pg in FLOORS else f'{pg}_' if pg.startswith('papers/')
            else '/')]

    def top(self, group):
        "The pages of a group that there are"
        return [o for o in GROUPS[group] if o in self.pages or o in FLOORS or o=='names']

    def grouped(self):
        "Caption -> its pages, those below them too; an error where a notebook stands nowhere"
        res = {g: [o for pg in self.top(g) for o in (pg, *self.below(pg))] for g in GROUPS}
        if odd := self.pages.keys() - {o for pgs in res.values() for o in pgs}:
            raise ValueError(f'in no group of tools/docs.py: {", ".join(sorted(odd))}')
        return res

    def toctree(self, pgs, caption=''):
        "A hidden table of contents: pages under their short names"
        def line(pg):
            if pg=='index': return f'{SHORT[pg]} <self>'
            to = f'/{pg}/index' if pg in FLOORS else f'/{pg}'
            name = SHORT.get(pg) or ('Claims' if pg.endswith('_claims') else '')
            return f'{name} <{to}>' if name else to
        head = f':caption: {caption}\n' if caption else ''
        return f':::{{toctree}}\n:hidden:\n{head}\n' + '\n'.join(map(line, pgs)) + '\n:::'

    def floor(self, folder):
        "The page of a floor: its notebooks, each with a line"
        pgs = self.below(folder)
        rows = [f'- [{self.tops[pg][0]}](/{pg}.ipynb): {sentence(self.tops[pg][1])}' for pg in pgs]
        return '\n'.join([f'# {folder.capitalize()}\n\n> {FLOORS[folder]}\n', *rows, '', self.toctree(pgs)]) + '\n'

    def names(self):
        "The page of all public names, in the order of the alphabet, each with the page that shows it"
        rows = sorted(((n, pg, to) for pg,o in self.labels.items()
            for n,to in o.items() if not re.search(r'(^|\.)_', n)), key=lambda r: (r[0].lower(), r))
        items = '\n'.join(f'- [`{n}`](#{to}) [{SHORT.get(pg) or self.tops[pg][0]}](/{pg}.ipynb)' for n,pg,to in rows)
        return NAMES.format(items=items, methods=told(METHODS, 'methods', '#the-table'),
            settings=told(fields_of(default_recipe('quick')).path, 'schema'))

    def scorer(self):
        "The script that puts results of a search in order"
        weights = {pg: WEIGHTS[g] for g,pgs in self.grouped().items() for pg in pgs}
        js = (SITE/'scorer.js').read_text(encoding='utf-8')
        return js.replace('GROUPS', json.dumps(weights)).replace('FIRST',
            json.dumps(FIRST | {pg.split('/')[1]: pg for pg in GROUPS['Papers']}))

    def stage(self):
        "Write the pages for Sphinx"
        (self.out/'_static').mkdir(parents=True)
        for f in 'site.css', 'site.js': shutil.copy(SITE/f, self.out/'_static')
        (self.out/'_static'/'icon.svg').write_text(ICON, encoding='utf-8')
        report('photographs', self.out/SAMPLE)
        if (self.nbs/'images').exists(): shutil.copytree(self.nbs/'images', self.out/'images')
        nbs = {src: self.process(src) for src in self.srcs}  # all of them first: links go both ways
        for src,nb in nbs.items():
            nb.cells = self.cells(nb, src)
            if page(src)=='index': nb.cells += [mk_cell(self.toctree(self.top(g), g), 'markdown') for g in GROUPS]
            elif more := self.below(page(src)): nb.cells.append(mk_cell(self.toctree(more), 'markdown'))
            for i,c in enumerate(nb.cells): c['id'] = f'c{i}'
            dst = self.out/f'{page(src)}.ipynb'
            dst.parent.mkdir(parents=True, exist_ok=True)
            write_nb(nb, dst)
        for f in FLOORS: (self.out/f/'index.md').write_text(self.floor(f), encoding='utf-8')
        (self.out/'names.md').write_text(self.names(), encoding='utf-8')
        (self.out.parent/'scorer.js').write_text(self.scorer(), encoding='utf-8')

    def conf(self):
        "Sphinx's settings, with those that tell where the sources are"
        root = f'{self.cfg.git_url}/blob/{self.cfg.branch}'
        where = dict(repository=self.cfg.git_url, changelog=f'{root}/CHANGELOG.md', notebooks=f'{root}/{self.nbs.name}')
        return CONF | dict(html_context=where, html_search_scorer=str(self.out.parent/'scorer.js'))

def build(site):
    "Run Sphinx over the staged pages; its exit status"
    from sphinx.application import Sphinx
    work = site.out.parent
    # myst-nb writes beside html/
    app = Sphinx(site.out, None, work/'html', work/'doctrees', 'html', confoverrides=site.conf(), status=None,
        warningiserror=True)
    def source(app, pg, template, context, doctree):
        if pg in site.pages: context['notebook'] = f'{context["notebooks"]}/{site.pages[pg].as_posix()}'
    app.connect('html-page-context', source)
    app.build(force_all=True)
    return app.statuscode

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--out', type=Path, help='where to put the site')
    out = p.parse_args().out
    out = out and out.resolve()
    os.chdir(ROOT)
    cfg = get_config()
    out = out or cfg.doc_path
    if out.exists() and not (out/'objects.inv').exists() and any(out.iterdir()):
        p.error(f'{out} holds something that is not a site')
    work = out.parent/'_proc'
    shutil.rmtree(work, ignore_errors=True)
    site = Site(cfg, work)
    site.stage()
    if status := build(site): return status
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(work/'html', out)
    print(f'{len(site.pages)} pages: {os.path.relpath(out/"index.html")}')

if __name__=='__main__': sys.exit(main())
