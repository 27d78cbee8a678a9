"Command lines to be afraid of, drawn from the parser, and settings, drawn from the schema: what is new there is fuzzed without a word here."
import argparse, json, re
from importlib.metadata import entry_points
from hypothesis import strategies as st
from aepretrain_nb.cli import parser
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.schema import fields_of

NOTHING = ['', ' ', ',', ',,', '-', '--', '=', ':', 'null', 'None', 'True', '[]', '{}', '""']
NUMBERS = ['0', '1', '2', '-1', '-0.0', '1.5', '1e-9', '1e400', 'nan', 'inf', '-inf', '9'*40, '1_000', '0x10', '٣', '²', '1,2', '.1,.1', '50,50', '100000', '1000000000']
BRACKETS = ['[', '[[1]]', '['*200+']'*200, '['*5000, '{'*200, '(1, 2)', '[1, [2]]', '{"a": 1}', '{"adam": [0.1]}', '{1: {2: 3}}']
SIGNS = ['é', '\u202e', '\x1b[31m', 'a\nb', '\udcff', '\U0001f600', '%s', '%(prog)s', '{0}', '$HOME', '`id`', "'", '"', '\\', 'x'*300, 'x'*5000]
PATHS = ['.', '..', '/', '~', '~/new', '~nobody/new', '../new', '../../../../../new', 'new/', './new/../new', 'done', 'done/', 'done/steps', 'empty', 'file.txt', 'file.txt/below',
    'table.csv', 'loop', 'loop/new', 'link', '/dev/null', '/dev/full', '/dev/stdout', '/proc/self/mem', '/etc/passwd', '/nowhere/new', 'con:', 'a b', '-new']
OBJECTS = ['math:sqrt', 'json:dumps', 'math', ':', 'a:', ':b', '..:x', 'os:nothing', 'aepretrain_nb.papers.kohlbrenner:encoder', 'aepretrain_nb.papers.kohlbrenner:recipe', 'aepretrain_nb.papers.kohlbrenner:SETTINGS']
HOSTILE = st.one_of(*map(st.sampled_from, (NOTHING, NUMBERS, BRACKETS, SIGNS, PATHS, OBJECTS)), st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=8))

# What would do, where it is known: so that other words of the same line are reached. A new option needs none.
USUAL = dict(data=['digits', 'digits', 'digits', 'mnist', 'stl10', 'mnits'], recipe=sorted(entry_points(group='aepretrain_nb.recipes').names), setting=['smoke', 'smoke', 'digits', 'quick', 'paper'],
    out=['new', 'new/deep', 'done', 'empty'], processes=['1', '2'], arms=['random_default', 'pretrained,random_default', 'pretrained', 'file:done'], labels=['50', '50,100', '10'],
    seeds=['1', '2', 'auto'], root=['empty', 'nowhere'], executor=['processes:1', 'processes:2', 'processes:0', 'submitit', 'slurm', 'dask:', 'dask:nowhere'],
    device=['cpu', 'cuda', 'cuda:99', 'meta', 'mps', 'hpu'], lr=['.1', '.1,.3'], metric=['accuracy', 'error', 'balanced', 'f1'], reuse=['done', 'empty,done'],
    treatment=['pretrained', 'random_default'], margin=['2', '50'], max_seeds=['5', '30'], n_valid=['5', '50'], policy=['stratified', 'uniform', 'first_n', 'fold', 'seen'],
    n_unlabelled=['10', '1297', '1298'], timeout=['60'], folder=['done', 'empty', 'nowhere'], path=['done', 'table.csv', 'done/results.csv'], paper=['kohlbrenner', 'barletta', 'digits'],
    results=['empty', 'nowhere'], name=['digits', 'mnist', 'cifar10'])
SMALL = dict(compare=['--recipe', 'kohlbrenner', '--setting', 'smoke', '--labels', '50', '--seeds', '1', '--arms', 'random_default', '--out', 'new'])

def leaves(p, words=()):
    "The words of each verb, and its parser."
    inner = [a for a in p._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner: yield list(words),p
    for a in inner:
        for name,sub in a.choices.items(): yield from leaves(sub, (*words, name))

VERBS = list(leaves(parser()))

def value(a):
    "Values of an argument: what would do, three times in four."
    usual = list(map(str, a.choices)) if a.choices else USUAL.get(a.dest, [])
    if a.dest=='set': return setting()
    if not usual: return HOSTILE
    return st.one_of(st.sampled_from(usual), st.sampled_from(usual), st.sampled_from(usual), HOSTILE)

def typed(a):
    "An option as it is typed: apart from its value or with it; cut short, without one, with one too many."
    name = a.option_strings[-1]
    if a.nargs==0: return st.sampled_from([[name], [name], [name], [f'{name}=1'], [name, name]])
    ways = lambda v: st.sampled_from([[name, v], [name, v], [name, v], [f'{name}={v}'], [name], [name[:5], v], [name, v, v]])
    return value(a).flatmap(ways)

@st.composite
def lines(draw):
    "A whole command line."
    words,p = draw(st.sampled_from(VERBS))
    options = [a for a in p._actions if a.option_strings and a.dest!='help']
    plain = [draw(value(a)) for a in p._actions if not a.option_strings and (a.nargs!='?' or draw(st.booleans()))]
    chosen = draw(st.lists(st.sampled_from(options), max_size=4)) if options else []
    said = [draw(typed(a)) for a in chosen]
    needed = [draw(typed(a)) for a in options if a.required and a not in chosen]
    small = SMALL.get(words[0], []) if draw(st.integers(0, 9)) else []
    odd = draw(st.lists(HOSTILE, max_size=1)) if not draw(st.integers(0, 19)) else []
    return [*words, *plain, *small, *sum(said + needed, []), *odd]

# Settings

def paths_in(section, name):
    "Every path in a section, and the section itself"
    yield name,section
    for k,v in section.items() if isinstance(section, dict) else (): yield from paths_in(v, f'{name}.{k}')

def settings():
    "(recipe, path, value there, words that its kind and its meaning say) of every setting of every recipe."
    out = []
    for name in USUAL['recipe']:
        r = find_recipe(name, 'smoke', 'digits')
        there = {o.path: (name, o.path, o.value, re.findall(r'\w+', f'{o.kind} {o.meaning}')) for o in fields_of(r).itertuples()}
        own = (pair for part,section in r.items() for pair in paths_in(section, part))
        out += [(name, p, v, list(v) if isinstance(v, (dict, list, tuple)) else []) for p,v in own if p not in there] + list(there.values())
    return out

SETTINGS = settings()
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 300), st.floats(-2, 10), st.sampled_from(['adam', 'sgd', 'mse', 'bce', 'relu', 'encoder.', 'x', '']))
PLAIN = st.recursive(SCALARS, lambda o: st.lists(o, max_size=3) | st.dictionaries(st.sampled_from(['kind', 'make', 'p', 'dist', 'std', '50', 'do', 'steps', 'x']), o, max_size=3), max_leaves=5)

def near(v, words):
    "Values like one that is there."
    like = [v, [v], [v, v], str(v), *words]
    if isinstance(v, (int, float)): like += [2*v, -v, v/2, v+1]
    return st.sampled_from(like).map(lambda o: o if isinstance(o, str) else json.dumps(o))

@st.composite
def setting(draw, only=None):
    "PATH=VALUE, now and then with a slip in the path."
    _,path,v,words = draw(st.sampled_from([o for o in SETTINGS if only in (None, o[0])]))
    slip = draw(st.sampled_from([path]*12 + [path+'.x', path[:-1], path.upper(), path+'.', path.partition('.')[0], 'x.'+path]))
    text = draw(st.one_of(near(v, words), near(v, words), PLAIN.map(json.dumps), HOSTILE))
    return f'{slip}={text}'

BASE = dict(kohlbrenner=['--labels', '50'], barletta=['--labels', '160'], kalmanovich=['--set', 'schedule.n=6', '--set', 'schedule.rates=[0.05]'], kohlbrenner_background=[])

@st.composite
def changes(draw):
    "A recipe with a change or two, asked for or run."
    name = draw(st.sampled_from(USUAL['recipe']))
    said = sum((['--set', draw(setting(name))] for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3])))), [])
    if not draw(st.integers(0, 3)): return ['settings', name, *said]
    arm = draw(st.sampled_from(list(find_recipe(name, 'smoke', 'digits')['arms'])))
    return ['compare', 'digits', '--recipe', name, '--setting', 'smoke', '--seeds', '1', '--arms', arm, '--out', 'new', *BASE.get(name, []), *said]

CASES = st.one_of(lines(), changes())
