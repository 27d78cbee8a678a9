"""The docs site in a real headless Chromium, without a network: every page at six widths in light, its colours in the
dark too. `make docs` runs this.

Runs with `--docs` only, on `_docs/`, which is built where it is older than what it is made from. Needs `chromium` and
`chromedriver` (Debian: chromium, chromium-driver) and is skipped without them, unless the environment says CI=true. Two
browsers share the pages."""
import functools, http.server, json, os, shutil, subprocess, sys, threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

pytestmark = pytest.mark.docs
ROOT = Path(__file__).resolve().parents[1]
SIZES = dict(small=(360, 780), phone=(390, 844), tablet=(800, 1100), laptop=(1280, 900), desktop=(1440, 900),
    wide=(1920, 1080))
PHONES = 'small','phone'
SCREENS = 25 # of a desktop: the most that a page may fill
CHROMES = 'chromium','chromium-browser','google-chrome','google-chrome-stable','chrome'
FLAGS = ('--headless=new --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run '
    '--disable-background-networking --disable-component-update '
    '--disable-sync --disable-extensions').split() + ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']
READY = '''const done = arguments[0];
const drawn = () => requestAnimationFrame(() => done());
(window.MathJax?.startup?.promise ?? Promise.resolve()).then(() => document.fonts.ready).then(drawn)'''
FITS = '''const width = arguments[0], all = s => [...document.querySelectorAll(s)], style = e => getComputedStyle(e);
const beside = 'mjx-assistive-mml, .sidebar-drawer, .toc-drawer, .visually-hidden';
const shown = e => e.checkVisibility() && !e.closest(beside);
const boxed = e => {
    for (let p = e; p.tagName != 'ARTICLE'; p = p.parentElement) if (/auto|scroll/.test(style(p).overflowX)) return p;
};
const over = e => e.scrollWidth > e.clientWidth + 1, name = e => e.outerHTML.slice(0, 120), parts = all('article *');
const marked = e => /gradient/.test(style(e).backgroundImage);
return {
    width: Math.max(...['html', 'body', '.content'].map(s => document.querySelector(s).scrollWidth)),
    height: document.documentElement.scrollHeight,
    cut: parts.filter(e => e.getBoundingClientRect().right > width + 1 && shown(e) && !boxed(e)).map(name),
    clipped: parts.filter(e => over(e) && style(e).overflowX == 'hidden' && e.clientWidth && shown(e)).map(name),
    unmarked: parts.filter(e => over(e) && boxed(e) == e && shown(e) && !marked(e)).map(name)}'''
FACTS = '''const all = s => [...document.querySelectorAll(s)];
return {
    broken: all('img').filter(e => !e.complete || !e.naturalWidth).map(e => e.src), alts: all('img').map(e => e.alt),
    errors: all('mjx-merror, .problematic, .system-message').map(e => e.textContent),
    math: [all('span.math, div.math').length, all('mjx-container').length],
    ids: all('[id]').map(e => e.id), hrefs: all('a[href]').map(e => e.href),
    sources: all('.page-links a').map(e => e.href),
    raw: all('article p, article li, article td')
        .map(e => e.textContent.match(/.{0,40}\\]\\(.{0,40}/)?.[0]).filter(Boolean),
    headings: all('h1').length}'''
FAINT = '''const theme = document.body.dataset.theme, found = {}, ratios = {};
document.body.dataset.theme = arguments[0];
const numbers = s => (s.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number), alpha = c => c[3] ?? 1;
const mix = (c, on) => c.slice(0, 3).map((v, i) => v*alpha(c) + on[i]*(1 - alpha(c)));
const linear = v => v <= .04045 ? v/12.92 : ((v + .055)/1.055)**2.4;
const light = c => [.2126, .7152, .0722].reduce((t, k, i) => t + k*linear(c[i]/255), 0);
const ratio = (a, b) => (Math.max(a, b) + .05)/(Math.min(a, b) + .05);
const ground = e => {
    if (!e) return [255, 255, 255];
    const c = numbers(getComputedStyle(e).backgroundColor);
    return alpha(c) == 1 ? c : mix(c, ground(e.parentElement));
};
const unread = 'script, style, noscript, svg, mjx-container, .visually-hidden';
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = new Set();
for (let n; n = walk.nextNode();) {
    const e = n.parentElement;
    if (seen.has(e) || !n.data.trim() || e.closest(unread)) continue;
    seen.add(e);
    const s = getComputedStyle(e);
    if (!e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const on = ground(e), key = s.color + ' on ' + on.map(Math.round);
    ratios[key] ??= ratio(light(mix(numbers(s.color), on)), light(on));
    const words = `contrast ${ratios[key].toFixed(2)}, ${arguments[0]}, ${key}: ${e.outerHTML.slice(0, 90)}`;
    if (ratios[key] < 4.5) found[key] ??= words;
}
document.body.dataset.theme = theme;
return Object.values(found)'''

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
    built, made_from = out/'objects.inv', [*(ROOT/'nbs').rglob('*.ipynb'),
        *(o for o in (ROOT/'tools').rglob('*') if o.suffix!='.pyc')]
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
        self.d.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
            dict(width=w, height=h, deviceScaleFactor=1, mobile=name in PHONES))
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
            if m['method']=='Network.responseReceived' and p['response']['status']>=400:
                bad.append(f'{p["response"]["status"]}: {p["response"]["url"]}')
            if m['method']=='Network.loadingFailed' and not p.get('canceled'):
                bad.append(f'{p["errorText"]}: {urls.get(p["requestId"])}')
        return bad

    def js(self, s, *args): return self.d.execute_script(s, *args)
    def find(self, css): return self.d.find_element('css selector', css)

    def wait(self, f):
        from selenium.webdriver.support.ui import WebDriverWait
        return WebDriverWait(self.d, 60, poll_frequency=.05).until(lambda _: f())

@pytest.fixture(scope='module')
def browsers(paths, site):
    bs = [Browser(*paths, site) for _ in range(2)]
    yield bs
    for b in bs: b.d.quit()

@pytest.fixture
def browser(browsers): return browsers[0]

def pages(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*.html') if '_static' not in p.parts)

def flaws(page, o):
    "What is wrong with a page whatever its width, as `FACTS` found it"
    for k in ('broken', 'errors', 'raw'): yield from (f'{k}: {v}' for v in o[k])
    if o['math'][0]>o['math'][1]: yield f'formulas not set: {o["math"]}'
    if page!='search.html' and o['headings']!=1: yield f'{o["headings"]} titles'
    yield from (f'a picture says no more than {a!r}' for a in o['alts'] if len(a)<20)

def misfits(size, o, width):
    "What does not fit at a width, as `FITS` found it"
    if o['width']>width: yield f'{size}: {o["width"]} pixels wide, not {width}'
    screens = o['height']/SIZES[size][1]
    if size=='desktop' and screens>SCREENS: yield f'{screens:.0f} screens high'
    for k in ('cut', 'clipped', 'unmarked'): yield from (f'{size}, {k}: {v}' for v in o[k])

def look(browser, page):
    "The facts of a page, and all that is wrong with it by itself"
    browser.size('laptop')
    browser.open(page)
    facts = browser.js(FACTS)
    bad = [*flaws(page, facts), *browser.js(FAINT, 'light'), *browser.js(FAINT, 'dark')]
    for size in SIZES:
        width = browser.size(size)
        browser.settle()
        bad += misfits(size, browser.js(FITS, width), width)
    return facts, bad+browser.complaints()

@pytest.fixture(scope='module')
def seen(browsers, folder):
    "Page -> facts, flaws: each page is looked at once"
    todo = pages(folder)
    shares = [todo[i::len(browsers)] for i in range(len(browsers))]
    with ThreadPoolExecutor(len(browsers)) as pool:
        parts = pool.map(lambda b, ps: {p: look(b, p) for p in ps}, browsers, shares)
        return {k: v for part in parts for k,v in part.items()}

def test_every_page(seen):
    assert not [f'{p}: {o}' for p,(_,bad) in seen.items()
        for o in bad], '\n'.join(sorted({f'{p}: {o}' for p,(_,bad) in seen.items() for o in bad}))
    assert len(seen) >= len([p for p in (ROOT/'nbs').rglob('*.ipynb') if p.parent.name[0]!='.'])

def test_links_lead_somewhere(seen, browser, folder):
    ids = {browser.home+p: set(o['ids']) for p,(o,_) in seen.items()}
    ids[browser.home] = ids[browser.home+'index.html']
    bad = set()
    for page,(o,_) in seen.items():
        for href in o['hrefs']:
            url, _, anchor = href.partition('#')
            if not href.startswith(browser.home): continue
            if url not in ids and not (folder/url.removeprefix(browser.home)).is_file():
                bad.add(f'{page}: no page for {href}')
            elif anchor and anchor not in ids.get(url, ()): bad.add(f'{page}: no such place: {href}')
    assert not bad, '\n'.join(sorted(bad))

def test_each_picture_has_a_text_of_its_own(seen):
    n = Counter(a for o,_ in seen.values() for a in o['alts'])
    assert len(n)>100 and not [a for a,k in n.items() if k>1]

def test_each_page_leads_to_its_sources(seen):
    made = {}
    for page,(o,_) in seen.items():
        *nb, repository, changes = o['sources']
        assert changes==f'{repository.rstrip("/")}/blob/main/CHANGELOG.md', page
        if nb: made[page] = ROOT/nb[0].partition('/blob/main/')[2]
    assert all(o.is_file() for o in made.values()) and made['data/labels.html'].name=='04_labels.ipynb'
    assert len({*made.values()})==len([p for p in (ROOT/'nbs').rglob('*.ipynb') if p.parent.name[0]!='.'])

def test_text_does_not_shrink_as_the_window_grows(browser):
    browser.size('desktop')
    browser.open('cli.html')
    widths = []
    for w in range(360, 1960, 16):
        browser.d.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
            dict(width=w, height=900, deviceScaleFactor=1, mobile=False))
        widths.append(browser.js(
            'return [innerWidth, Math.floor(document.querySelector("article").getBoundingClientRect().width)]'))
    assert [w for w,_ in widths]==[*range(360, 1960, 16)]
    assert not [(a, b) for a,b in zip(widths, widths[1:]) if b[1]<a[1]]
    assert dict(widths)[1288]>=890  # where 120 columns of code fit

def test_complaints_are_seen(browser):
    "The test itself: a console error, an outside request, a missing file and a wide element"
    browser.size('phone')
    browser.open('index.html')
    assert browser.complaints()==[]
    browser.js('''console.error('spoilt');
        const add = (to, o, values) => to.append(Object.assign(o, values));
        for (const src of ['https://example.org/a.png', 'none.png']) add(document.body, new Image(), {src});
        const style = 'width:900px; height:9px';
        add(document.querySelector('article'), document.createElement('div'), {style})''')
    text = []
    def more():
        text.extend(browser.complaints())
        return all(any(s in o for o in text) for s in ('spoilt', 'leaves the site: https://example.org/a.png',
            '404: '+browser.home+'none.png',
            'none.png - Failed', 'a.png - Failed'))  # the console's lines as well, or they would turn up later
    browser.wait(more)
    o = browser.js(FITS, 390)
    assert o['width']>390 and len(o['cut'])==1 and len(browser.js(FACTS)['broken'])==2

def test_flaws_are_seen(browser):
    "Faint text in one theme, a box that scrolls without a sign, one that hides a part"
    browser.size('laptop')
    browser.open('names.html')
    assert browser.js(FAINT, 'light')==browser.js(FAINT, 'dark')==[]
    browser.js('''const article = document.querySelector('article'), div = () => document.createElement('div');
        const add = (style, innerHTML='') => article.append(Object.assign(div(), {style, innerHTML}));
        const wide = '<div style="width:2000px">wide</div>';
        add('color:#333', 'faint in the dark'), add('overflow-x:auto', wide), add('overflow-x:hidden', wide)''')
    o = browser.js(FITS, 1280)
    assert [len(o[k]) for k in ('cut', 'unmarked', 'clipped')]==[1, 1, 1]  # what is hidden is cut, too
    assert browser.js(FAINT, 'light')==[] and 'faint in the dark' in browser.js(FAINT, 'dark')[0]
    browser.complaints()

def hits(browser):
    "Where a search leads, the best first"
    # they come one by one
    browser.wait(lambda: browser.js(
        'return document.querySelector("#search-results .search-summary")?.innerText.includes("finished")'))
    return browser.js('return [...document.querySelectorAll("ul.search li a")].map(e => e.href.split("?")[0])')

@pytest.mark.parametrize('size', ['phone', 'laptop'])
def test_search(browser, size):
    browser.size(size)
    browser.open('index.html')
    if size=='phone':
        browser.find('.mobile-header label.nav-overlay-icon, .mobile-header [for="__navigation"]').click()
        browser.wait(lambda: browser.find('.sidebar-search').is_displayed()
            and browser.js('return document.querySelector(".sidebar-drawer").getBoundingClientRect().left')==0)
    box = browser.find('.sidebar-search')
    box.send_keys('label_subset')
    box.submit()
    place = next(h for h in hits(browser) if '/data/labels.html' in h and '#' in h)
    assert browser.complaints()==[]
    browser.d.get(place)
    assert 'label_subset' in browser.js('return document.getElementById(location.hash.slice(1)).textContent')

@pytest.mark.parametrize('words,page', [('compare', 'compare'), ('own images', 'own_images'),
    ('masked', 'experiment/methods'), ('Kohlbrenner', 'papers/kohlbrenner'),
    ('few masks', 'few_masks'), ('command line', 'cli'), ('label_subset', 'data/labels')])
def test_search_finds_first_what_is_meant(browser, words, page):
    browser.size('laptop')
    browser.open('search.html?q='+words.replace(' ', '+'))
    browser.wait(lambda: browser.js('return document.querySelector("ul.search li a")'))
    first = browser.js('return document.querySelector("ul.search li a").href')
    assert first.partition('?')[0].partition('#')[0]==f'{browser.home}{page}.html'
    browser.complaints()

def test_dark_mode(browser):
    browser.size('desktop')
    browser.open('answers/stats.html')
    colour = lambda: browser.js('return getComputedStyle(document.body).backgroundColor')
    seen = {}
    for _ in range(3):
        browser.js('[...document.querySelectorAll(".theme-toggle")].find(e => e.checkVisibility()).click()')
        seen[browser.js('return document.body.dataset.theme')] = colour()
    assert set(seen)=={'auto','dark','light'}
    assert sum(map(int, seen['dark'][4:-1].split(','))) < 200 < 600 < sum(map(int, seen['light'][4:-1].split(',')))
    browser.js('localStorage.setItem("theme", "dark")')
    browser.open('index.html')
    theme = browser.js('return document.body.dataset.theme')
    assert theme=='dark' and colour()==seen['dark'], 'not kept on the next page'
    browser.js('localStorage.clear()')
    assert browser.complaints()==[]

def test_code_can_be_copied(browser):
    browser.size('laptop')
    browser.open('data/labels.html')
    assert browser.js('return document.querySelectorAll(".cell_output .copybtn").length')==0
    browser.d.execute_cdp_cmd('Browser.grantPermissions',
        dict(permissions=['clipboardReadWrite', 'clipboardSanitizedWrite'], origin=browser.home))
    want = browser.js('const b = document.querySelector(".cell_input .copybtn"); b.scrollIntoView({block: "center"}); '
        'return b.parentElement.querySelector("pre").innerText')
    browser.find('.cell_input .copybtn').click()
    browser.wait(lambda: browser.js(
        'return document.querySelector(".cell_input .copybtn").classList.contains("success")'))
    got = browser.d.execute_async_script('navigator.clipboard.readText().then(arguments[0])')
    assert got.strip()==want.strip()!='' and browser.complaints()==[]

FOCUS = '''const e = document.activeElement, r = e.getBoundingClientRect();
const inside = r.width > 0 && r.right > 0 && r.left < innerWidth;
return {what: e.className || e.htmlFor || e.tagName, on: inside && e.checkVisibility({visibilityProperty: true}),
    menu: !!e.closest('.sidebar-tree'), content: !!e.closest('article'),
    menu_key: e.htmlFor == '__navigation', search: e.matches('.sidebar-search')}'''

def keys(browser, *names):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    for n in names: ActionChains(browser.d, duration=0).send_keys(getattr(Keys, n)).perform()

def tabs(browser, what, limit=400):
    "Press the tabulator until the focus is at `what`; everything on the way is in sight"
    for _ in range(limit):
        keys(browser, 'TAB')
        o = browser.js(FOCUS)
        if o['what']!='muted-link skip-to-content' and not o['on']:
            raise AssertionError(f'the focus is out of sight: {o}')
        if o[what]: return o
    raise AssertionError(f'no {what} after {limit} steps')

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_keys_reach_everything(browser, theme):
    browser.size('laptop')
    browser.open('answers/stats.html')
    browser.js('document.body.dataset.theme = arguments[0]', theme)
    keys(browser, 'TAB')
    assert 'skip-to-content' in browser.js(FOCUS)['what']
    for o in 'search', 'menu', 'content': tabs(browser, o)
    browser.open('answers/stats.html')
    keys(browser, 'TAB', 'ENTER')
    assert browser.js('return location.hash')=='#furo-main-content' and tabs(browser, 'content',
        6), 'the link past the menu leads nowhere'

def test_keys_open_the_menu_of_a_phone(browser):
    browser.size('phone')
    browser.open('answers/stats.html')
    tabs(browser, 'menu_key', 5)
    keys(browser, 'ENTER')
    browser.wait(lambda: browser.js('return document.querySelector(".sidebar-drawer").getBoundingClientRect().left')==0)
    for o in 'search', 'menu': tabs(browser, o)
    keys(browser, 'ESCAPE')
    browser.wait(lambda: not browser.js('return document.getElementById("__navigation").checked'))
    tabs(browser, 'content', 12)

def test_the_menu_goes_by_question(browser):
    browser.size('laptop')
    browser.open('papers/dong.html')
    captions = browser.js('return [...document.querySelectorAll(".sidebar-tree .caption")].map(e => '
        'e.innerText.trim().toLowerCase())')
    assert captions==['start', 'guides', 'papers', 'library', 'reference']
    shown = browser.js('return [...document.querySelectorAll(".sidebar-tree a")].filter(e => '
        'e.checkVisibility()).map(e => e.innerText)')
    assert 'Claims' in shown and 'Data' in shown and 'Labels' not in shown, 'the open page is unfolded, floors are not'
