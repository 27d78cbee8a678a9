"""Render the notebooks as a site in _docs/, without a network: nbdev's processors, then MyST pages in _proc/, then Sphinx with warnings as errors.

    python tools/docs.py              _docs/, by way of _proc/
    python tools/docs.py --out DIR    DIR, by way of _proc/ beside it
"""
import argparse, ast, base64, os, re, shutil, struct, sys
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)  # read when torch is imported

from pathlib import Path
from posixpath import normpath

from fastcore.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config, nbpath2html
from nbdev.doclinks import NbdevLookup
from nbdev.processors import FilterDefaults

from aepretrain_nb.answers.report import report

from sync import map_links, notebooks

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {'data': 'Data', 'nets': 'Nets', 'train': 'Train', 'experiment': 'Experiment', 'answers': 'Answers', '': 'Front', 'papers': 'Papers'}  # in reading order
SAMPLE = '_static/sample_report.html'  # a report from recorded rows, made with the site
SKIP = 'FrontmatterProc', 'insert_warning'  # the title cell stays a cell, so that a paragraph in it is kept
CSS = '''
h1 { font-size: 2.25em; }
h2 { font-size: 1.6em; }
h3 { font-size: 1.3em; }
h4 { font-size: 1.15em; }
h1 + blockquote { border: 0; background: none; padding: 0; margin: -.5rem 0 1.5rem; font-size: 1.15em; color: var(--color-foreground-secondary); }
a.symbol-source { float: right; font-size: .8em; margin-top: -2.6em; }
section:has(> a.symbol-source) > :is(h2, h3, h4, h5) { font-size: 1.05em; padding-right: 4.5em; overflow-wrap: anywhere; }
:is(h2, h3, h4, h5) code.literal { background: none; border: 0; padding: 0; font-size: 1em; }
div.cell { margin-bottom: 1em; }
body { --mystnb-source-bg-color: var(--color-code-background); --mystnb-source-border-color: var(--color-background-border); --mystnb-source-margin-color: var(--color-brand-primary); }
div.cell div.cell_output { overflow-x: auto; margin-top: .2em; }
div.cell div.cell_output > .output { margin-block: .2em; }
div.cell_output :is(.highlight, pre) { background: none; margin-block: 0; }
div.cell_output pre { padding-block: .4em; }
div.cell_output img { background: #fff; }
table.dataframe { border: 0; border-collapse: collapse; font-size: .85em; font-variant-numeric: tabular-nums; }
table.dataframe :is(th, td) { border: 0; padding: .2em .7em; text-align: right; white-space: nowrap; }
table.dataframe thead tr:last-child th { border-bottom: 1px solid var(--color-foreground-border); }
.table-wrapper table.docutils { margin-left: 0; }
@media (min-width: 97em), (min-width: 75em) and (max-width: 82em) { .content { width: 56em; } }
'''
ICON = '''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M1 1v14l7-4V5zM15 1v14l-7-4V5z" fill="#0072b2"/></svg>
'''
CONF = dict(project='aepretrain_nb', copyright='aepretrain_nb authors', extensions=['myst_nb', 'sphinx-mathjax-offline'], html_theme='furo',
    nb_execution_mode='off', nb_render_markdown_format='myst', nb_merge_streams=True, nb_ipywidgets_js={},
    myst_enable_extensions=['dollarmath', 'amsmath', 'colon_fence'], myst_heading_anchors=4, myst_dmath_double_inline=True,
    html_title='aepretrain_nb', html_static_path=['_static'], html_css_files=['site.css'], html_favicon='_static/icon.svg',
    html_copy_source=False, html_show_sphinx=False, html_use_index=False, exclude_patterns=['images/*'])

class Filter(FilterDefaults):
    "nbdev's processors without those that make front matter for Quarto"
    def base_procs(self): return [o for o in super().base_procs() if o.__name__ not in SKIP]

def text(s): return s if isinstance(s, str) else ''.join(s)
def page(nb): return nbpath2html(nb).with_suffix('').as_posix()
def png_width(data): return struct.unpack('>I', base64.b64decode(text(data)[:64])[16:20])[0]
def is_doc(c): return c.cell_type=='code' and re.search(r'^show_doc\(', c.source, re.M)

def plain_types(s):
    "A signature as nbdev writes it, with types as a reader knows them"
    return s.replace(':NoneType=', '=').replace('__main__.', '').replace('torch._C.', 'torch.')

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

    def process(self, src):
        "The notebook `src` after nbdev's processors, which run exported cells to document them"
        nb = read_nb(self.nbs/src)
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
        "Name, link to the source and description of the symbol that a `show_doc` cell shows; what a notebook exports has a link, or the index is old"
        md = next((text(o.data['text/markdown']) for o in c.outputs if 'text/markdown' in o.get('data', {})), None)
        if md is None: raise ValueError(f'no output of: {c.source}')
        m = re.fullmatch(r'\s*---\s*(?:\[source\]\((.*?)\)(?:\{.*?\})?)?\s*#+ .*?\n(.*)', md, re.S)
        name = re.search(r'^show_doc\(\s*([\w.]+)', c.source, re.M)[1]
        url = m[1] or self.lookup.code(name)  # show_doc finds none below a decorator such as contextmanager
        if c.get('has_sd') and not url: raise ValueError(f'{name} is not in aepretrain_nb/_modidx.py: run `make sync`')
        return name, url, m[2].strip()

    def doc_cell(self, cs, src, level, shown=False):
        "`show_doc` cells as a section that symbol links find; where the code is `shown` below, it already tells parameters and purpose"
        names, urls, bodies = zip(*map(self.symbol, cs))
        targets = '\n'.join(f'({self.labels[page(src)][o]})=' for o in names)
        title = ', '.join(f'`{o}`' for o in names)
        other = ''.join(f'<span id="{o.lower()}"></span>' for o in names if len(names)>1 or not o.isalnum())  # Sphinx turns signs into hyphens
        link = f'\n\n<a class="symbol-source" href="{urls[0]}">source</a>' if urls[0] else ''
        body = '' if shown else '\n\n' + self.links(plain_types(bodies[0]), src)
        return mk_cell(f'{targets}\n{"#"*level} {title}\n\n{other}{link}{body}', 'markdown')

    def url(self, url, sym, src):
        "Where a link of the notebook `src` leads on the site; nbdev's anchors are lower case, so that the link's text `sym` tells `Name` from `name`"
        if url.startswith(self.home):
            pg, _, anchor = url.removeprefix(self.home).partition('#')
            pg = pg.removesuffix('.md').removesuffix('.html')
            here = self.labels.get(pg, {})
            for a in (anchor.rsplit('.', i)[0] for i in range(anchor.count('.')+1)):
                same = [n for n in here if n.lower()==a]
                if same: return '#' + here[next((n for n in same if sym and sym.removesuffix('()').endswith(n)), same[0])]
            if pg not in self.pages: raise ValueError(f'{src}: no page for {url}')
            return f'/{pg}.ipynb'
        if re.match(r'\w+:|#|/', url) or url==SAMPLE: return url
        path, _, anchor = url.partition('#')
        to = Path(normpath((src.parent/path).as_posix()))
        if to in self.srcs: return f'/{page(to)}.ipynb' + (f'#{anchor}' if anchor else '')
        if not (self.nbs/to).exists(): raise ValueError(f'{src}: the link {url} leads nowhere')
        if to.parts[0]!='..': return f'/{to.as_posix()}'
        return f'{self.cfg.git_url}/blob/{self.cfg.branch}/' + (self.nbs/to).resolve().relative_to(self.cfg.config_path).as_posix()

    def links(self, s, src): return map_links(s, lambda url,sym: self.url(url, sym, src))

    def markdown(self, s, src):
        "Markdown as nbdev writes it -> MyST: links, callouts"
        def f(m):
            title, kind = re.search(r'title="(.*?)"', m[1]), re.search(r'callout-(\w+)', m[1])[1]
            return f':::{{admonition}} {title[1]}\n:class: {kind}\n' if title else f':::{{{kind}}}\n'
        return re.sub(r'^:::\s*\{(\.callout.*?)\}\n', f, self.links(s, src), flags=re.M)

    def code_cells(self, c, src):
        "A code cell with tags for its directives, and a cell for each further picture so that each has its own width"
        opts = dict(re.findall(r'^#\|\s*([\w-]+):\s*(.*?)\s*$', c.source, re.M))
        if opts.get('include')=='false': return []
        source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
        tags = [t for k,v,t in (('echo','false','remove-input'), ('output','false','remove-output'), ('code-fold','true','hide-input')) if opts.get(k)==v]
        groups = [[]]
        for o in c.get('outputs', []):
            d = o.get('data', {})
            if 'text/markdown' in d: d['text/markdown'] = self.markdown(text(d['text/markdown']), src)
            if 'image/png' in d and any('image/png' in x.get('data', {}) for x in groups[-1]): groups.append([])
            groups[-1].append(o)
        res = []
        for i,outs in enumerate(groups):
            new = mk_cell(source if i==0 else 'pass', 'code')
            new.metadata = dict(tags=tags if i==0 else ['remove-input'])
            if pic := next((o.data['image/png'] for o in outs if 'image/png' in o.get('data', {})), None):
                new.metadata['mystnb'] = dict(image=dict(width=f'{png_width(pic)//2}px', alt='Figure made by the code above'))
            new.outputs, new.execution_count = outs, None
            res.append(new)
        return res

    def arrange(self, cells):
        "Pairs of a cell and the `show_doc` cells that make its heading: those which nbdev added, above the code that they document if it is shown"
        at = {n: i for i,c in enumerate(cells) for n in defined(c)}
        auto = {self.symbol(c)[0]: c for c in cells if is_doc(c) and c.get('has_sd')}
        moved = {n: c for n,c in auto.items() if n in at}
        for i,c in enumerate(cells):
            if not any(c is o for o in moved.values()): yield c, [moved[n] for n in dict.fromkeys(defined(c)) if n in moved and at[n]==i]

    def cells(self, nb, src):
        "The staged cells of a processed notebook"
        level, res = 1, []
        for c,docs in self.arrange(nb.cells):
            if docs: res.append(self.doc_cell(docs, src, level+1, shown=True))
            if c.cell_type=='markdown':
                for m in re.finditer(r'^(#+) ', re.sub(r'^```.*?^```', '', c.source, flags=re.S|re.M), re.M): level = len(m[1])
                res.append(mk_cell(self.markdown(c.source, src), 'markdown'))
            elif is_doc(c): res.append(self.doc_cell([c], src, level+1))
            elif c.cell_type=='code': res += self.code_cells(c, src)
        return res

    def toctree(self):
        "One table of contents per folder"
        def tree(folder, title):
            pgs = [p for p,s in self.pages.items() if (s.parent.as_posix() if s.parent.parts else '')==folder and p!='index']
            return f':::{{toctree}}\n:hidden:\n:caption: {title}\n\n' + '\n'.join(pgs) + '\n:::' if pgs else ''
        return '\n\n'.join(filter(None, (tree(f, t) for f,t in FOLDERS.items())))

    def stage(self):
        "Write the pages for Sphinx"
        (self.out/'_static').mkdir(parents=True)
        for f,o in (('site.css',CSS), ('icon.svg',ICON)): (self.out/'_static'/f).write_text(o, encoding='utf-8')
        report('photographs', self.out/SAMPLE)
        if (self.nbs/'images').exists(): shutil.copytree(self.nbs/'images', self.out/'images')
        nbs = {src: self.process(src) for src in self.srcs}  # all of them first: links go both ways
        for src,nb in nbs.items():
            nb.cells = self.cells(nb, src)
            if page(src)=='index': nb.cells.append(mk_cell(self.toctree(), 'markdown'))
            for i,c in enumerate(nb.cells): c['id'] = f'c{i}'
            dst = self.out/f'{page(src)}.ipynb'
            dst.parent.mkdir(parents=True, exist_ok=True)
            write_nb(nb, dst)

def build(work):
    "Run Sphinx over the staged pages; its exit status"
    from sphinx.application import Sphinx
    app = Sphinx(work/'pages', None, work/'html', work/'doctrees', 'html', confoverrides=CONF, status=None, warningiserror=True)  # myst-nb writes beside html/
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
    if out.exists() and not (out/'objects.inv').exists() and any(out.iterdir()): p.error(f'{out} holds something that is not a site')
    work = out.parent/'_proc'
    shutil.rmtree(work, ignore_errors=True)
    site = Site(cfg, work)
    site.stage()
    if status := build(work): return status
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(work/'html', out)
    print(f'{len(site.pages)} pages: {os.path.relpath(out/"index.html")}')

if __name__=='__main__': sys.exit(main())
