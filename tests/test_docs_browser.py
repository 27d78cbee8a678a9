"""The docs site in a real headless Chromium, without a network: every page at desktop and phone width. `make docs` runs this.

Runs with `--docs` only, on `_docs/`, which is built where it is older than what it is made from. Needs `chromium` and `chromedriver`
(Debian: chromium, chromium-driver) and is skipped without them, unless the environment says CI=true."""
import functools, http.server, json, os, shutil, subprocess, sys, threading
from pathlib import Path

import pytest
from filelock import FileLock

pytestmark = pytest.mark.docs
ROOT = Path(__file__).resolve().parents[1]
SIZES = dict(desktop=(1280, 900), phone=(390, 844))
CHROMES = 'chromium','chromium-browser','google-chrome','google-chrome-stable','chrome'
FLAGS = ('--headless=new --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --disable-background-networking --disable-component-update '
    '--disable-sync --disable-extensions').split() + ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']
READY = '''const done = arguments[0];
(window.MathJax?.startup?.promise ?? Promise.resolve()).then(() => document.fonts.ready).then(() => requestAnimationFrame(() => done()))'''
LOOK = '''const width = arguments[0], all = s => [...document.querySelectorAll(s)];
const shown = e => e.checkVisibility() && !e.closest('mjx-assistive-mml, .sidebar-drawer, .toc-drawer, .visually-hidden');
const boxed = e => { for (let p = e; p.tagName != 'ARTICLE'; p = p.parentElement) if (/auto|scroll/.test(getComputedStyle(p).overflowX)) return true };
return {
    width: Math.max(...['html', 'body', '.content'].map(s => document.querySelector(s).scrollWidth)),
    cut: all('article *').filter(e => shown(e) && e.getBoundingClientRect().right > width + 1 && !boxed(e)).map(e => e.outerHTML.slice(0, 120)),
    broken: all('img').filter(e => !e.complete || !e.naturalWidth).map(e => e.src),
    errors: all('mjx-merror, .problematic, .system-message').map(e => e.textContent),
    math: [all('span.math, div.math').length, all('mjx-container').length],
    ids: all('[id]').map(e => e.id), hrefs: all('a[href]').map(e => e.href),
    title: document.title, headings: all('h1').length}'''

def browser_paths():
    "Chromium and its driver, or a skip (a failure where CI=true)"
    chrome, driver = next(filter(None, map(shutil.which, CHROMES)), None), shutil.which('chromedriver')
    if chrome and driver: return chrome, driver
    why = f'no {"chromedriver" if chrome else "Chromium"} on this machine: apt-get install chromium chromium-driver'
    (pytest.fail if os.environ.get('CI','').lower()=='true' else pytest.skip)(why)

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def paths(): return browser_paths()

def fresh(out):
    "Is the site newer than all notebooks and what builds it?"
    built, made_from = out/'objects.inv', [*(ROOT/'nbs').rglob('*.ipynb'), *(ROOT/'tools').glob('*.py')]
    return built.exists() and built.stat().st_mtime >= max(o.stat().st_mtime for o in made_from)

@pytest.fixture(scope='module')
def folder(paths, tmp_path_factory):
    "The site, built at most once for all workers"
    base = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: base = base.parent
    out = ROOT/'_docs'
    with FileLock(base/'docs-site.lock'):
        if not fresh(out):
            r = subprocess.run([sys.executable, ROOT/'tools'/'docs.py'], capture_output=True, text=True)
            assert r.returncode==0, r.stdout+r.stderr
    return out

@pytest.fixture(scope='module')
def site(folder):
    "The address of the site, served on this machine"
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder)) as srv:
        threading.Thread(target=srv.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{srv.server_port}/'
        srv.shutdown()

class Browser:
    "A Chromium that keeps what its pages asked for and complained about"
    def __init__(self, chrome, driver, home):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
        opts = webdriver.ChromeOptions()
        opts.binary_location = chrome
        for f in FLAGS: opts.add_argument(f)
        opts.set_capability('goog:loggingPrefs', dict(browser='ALL', performance='ALL'))
        self.home, self.d = home, webdriver.Chrome(options=opts, service=Service(driver))

    def size(self, name):
        w,h = SIZES[name]
        self.d.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=w, height=h, deviceScaleFactor=1, mobile=name=='phone'))
        return w

    def settle(self): self.d.execute_async_script(READY)

    def open(self, page):
        self.d.get(self.home+page)
        self.settle()

    def complaints(self):
        "What went wrong since the last call: console, requests that failed or left the site"
        bad = [f'console: {o["message"]}' for o in self.d.get_log('browser') if o['level'] in ('WARNING', 'SEVERE')]
        urls = {}
        for m in (json.loads(o['message'])['message'] for o in self.d.get_log('performance')):
            p = m['params']
            if m['method']=='Network.requestWillBeSent':
                urls[p['requestId']] = url = p['request']['url']
                if not url.startswith((self.home, 'data:', 'blob:')): bad.append(f'leaves the site: {url}')
            if m['method']=='Network.responseReceived' and p['response']['status']>=400: bad.append(f'{p["response"]["status"]}: {p["response"]["url"]}')
            if m['method']=='Network.loadingFailed' and not p.get('canceled'): bad.append(f'{p["errorText"]}: {urls.get(p["requestId"])}')
        return bad

    def js(self, s, *args): return self.d.execute_script(s, *args)
    def find(self, css): return self.d.find_element('css selector', css)

    def wait(self, f):
        from selenium.webdriver.support.ui import WebDriverWait
        return WebDriverWait(self.d, 10, poll_frequency=.05).until(lambda _: f())

@pytest.fixture(scope='module')
def browser(paths, site):
    b = Browser(*paths, site)
    yield b
    b.d.quit()

def pages(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*.html') if '_static' not in p.parts)

def flaws(page, o, width):
    "What is wrong with a page as `LOOK` found it"
    if o['width']>width: yield f'{o["width"]} pixels wide, not {width}'
    for k in ('cut', 'broken', 'errors'): yield from (f'{k}: {v}' for v in o[k])
    if o['math'][0]>o['math'][1]: yield f'formulas not set: {o["math"]}'
    if page!='search.html' and o['headings']!=1: yield f'{o["headings"]} titles'

def test_every_page(browser, folder):
    seen, bad = {}, []
    for page in pages(folder):
        for size in SIZES:
            width = browser.size(size)
            if size=='desktop': browser.open(page)
            else: browser.settle()
            seen[browser.home+page] = o = browser.js(LOOK, width)
            bad += [f'{page}: {o}' for o in [*flaws(page, o, width), *browser.complaints()]]
    ids = {url: set(o['ids']) for url,o in seen.items()}
    ids[browser.home] = ids[browser.home+'index.html']
    for page,o in seen.items():
        for href in o['hrefs']:
            url, _, anchor = href.partition('#')
            if not href.startswith(browser.home): continue
            if url not in ids and not (folder/url.removeprefix(browser.home)).is_file(): bad.append(f'{page}: no page for {href}')
            elif anchor and anchor not in ids.get(url, ()): bad.append(f'{page}: no such place: {href}')
    assert not bad, '\n'.join(sorted(set(bad)))
    assert len(seen) >= len([p for p in (ROOT/'nbs').rglob('*.ipynb') if p.parent.name[0]!='.'])

def test_complaints_are_seen(browser):
    "The test itself: a console error, an outside request, a missing file and a wide element"
    browser.size('phone')
    browser.open('index.html')
    assert browser.complaints()==[]
    browser.js('''console.error('spoilt'); for (const u of ['https://example.org/a.png', 'none.png']) document.body.append(Object.assign(new Image(), {src: u}));
        document.querySelector('article').append(Object.assign(document.createElement('div'), {style: 'width:900px; height:9px'}))''')
    text = []
    def more():
        text.extend(browser.complaints())
        return all(any(s in o for o in text) for s in ('spoilt', 'leaves the site: https://example.org/a.png', '404: '+browser.home+'none.png',
            'none.png - Failed', 'a.png - Failed'))  # the console's lines as well, or they would turn up later
    browser.wait(more)
    o = browser.js(LOOK, 390)
    assert o['width']>390 and len(o['cut'])==1 and len(o['broken'])==2

@pytest.mark.parametrize('size', SIZES)
def test_search(browser, size):
    browser.size(size)
    browser.open('index.html')
    if size=='phone':
        browser.find('.mobile-header label.nav-overlay-icon, .mobile-header [for="__navigation"]').click()
        browser.wait(lambda: browser.find('.sidebar-search').is_displayed() and browser.js('return document.querySelector(".sidebar-drawer").getBoundingClientRect().left')==0)
    box = browser.find('.sidebar-search')
    box.send_keys('label_subset')
    box.submit()
    browser.wait(lambda: 'finished' in browser.find('#search-results').text.lower())  # hits come one by one
    hits = browser.js('return [...document.querySelectorAll("ul.search li a")].map(e => e.href)')
    place = next(h for h in hits if '/data/labels.html' in h and '#' in h)
    assert browser.complaints()==[]
    browser.d.get(place)
    assert 'label_subset' in browser.js('return document.getElementById(location.hash.slice(1)).textContent')

def test_dark_mode(browser):
    browser.size('desktop')
    browser.open('answers/stats.html')
    colour = lambda: browser.js('return getComputedStyle(document.body).backgroundColor')
    seen = {}
    for _ in range(3):
        browser.js('[...document.querySelectorAll(".theme-toggle")].find(e => e.checkVisibility()).click()')
        seen[browser.js('return document.body.dataset.theme')] = colour()
    assert set(seen)=={'auto','dark','light'} and sum(map(int, seen['dark'][4:-1].split(','))) < 200 < 600 < sum(map(int, seen['light'][4:-1].split(',')))
    browser.js('localStorage.setItem("theme", "dark")')
    browser.open('index.html')
    assert browser.js('return document.body.dataset.theme')=='dark' and colour()==seen['dark'], 'not kept on the next page'
    browser.js('localStorage.clear()')
    assert browser.complaints()==[]
