"""Bring what is made from the notebooks up to date: modules, their index, aepretrain_nb/all.py, clean notebooks,
README.md.

    python tools/sync.py          write
    python tools/sync.py --check  only name the files that would change; exit status 1 if there are any
"""
import argparse, base64, filecmp, re, shutil, struct, sys, tempfile
from html import escape
from pathlib import Path
from posixpath import normpath
from unittest.mock import patch

from fastcore.nbio import read_nb
from fastcore.xtras import working_directory
from nbdev import doclinks
from nbdev.clean import nbdev_clean
from nbdev.config import get_config, nbpath2html
from nbdev.doclinks import nbdev_export, nbglob
from nbdev.process import NBProcessor
from nbdev.processors import (add_links, clean_magics, filter_stream_, hide_, hide_line, populate_language, rm_export,
    rm_header_dash, strip_ansi)

ROOT = Path(__file__).resolve().parents[1]
FLOORS = 'data', 'nets', 'train', 'experiment', 'answers'  # from the ground upwards
MADE = 'nbs', 'aepretrain_nb', 'README.md'  # what `sync` may write
ALL = ('"The public names of the core in one place: `from aepretrain_nb.all import *`; papers stay apart. '
    'Written by tools/sync.py."\n')

def notebooks(): return sorted(nbglob(as_path=True))

def module_of(nb):
    "The module that a notebook exports, or None"
    code = '\n'.join(c.source for c in read_nb(nb).cells if c.cell_type=='code')
    m = re.search(r'^#\|\s*default_exp:?\s+(\S+)', code, re.M)
    return m and m[1]

def write_all():
    "Write all.py: a star import of each core module, in reading order"
    by_floor = sorted(notebooks(), key=lambda nb: (FLOORS.index(nb.parent.name) if nb.parent.name in FLOORS
        else len(FLOORS), nb))
    mods = [m for nb in by_floor if (m := module_of(nb)) and not m.startswith('papers.')
        and m not in ('cli', 'commands', 'kept')]
    (get_config().lib_path/'all.py').write_text(ALL + ''.join(f'from .{m} import *\n' for m in mods), encoding='utf-8')

# README ---------------------------------------------------------------------------------------------------------------

def fence(s, lang=''): return f'```{lang}\n{s.rstrip()}\n```'

def html_table(s):
    "A pandas table without the style sheet, which code hosts would show as text"
    s = re.sub(r'<style.*?</style>', '', s, flags=re.S)
    return '\n'.join(l.strip() for l in s.splitlines() if l.strip())

def alts(cell, page):
    """The alternative text of each picture that a cell of `page` shows: a line `#| fig-alt:` for each; where there is
    one picture, all lines are its text"""
    said = re.findall(r'^#\|\s*fig-alt:\s*(.+?)\s*$', cell.source, re.M)
    n = sum('image/png' in o.get('data', {}) for o in cell.get('outputs', []))
    if n==1 and said: said = [' '.join(said)]
    if len(said)!=n:
        raise ValueError(f'{page}: cell {cell.id} shows {n} pictures, and #| fig-alt: says what is seen on {len(said)}')
    return said

def picture(data, path, alt):
    "Write a stored picture to `path`; it has two pixels a point, so it is shown at half its width"
    raw = base64.b64decode(''.join(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    src,(width,) = path.relative_to(get_config().config_path).as_posix(),struct.unpack('>I', raw[16:20])
    return f'<img src="{src}" width="{width//2}" alt="{escape(alt)}">'

def output(o, path, alt):
    "Markdown of one stored output; a picture takes the first of the texts `alt`"
    join = lambda s: s if isinstance(s, str) else ''.join(s)
    if o.output_type=='stream': return fence(join(o.text), 'text')
    d = o.get('data', {})
    if 'text/markdown' in d: return join(d['text/markdown'])
    if 'image/png' in d: return picture(d['image/png'], path, alt.pop(0))
    if 'text/html' in d and '<table' in join(d['text/html']): return html_table(join(d['text/html']))
    return fence(join(d['text/plain']), 'text') if 'text/plain' in d else ''

def callouts(s):
    "Callouts as quotations, which every Markdown reader shows"
    def f(m):
        title = re.search(r'title="(.*?)"', m[1])
        kind = re.search(r'callout-(\w+)', m[1])[1].capitalize()
        return '\n'.join('> '+l if l else '>'
            for l in f'**{title[1] if title else kind}**\n\n{m[2].strip()}'.splitlines())
    return re.sub(r'^:::\s*\{(\.callout.*?)\}\n(.*?)^:::\s*$', f, s, flags=re.S|re.M)

RE_LINK = re.compile(r'''(?P<code>^(?P<f>```+|~~~+).*?^(?P=f))
    |\[`(?P<sym>[^`]+)`\]\((?P<u1>[^)\s]+)(?P<r1>(?:\s"[^"]*")?\))
    |(?P<span>``.+?``|`[^`]+`)
    |\]\((?P<u2>[^)\s]+)(?P<r2>(?:\s"[^"]*")?\))
    |(?P<a>\b(?:src|href)=")(?P<u3>[^"\s]+)"''', re.S|re.M|re.X)

def map_links(s, f):
    """Markdown `s` with the target of each link and picture outside of code replaced by `f(url, sym)`; `sym` is the
    text of a link around code, or None"""
    def g(m):
        if m['u1']: return f'[`{m["sym"]}`]({f(m["u1"], m["sym"])}{m["r1"]}'
        if m['u2']: return f']({f(m["u2"], None)}{m["r2"]}'
        return f'{m["a"]}{f(m["u3"], None)}"' if m['u3'] else m[0]
    return RE_LINK.sub(g, s)

def links(s):
    "Links as a code host needs them: relative to the root, and to the notebook where nbdev gives a page of the site"
    cfg = get_config()
    pages = {nbpath2html(nb.relative_to(cfg.nbs_path)).as_posix(): nb.relative_to(cfg.config_path).as_posix()
        for nb in notebooks()}
    site = f'{cfg.doc_host}{cfg.doc_baseurl}/'
    def f(url, sym):
        if url.startswith(site): return pages.get(url.removeprefix(site).partition('#')[0], url)
        return url if re.match(r'\w+:|#|/', url) else normpath(f'{cfg.nbs_path.name}/{url}')
    return map_links(s, f)

def cell_md(c, stem, alt):
    "Markdown of one cell with its stored outputs; `alt` has the text of each picture"
    if c.cell_type=='markdown': return links(callouts(c.source))
    if c.cell_type!='code' or c.directives_.get('include')=='false': return ''
    path = get_config().nbs_path/'images'/f'{stem}-{c.id}.png'
    outs = [] if c.directives_.get('output')=='false' else [output(o, path, alt) for o in c.get('outputs', [])]
    src = [] if c.directives_.get('echo')=='false' or not c.source.strip() else [fence(c.source, 'python')]
    return '\n\n'.join(src + [o for o in outs if o])

def readme():
    "Write README.md from the index notebook with nbdev's processors; nothing is executed"
    cfg = get_config()
    nb = cfg.nbs_path/cfg.readme_nb
    if not nb.exists(): return
    for p in (cfg.nbs_path/'images').glob(f'{nb.stem}-*.png'): p.unlink()
    procs = [populate_language, strip_ansi, hide_line, filter_stream_, rm_header_dash, rm_export, clean_magics, hide_,
        add_links]
    cells = NBProcessor(nb, procs, process=True).nb.cells
    said = {c.id: alts(c, nb.stem) for c in read_nb(nb).cells if c.cell_type=='code'}
    md = '\n\n'.join(filter(None, (cell_md(c, nb.stem, said.get(c.id)).strip() for c in cells)))
    note = f'<!-- Made from {nb.relative_to(cfg.config_path).as_posix()} by tools/sync.py: edit that. -->'
    (cfg.config_path/'README.md').write_text(f'{note}\n\n{md}\n', encoding='utf-8')

# ----------------------------------------------------------------------------------------------------------------------

class Name(str):
    """The name of a notebook of which 'auto' is no part; nbdev's index would take 04_autoencoder for its own cell
    `auto` and leave it out"""
    def __contains__(self, o): return self==o if o=='auto' else super().__contains__(o)

def py_cells(path, cells=doclinks._iter_py_cells):
    for c in cells(path):
        c.nb = Name(c.nb)
        yield c

def sync(root=ROOT):
    "Write everything that follows from the notebooks of the project at `root`"
    with working_directory(root):
        with patch.object(doclinks, '_iter_py_cells', py_cells): nbdev_export()
        write_all()
        nbdev_clean()
        readme()

def files(root):
    "The files that `sync` may write, without caches"
    ps = [p for m in MADE for p in ([root/m] if (root/m).is_file() else (root/m).rglob('*')) if p.is_file()]
    return {p.relative_to(root).as_posix() for p in ps
        if not any(o.startswith('.') or o=='__pycache__' for o in p.relative_to(root).parts)}

def check(root=ROOT):
    "The files that `sync` would change, found on a copy"
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp).resolve()
        for f in files(root) | {'pyproject.toml'}:
            (tmp/f).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root/f, tmp/f)
        sync(tmp)
        return sorted(f for f in files(root)|files(tmp) | {'pyproject.toml'}
            if not ((root/f).exists() and (tmp/f).exists() and filecmp.cmp(root/f, tmp/f, shallow=False)))

if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--check', action='store_true', help='write nothing; name what would change')
    if not p.parse_args().check: sys.exit(sync())
    old = check()
    for f in old: print('not in sync with its notebook:', f)
    sys.exit(bool(old))
