"What would spoil the narrative of the page: its HTML as a parser sees it, hostile names, and grids with holes."
import re, shlex
from dataclasses import asdict, replace
from html.parser import HTMLParser

import pytest
from aepretrain_nb.cli import main
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment.experiment import compare
from aepretrain_nb.compare import read_results
from aepretrain_nb.answers.report import command_of, report
from aepretrain_nb.experiment.schema import ExperimentError
from aepretrain_nb.experiment.recipe import find_recipe

digits = dataset('digits')
smoke = find_recipe('kohlbrenner', 'smoke')
tiny = find_recipe('kohlbrenner', 'smoke', finetune=dict(steps=20, evals=4, lr=[.003, .01, .03]), pretrain=dict(steps=20, evals=2))
arms = ['pretrained', 'random_paper', 'random_default']
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
        self.links += [(tag, v) for k,v in attrs.items() if k in ('src', 'href', 'srcset', 'data', 'action', 'poster', 'xlink:href', 'background')]
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
    assert p.html.startswith('<!DOCTYPE html>') and p.all('html')==[dict(lang='en')] and dict(charset='utf-8') in p.all('meta')
    assert p.links and all(v.startswith('data:image/') if t=='img' else t=='a' and v[0]=='#' and v[1:] in p.ids for t,v in p.links), p.links
    assert not {t for t,*_ in p.tags} & {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form', 'svg'}
    assert not any(k.startswith('on') or k=='style' for _,a,_ in p.tags for k in a)
    style = re.search(r'<style>(.*?)</style>', p.html, re.S)[1]
    assert '@import' not in style and 'url(' not in style and '@media print' in style and style.count('{')==style.count('}')
    assert len(set(p.ids))==len(p.ids)
    assert all(a.get('alt') for a in p.all('img'))
    assert len(p.all('table'))==len(p.all('caption'))==len(p.all('thead')) and all(a.get('scope') in ('col', 'row') for a in p.all('th'))
    assert p.html.count('<h1')==1 and p.all('meta')[1]['name']=='viewport'
    for row in re.findall(r'<tr>.*?</tr>', p.html, re.S): assert row.count('scope="row"') in (0, 1)
    return p

def headings(p): return re.findall(r'<h2>(.*?)</h2>', p.html)

@pytest.fixture(scope='module')
def whole(tmp_path_factory): return compare(digits, arms, [50, 100], 3, tiny, store=tmp_path_factory.mktemp('w')/'whole', progress=False)

lively = find_recipe('kohlbrenner', 'smoke', model=dict(width=.1, act='relu', dropout=0.), pretrain=dict(opt='adam', lr=[.003, .01], steps=60, evals=5),
    finetune=dict(opt='adam', lr=.01, steps=60))

@pytest.fixture(scope='module')
def planned(tmp_path_factory):
    "Seeds by plan; one control learns, the other mostly does not"
    return compare('digits', ['pretrained', 'random_paper', 'random_matched'], [50], 'auto', lively, margin=8., max_seeds=6, store=tmp_path_factory.mktemp('p')/'plan', progress=False)

def test_the_bottom_line_comes_first_and_is_that_of_the_terminal(planned, tmp_path):
    p = check(report(planned, tmp_path/'a.html'))
    first = planned.text().splitlines()[0]
    assert first.startswith('Bottom line: ') and first==planned.verdict().headline
    assert 0<p.text.index('Does pre-training help')<p.text.index(first)<p.text.index('Verdict')

def test_an_arm_that_did_not_train_gets_no_sign_and_no_p(planned, tmp_path):
    t = planned.verdict().table
    dead = t[t.control=='random_matched']
    assert set(dead.verdict)=={'no verdict'} and dead.p_holm.isna().all()
    html = report(planned, tmp_path/'a.html').read_text(encoding='utf-8')
    for r in dead.itertuples():
        cells = next(o for o in re.findall(r'<tr>.*?</tr>', html, re.S) if r.words in o)
        assert '▲' not in cells and '▼' not in cells and 'p =' not in cells

def test_autoencoders_stand_beside_the_mean_image_and_a_pca(planned, tmp_path):
    p,e = check(report(planned, tmp_path/'a.html')),planned.encoders
    for k in ('mse', 'mean_image', 'pca'): assert f'{e[k].mean():.3g}' in p.text
    assert 'chosen among adam:0.003 0.01' in p.text and {'last_fifth', 'opt', 'tried', 'edge'} <= set(e)
    for w in planned.warnings: assert w in p.text
    assert 'balanced accuracy' in p.text and f'{planned.cells.f1.iloc[0]:.2f}' in p.text

def test_the_plan_is_told_and_the_folder_alone_gives_the_same_page(planned, tmp_path):
    a,b = report(planned, tmp_path/'a.html'),report(planned.store.path, tmp_path/'b.html')
    assert a.read_bytes()==b.read_bytes() and 'as many as an interval of ±8 points takes, 6 at most' in a.read_text(encoding='utf-8')
    code,note = command_of(planned)
    assert "seeds='auto'" in code and 'margin=8' in code and 'max_seeds=6' in code and f'same {len(planned.trials)} fits' in note

def test_another_treatment_and_metric_are_told(planned, tmp_path):
    p = check(report(planned.store.path, tmp_path/'a.html', treatment='random_paper', metric='f1'))
    assert 'random_paper on digits' in p.text and 'Test macro-F1 (%)' in p.text and 'random_paper minus pretrained' in p.text
    with pytest.raises(ExperimentError, match="did you mean 'random_paper'"): report(planned.store.path, treatment='random_papre')

def test_whole_page(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html', margin=20))
    assert headings(p)[:2]==['Verdict', 'Before you believe it'] and {'Learning rates', 'Pre-training', 'Settings', 'Do it again'} <= set(headings(p))
    assert len(p.all('img'))==5
    for r in whole.verdict(20).table.itertuples(): assert r.words in p.text
    for w in whole.verdict(20).warnings: assert w in p.text
    for c in whole.cells.itertuples(): assert f'{c.mean:.2f} ± {c.sd:.2f}' in p.text

def test_no_address_of_anything_outside(whole, tmp_path):
    html = report(whole, tmp_path/'a.html').read_text(encoding='utf-8')
    assert not re.search(r'(?:https?|file|ftp):|(?<=["\'(=])//|www\.', html) and str(whole.store.path) not in html

def test_folder_and_results_give_one_page(whole, tmp_path):
    a,b = report(whole, tmp_path/'a.html'), report(whole.store.path, tmp_path/'b.html')
    assert a.read_bytes()==b.read_bytes()
    assert report(whole)==whole.store.path/'report.html' and report(whole, tmp_path)==tmp_path/'report.html'
    assert len(read_results(whole.store.path).rows)==len(whole.rows)

HOSTILE = '<script>alert(1)</script>', '$\\frac{</td>&amp;"\'', '_hidden', 'x'*60+'1', 'x'*60+'2', '{{ 7*7 }}{% if %}'

def test_hostile_names_are_text(tmp_path):
    name = '"><img src=http://evil.example/x.png onerror=alert(1)>$_{'
    recipe = tiny | dict(name='<b>r</b>', arms={'pretrained': tiny['arms']['pretrained']} | {a: tiny['arms']['random_default'] for a in HOSTILE})
    res = compare(Splits(name, digits.train, digits.test), labels=[50], seeds=2, recipe=recipe, store=tmp_path/'<i>&', progress=False)
    p = check(report(res, tmp_path/'a.html'))
    assert not {t for t,*_ in p.tags} & {'script', 'i'} and 'onerror' not in {k for _,a,_ in p.tags for k in a}
    for text in (*HOSTILE, name, '<b>r</b>'): assert text in p.text
    assert '49' not in re.search(r'<title>(.*?)</title>', p.html)[1]

def test_reason_of_a_failure_is_text(tmp_path):
    res = compare(digits, ['pretrained', 'random_default'], [50], 2, tiny, store=tmp_path/'s', progress=False)
    t = res.trials[-1]
    res.store.file('trials', t.key).unlink()
    res.store.put(t.key, dict(trial=asdict(t), reason='ValueError: <script>alert(1)</script>'), 'failed')
    p = check(report(read_results(res.store.path), tmp_path/'a.html'))
    assert 'ValueError: <script>alert(1)</script>' in p.text and '3 of 4 fits finished' in p.text and '1 of 2' in p.text

def test_trials_that_never_ran(whole, tmp_path):
    res = type(whole)(whole.trials + [replace(whole.trials[-1], labels=200)], whole.store, whole.splits, dict(setting=whole.setting))
    p = check(report(res, tmp_path/'a.html'))
    assert 'not run' in p.text and 'no runs' in p.text and '18 of 19 fits finished' in p.text

def test_everything_failed(tmp_path):
    recipe = smoke | dict(finetune=smoke['finetune']|dict(opt='sgd', lr=1e38))
    res = compare(digits, ['pretrained', 'random_default'], [50], 2, recipe, store=tmp_path/'s', progress=False)
    p = check(report(res))
    assert 'nothing to compare' in p.text and '0 of 4 fits finished' in p.text and 'Label curve' not in headings(p) and 'Pre-training' in headings(p)

@pytest.mark.parametrize('arm', ['pretrained', 'random_default'])
def test_one_arm(tmp_path, arm):
    p = check(report(compare(digits, [arm], [50], 3, tiny, store=tmp_path/'s', progress=False)))
    assert 'nothing to compare' in p.text and ('Pre-training' in headings(p))==(arm=='pretrained') and 'Means' in headings(p)

def test_one_seed(tmp_path):
    p = check(report(compare(digits, ['pretrained', 'random_paper'], [50], 1, lively, store=tmp_path/'s', progress=False)))
    assert 'no verdict: one run tells nothing about chance' in p.text and '(no interval)' in p.text and '1 seed' in p.text and 'nan' not in p.text

def test_many_sizes_get_a_picture_for_each_control(tmp_path):
    recipe = smoke | dict(finetune=smoke['finetune']|dict(steps=2, evals=1))
    p = check(report(compare(digits, arms, list(range(20, 110, 10)), 1, recipe, store=tmp_path/'s', progress=False)))
    assert len([a for a in p.all('img') if a['alt'].startswith('Forest')])==2

def test_old_rows_without_learning_rates(whole, tmp_path):
    res = read_results(whole.store.path)
    res.rows = res.rows.drop(columns=['lr', 'lrs'])
    assert 'Learning rates' not in headings(check(report(res, tmp_path/'a.html')))

def test_wrong_input_writes_nothing(whole, tmp_path):
    with pytest.raises(ExperimentError): report(tmp_path)
    with pytest.raises(ValueError, match='above 0'): report(whole, tmp_path/'a.html', margin=-1)
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError): report(whole, tmp_path/'file'/'a.html')
    assert [f.name for f in tmp_path.iterdir()]==['file']

# The command

@pytest.mark.parametrize('kw', [dict(), dict(crossed=True), dict(valid='extra', n_valid=30, n_unlabelled=300), dict(policy='uniform', lr=.003),
    dict(lr=[.003, .01])])
def test_command_line_plans_the_same_trials(tmp_path, kw, monkeypatch, capsys):
    res = compare('digits', ['pretrained', 'random_default'], [50, 60], 2, setting='smoke', store=tmp_path/'mine', progress=False, **kw)
    (line,note),n = command_of(res),len(res.trials)
    assert note==f'It plans the same {n} fits, checked by their keys.' and line.startswith('aepretrain compare digits ') and line.endswith(' --out mine')
    before = {f.name for f in (tmp_path/'mine'/'trials').iterdir()}
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)[1:])==0
    assert {f.name for f in (tmp_path/'mine'/'trials').iterdir()}==before and f'{n} of {n} fits are in the store already' in capsys.readouterr().err

def test_python_plans_the_same_trials(whole, tmp_path, monkeypatch, capsys):
    code,note = command_of(whole)
    assert 'same 18 fits' in note
    monkeypatch.chdir(whole.store.path.parent)
    exec(code, {})
    assert '18 of 18 fits are in the store already' in capsys.readouterr().err

def test_several_calls_have_no_single_command(tmp_path):
    go = lambda labels,policy: compare(digits, ['random_default'], [labels], 1, tiny, store=tmp_path/'s', progress=False, policy=policy)
    go(50, 'stratified'), go(60, 'uniform')
    code,note = command_of(read_results(tmp_path/'s'))
    assert code is None and 'several calls' in note
    check(report(tmp_path/'s'))

def test_own_command_is_printed_as_it_is(whole, tmp_path):
    p = check(report(whole, tmp_path/'a.html', command='aepretrain compare <mine> && true'))
    assert 'aepretrain compare <mine> && true' in p.text
