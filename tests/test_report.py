"What would spoil the narrative of the page: its HTML as a parser sees it, hostile names, and grids with holes."
import re, shutil, subprocess
from html.parser import HTMLParser

import numpy as np, pandas as pd, pytest
from aepretrain_nb.answers.report import report
from aepretrain_nb.answers.results import ABOUT, Results
from aepretrain_nb.answers.rows import AnswerError, SEEDS

undrawn = pytest.mark.usefixtures('no_pictures')
VOID = {'meta', 'br', 'img', 'wbr', 'link', 'hr', 'input'}

class Page(HTMLParser):
    "Tags as they nest, attributes, ids, and the text of each section."
    def __init__(self, html):
        super().__init__()
        self.open,self.tags,self.links,self.ids,self.text,self.html = [],[],[],[],'',html
        self.feed(html)
        self.close()
        assert not self.open, f'never closed: {self.open}'

    def handle_starttag(self, tag, attrs):
        names = [k for k,_ in attrs]
        assert len(set(names))==len(names), f'an attribute twice in <{tag}>'
        attrs = dict(attrs)
        self.tags.append((tag, attrs, tuple(self.open)))
        self.links += [(tag, v) for k,v in attrs.items()
            if k in ('src', 'href', 'srcset', 'data', 'action', 'poster', 'xlink:href', 'background')]
        self.ids += [attrs['id']] if 'id' in attrs else []
        if tag not in VOID: self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1]==tag, f'</{tag}> inside {self.open}'
        self.open.pop()

    def handle_data(self, data):
        if 'style' not in self.open: self.text += data

    def all(self, tag): return [a for t,a,_ in self.tags if t==tag]

def check(f):
    "A page that any browser shows from one file."
    p = Page(f.read_text(encoding='utf-8'))
    assert p.html.startswith('<!DOCTYPE html>') and p.all('html')==[dict(lang='en')]
    assert dict(charset='utf-8') in p.all('meta')
    assert p.links and all(v.startswith('data:image/') if t=='img' else t=='a' and v[0]=='#' and v[1:] in p.ids
        for t,v in p.links), p.links
    assert not {t for t,*_ in p.tags} & {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form', 'svg'}
    assert not any(k.startswith('on') or k=='style' for _,a,_ in p.tags for k in a)
    style = re.search(r'<style>(.*?)</style>', p.html, re.S)[1]
    assert '@import' not in style and 'url(' not in style and '@media print' in style
    assert style.count('{')==style.count('}')
    assert len(set(p.ids))==len(p.ids)
    assert all(a.get('alt') for a in p.all('img'))
    assert len(p.all('table'))==len(p.all('caption'))==len(p.all('thead'))
    assert all(a.get('scope') in ('col', 'row') for a in p.all('th'))
    assert p.html.count('<h1')==1 and p.all('meta')[1]['name']=='viewport'
    for row in re.findall(r'<tr>.*?</tr>', p.html, re.S): assert row.count('scope="row"') in (0, 1)
    return p

OPEN = ['The answer', 'What was compared', 'Verdict', 'Before you believe it', 'Means', 'Differences']

def headings(p): return re.findall(r'<h2>(.*?)</h2>', p.html)

ARMS = 'pretrained', 'random', 'random_small'
RECIPE = dict(name='kohlbrenner', version=3, setting='quick', finetune=dict(opt='adam', lr=[.003, .01, .03]))
ABOUT_IT = dict(data='digits', images='1,437 training images of 1×8×8', n_test=360, classes=10, setting='quick',
    recipe=RECIPE, policy=['stratified'],
    valid='within', n_unlabelled=[1437], precision='fp32', encoders=5, command='aepretrain compare digits --out mine',
    note='It plans the same fits.')

def rows_of(arms=ARMS, sizes=(50, 1000), seeds=5, dead='random_small'):
    "Runs of a grid; one arm stays at chance at the smallest size"
    rng = np.random.default_rng(0)
    d = pd.MultiIndex.from_product([sizes, range(seeds), arms],
        names=['labels', 'head_seed', 'arm']).to_frame(index=False)
    value = 80 + 6.*(d.arm==arms[0]) + 3*np.log10(d.labels) + d.head_seed + rng.normal(0, .4, len(d))
    value = value.where((d.arm!=dead) | (d.labels!=sizes[0]), 10.2).round(2)
    return d.assign(value=value, valid=value-1, balanced=value-2, f1=value-3, subset_seed=d.head_seed,
        encoder_seed=d.head_seed,
        subset=d.labels.astype(str)+'-'+d.head_seed.astype(str), data='digits',
        encoder=d.arm.where(d.arm==arms[0], 'random'), metric='accuracy', unit='%',
        chance=10., n_test=360, n_valid=d.labels//5, lr=rng.choice([.003, .01], len(d)), lrs='0.003 0.01 0.03',
        seconds=40., device='cpu', threads=1,
        revision='0.2', versions='python 3', key=[f'k{i}' for i in d.index])

def curves_of(rows):
    "Two points along each fit"
    points = [rows[['arm', 'labels']].assign(seed=rows.head_seed, step=k, valid=rows.valid-9/k, train_loss=1.,
        valid_loss=1.) for k in (1, 2)]
    return pd.concat(points)

def grid(arms=ARMS, sizes=(50, 1000), seeds=5, lost=0, about=None, encoders=True, **kw):
    "Results with everything that a grid gives; the last `lost` runs failed"
    rows = rows_of(tuple(arms), sizes, seeds)
    have, gone = rows.iloc[:len(rows)-lost], rows.tail(lost)
    missing = gone[['arm', 'labels', *SEEDS]].assign(reason='TrialFailed: <script>alert(1)</script>')
    e = pd.DataFrame(dict(arm=arms[0], encoder_seed=range(seeds), lr=.01, opt='adam', tried='adam:0.003 0.01',
        edge=True, mse=.02, mean_image=.0613, pca=.011,
        pca_k=16., last_fifth=-.01, key=[f'e{i}' for i in range(seeds)], seconds=5.))
    rng = np.random.default_rng(0)
    arrays = lambda n: dict(images=rng.random((n, 1, 8, 8)), outputs=rng.random((n, 1, 8, 8)),
        before=np.ones((4, 1, 3, 3)), after=np.ones((4, 1, 3, 3)))
    own = ABOUT_IT | dict(arms={a: dict(encoder=a[:6]) for a in arms}) | (about or {})
    return Results(have, missing if lost else None, curves_of(have), e if encoders else None, about=own,
        pictures=arrays if encoders else None, **kw)

@pytest.fixture(scope='module')
def whole(): return grid(lost=1)

def test_whole_page(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html', margin=20))
    assert headings(p)==OPEN+['Do it again', 'Validation curves', 'Learning rates', 'Pre-training', 'Settings',
        'Versions and time']
    assert len(p.all('img'))==6
    for r in whole.verdict(20).table.itertuples(): assert r.words in p.text
    for w in whole.verdict(20).warnings: assert w in p.text
    for c in whole.cells.itertuples(): assert f'{c.mean:.2f} ± {c.sd:.2f}' in p.text
    for said in ('29 of 30 fits finished', '4 of 5', '1,437 training images', 'version 3, setting quick',
        'taken out of the labels: 10 at 50 labels',
        '5 of 5 finished, 25.0 s of training', 'lr = [0.003, 0.01, 0.03]'): assert said in p.text, said

def without_details(p): return re.sub(r'<details>.*?</details>', '', p.html, flags=re.S)

@undrawn
def test_the_answer_stands_open_and_the_rest_is_folded(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html'))
    assert re.findall(r'<h2>(.*?)</h2>', without_details(p))==OPEN and len(p.all('details'))==6
    for folded in ('settings', 'command', 'curves'):
        assert f'id="{folded}"' not in without_details(p) and f'href="#{folded}"' in p.html

@undrawn
def test_each_arm_is_explained_where_it_is_named(whole, tmp_path):
    told = dict(pretrained='Starts from an autoencoder.', random='Starts from nothing.',
        random_small='Small <weights>.')
    p = check(report(grid(about=dict(told=told)), tmp_path/'a.html'))
    for said in told.values(): assert said in p.text
    p = check(report(Results(whole.rows), tmp_path/'b.html'))
    assert 'Starts from pre-trained weights' in p.text and 'Starts from random weights' in p.text

@undrawn
def test_digits_are_those_of_the_bottom_line(whole, tmp_path):
    res = grid()
    p = check(report(res, tmp_path/'a.html'))
    for inside in re.findall(r'\(([+-][^()]*\])\)', res.verdict().headline):
        number, interval_ = inside.replace(' points', '').split(' ', 1)
        assert re.search(re.escape(number)+r'\s+'+re.escape(interval_), p.text), inside

CHROME = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)

@pytest.mark.slow
@pytest.mark.skipif(not CHROME, reason='no Chromium on this machine')
@pytest.mark.parametrize('arms', [ARMS, ARMS[:2]], ids=['three', 'two'])
def test_two_pages_of_paper(tmp_path, arms):
    f = report(grid(arms, (50, 200, 1000)), tmp_path/'a.html')
    flags = ['--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path/"profile"}',
        '--no-pdf-header-footer']
    subprocess.run([CHROME, *flags, f'--print-to-pdf={tmp_path/"a.pdf"}', f.as_uri()], check=True, capture_output=True,
        timeout=120)
    assert len(re.findall(rb'/Type\s*/Page\b', (tmp_path/'a.pdf').read_bytes()))<=2

@undrawn
def test_every_entry_of_about_that_is_given_is_told(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html'))
    told = {k: v for k, v in whole.about.items() if isinstance(v, str)}
    assert set(whole.about)<=set(ABOUT) and all(v in p.text for k, v in told.items() if k!='valid')

@undrawn
def test_the_bottom_line_comes_first_and_is_that_of_the_terminal(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html'))
    first = whole.text().splitlines()[0]
    assert first.startswith('Bottom line: ') and first==whole.verdict().headline
    assert 0<p.text.index('Does pre-training help on digits?')<p.text.index(first)<p.text.index('Verdict')

@undrawn
def test_an_arm_that_did_not_train_gets_no_sign_and_no_p(whole, tmp_path):
    t = whole.verdict().table
    dead = t[(t.control=='random_small') & (t.labels==50)]
    assert set(dead.verdict)=={'no verdict'} and dead.p_holm.isna().all()
    html = report(whole, tmp_path/'a.html').read_text(encoding='utf-8')
    cells = next(o for o in re.findall(r'<tr>.*?</tr>', html, re.S) if dead.words.item() in o)
    assert '▲' not in cells and '▼' not in cells and 'p =' not in cells

@undrawn
def test_autoencoders_stand_beside_the_mean_image_and_a_pca(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html'))
    assert all(v in p.text for v in ('0.02', '0.0613', '0.011', 'a PCA of 16 components'))
    assert 'adam 0.01 (× 5), chosen among adam:0.003 0.01; at an end in 5 of 5' in p.text
    assert 'balanced accuracy' in p.text and f'{whole.cells.f1.iloc[0]:.2f}' in p.text

@undrawn
def test_a_plan_is_told(tmp_path):
    sizes = [dict(labels=n, needed=9, seeds=5) for n in (50, 1000)]
    res = grid(plan=dict(pilot=3, margin=8., most=6, treatment='pretrained', sizes=sizes))
    p = check(report(res, tmp_path/'a.html'))
    assert 'then as many as an interval of ±8 points takes, 6 at most' in p.text

@undrawn
def test_another_treatment_and_metric_are_told(tmp_path):
    p = check(report(grid(treatment='random', metric='f1'), tmp_path/'a.html'))
    assert 'random on digits' in p.text and 'Test macro-F1 (%)' in p.text and 'random minus pretrained' in p.text

@undrawn
def test_a_loss_is_told_in_its_unit(tmp_path):
    "No per cent, no points, no accuracy on a page about nats"
    rows = rows_of(dead=None).drop(columns=['balanced', 'f1'])
    rows = rows.assign(value=4-rows.value/25, valid=4-rows.valid/25, metric='nats', unit='nats', better='lower',
        chance=2.3)
    res = Results(rows, curves=curves_of(rows), about=ABOUT_IT)
    p = check(report(res, tmp_path/'a.html'))
    assert 'Test excess cross-entropy (nats) on 360 images' in p.text and 'the difference in nats' in p.text
    assert 'helps' in p.text
    assert 'accuracy' not in p.text and 'points' not in p.text

@undrawn
def test_no_address_of_anything_outside(whole, tmp_path):
    whole.save(tmp_path/'saved')
    html = report(tmp_path/'saved', tmp_path/'a.html').read_text(encoding='utf-8')
    assert not re.search(r'(?:https?|file|ftp):|(?<=["\'(=])//|www\.', html) and str(tmp_path) not in html

def test_folder_and_results_give_one_page(whole, tmp_path):
    whole.save(tmp_path/'s')
    a, b = report(Results.read(tmp_path/'s'), tmp_path/'a.html'), report(tmp_path/'s', tmp_path/'b.html')
    assert a.read_bytes()==b.read_bytes() and report(tmp_path/'s')==tmp_path/'s'/'report.html'
    assert report(whole, tmp_path)==tmp_path/'report.html'

HOSTILE = '<script>alert(1)</script>', '$\\frac{</td>&amp;"\'', '_hidden', 'x'*60+'1', 'x'*60+'2', '{{ 7*7 }}{% if %}'

@undrawn
def test_hostile_names_are_text(tmp_path):
    name = '"><img src=http://evil.example/x.png onerror=alert(1)>$_{'
    about = dict(data=name, recipe=RECIPE | dict(name='<b>r</b>'))
    p = check(report(grid(('pretrained', *HOSTILE), (50,), 2, about=about), tmp_path/'a.html'))
    assert not {t for t,*_ in p.tags} & {'script', 'i'} and 'onerror' not in {k for _,a,_ in p.tags for k in a}
    for text in (*HOSTILE, name, '<b>r</b>'): assert text in p.text
    assert '49' not in re.search(r'<title>(.*?)</title>', p.html)[1]

@undrawn
def test_reason_of_a_failure_is_text(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html'))
    assert 'TrialFailed: <script>alert(1)</script>' in p.text

def test_nothing_has_finished(tmp_path):
    gone = rows_of()[['arm', 'labels', *SEEDS]].assign(reason='not run')
    p = check(report(Results(pd.DataFrame(), gone, about=ABOUT_IT), tmp_path/'a.html'))
    assert 'nothing to compare' in p.text and '0 of 30 fits finished' in p.text and 'The answer' not in headings(p)
    assert 'no runs' in p.text

@undrawn
@pytest.mark.parametrize('encoders', [True, False])
def test_one_arm(tmp_path, encoders):
    p = check(report(grid(['pretrained'], (50,), 3, encoders=encoders), tmp_path/'a.html'))
    assert 'nothing to compare' in p.text and ('Pre-training' in headings(p))==encoders and 'Means' in headings(p)

@undrawn
def test_one_seed(tmp_path):
    p = check(report(grid(ARMS[:2], (50,), 1), tmp_path/'a.html'))
    assert 'no verdict: one run tells nothing about chance' in p.text and '(no interval)' in p.text
    assert '1 seed' in p.text and 'nan' not in p.text

def test_many_sizes_get_a_picture_for_each_control(tmp_path):
    p = check(report(grid(ARMS, tuple(range(20, 110, 10)), 2), tmp_path/'a.html'))
    assert len([a for a in p.all('img') if a['alt'].startswith('Forest')])==2

@undrawn
def test_bare_rows_make_a_page(tmp_path):
    "A CSV of a stranger: no rates, no times, no curves, nothing beside it"
    bare = rows_of()[['arm', 'labels', *SEEDS, 'value', 'subset']]
    p = check(report(Results(bare), tmp_path/'a.html'))
    assert {'Learning rates', 'Validation curves', 'Do it again'}.isdisjoint(headings(p)) and 'not known' in p.text

@undrawn
def test_rates_that_nothing_chose_are_not_told(tmp_path):
    "A nearest neighbour takes none of the rates that its recipe lists"
    rows = rows_of()
    none = rows.assign(lrs='0.1 0.3', lr=None)
    assert 'Learning rates' not in headings(check(report(Results(none), tmp_path/'a.html')))
    some = none.assign(lr=none.arm.map({none.arm.iloc[0]: .1}))
    assert 'Learning rates' in headings(check(report(Results(some), tmp_path/'b.html')))

def test_wrong_input_writes_nothing(whole, tmp_path):
    with pytest.raises(AnswerError, match='holds no results'): report(tmp_path)
    with pytest.raises(ValueError, match='above 0'): report(whole, tmp_path/'a.html', margin=-1)
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError): report(whole, tmp_path/'file'/'a.html')
    assert [f.name for f in tmp_path.iterdir()]==['file']

@undrawn
def test_own_command_is_printed_as_it_is(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html', command='aepretrain compare <mine> && true'))
    assert 'aepretrain compare <mine> && true' in p.text and 'It plans' not in p.text

def test_settings_are_read_from_rows_where_nothing_else_says_them(tmp_path):
    "A table of recorded rows has no recipe as such: what its columns say is told, and what nobody knows is left out"
    html = report(Results.read('photographs'), tmp_path).read_text(encoding='utf-8')
    settings = html[html.index('How it was done'):]
    for words in ('default version 1, setting quick', 'stratified', '10,000', '50,000 training'):
        assert words in settings
    assert 'aepretrain compare cifar10' in html and 'not known' not in settings and 'arm pretrained' not in settings
