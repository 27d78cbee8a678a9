"""What every recipe, reading and study gives at smoke size, to the last digit, on one machine.

`python tests/smoke_values.py` writes smoke_values.csv; with names of cases it prints theirs and writes nothing, with
--renew before them it records them anew. `test_smoke_values.py` computes the cases again. An engine that is replaced
has to give the same values: then only the section "Calls of the package" may change, never the table."""
import os
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)

import csv, hashlib, json, math, platform, sys, tempfile, time
from functools import partial
from itertools import product
from pathlib import Path
import numpy as np, pandas as pd, torch

FILE = Path(__file__).with_suffix('.csv')

# What is written down

WHO = 'case', 'kind', 'arm', 'labels', 'decoder', 'depth', 'tuned', 'seeds', 'which'    # which row it is
NUMBERS = 'value', 'valid', 'train', 'mse', 'sd'                                        # losses, or per cent
CHOSEN = 'opt', 'lr', 'tune_lr', 'epochs'                                               # by comparing such numbers
EXACT = 'unit', 'steps', 'updates', 'n_train', 'n_valid', 'n_test', 'n_unlabelled', 'subset'
SHAKY = 'loss', 'cosine'                                                                # rounding grows in them
DIGESTS = 'curve', 'losses', 'tuning'                                                   # of every number along the way
COLUMNS = *WHO, *NUMBERS, *CHOSEN, *EXACT, *SHAKY, *DIGESTS
WHOLE = {'labels', 'depth', 'epochs', 'steps', 'updates', 'n_train', 'n_valid', 'n_test', 'n_unlabelled'}

def digest(
    o # plain JSON, or None
):    # 12 hex digits of its floats in full; None for None
    "What identifies a nested list of numbers."
    return None if o is None else hashlib.sha256(json.dumps(o, sort_keys=True).encode()).hexdigest()[:12]

def written(
    column, # one of `COLUMNS`
    v       # its value
)->str:     # '' for none
    "A value as it stands in the table: floats in full."
    if isinstance(v, (np.generic, torch.Tensor)): v = v.item()
    if v is None or v is pd.NA or v!=v: return ''
    if column in WHOLE: return str(int(v))
    return repr(float(v)) if isinstance(v, (int, float)) and not isinstance(v, bool) else str(v)

def table(
    name, # of a case
    rows  # dicts
)->list:  # of dicts of text, by what row they are
    "The rows of a case as text; every one can be told from the others."
    out = [{k: written(k, (o | dict(case=name)).get(k)) for k in COLUMNS} for o in rows]
    out.sort(key=who)
    assert len({who(o) for o in out})==len(out), f'{name}: two rows are called the same'
    return out

def who(
    row # dict of text
): return tuple(row[k] for k in WHO)

# Data: scikit-learn's digits, and small pictures that are drawn here, in whole numbers

def drawn(
    n,             # pictures
    shape=(1,8,8), # channels, height, width
    seed=0,        # of the stream
    classes=10     # each with a pattern of its own
):                 # (pixels, classes)
    "A pattern for each class, and noise over it."
    g = torch.Generator().manual_seed(seed)
    patterns,y = torch.randint(0, 128, (classes, *shape), generator=g),torch.arange(n)%classes
    return (patterns[y] + torch.randint(0, 128, (n, *shape), generator=g)).to(torch.uint8),y

# Calls of the package: the only section that an engine's new names may change

def _data(
    name # one of those below
):       # `Splits`
    from aepretrain_nb.data.named import dataset
    from aepretrain_nb.data.sets import ImageSet
    from aepretrain_nb.data.splits import Splits
    if name=='digits': return dataset('digits')
    if name=='fashion_mnist': return Splits(name, ImageSet(*drawn(400, seed=1)), ImageSet(*drawn(50, seed=2)))
    if name=='few':
        d = dataset('digits')
        return Splits('few', d.train.take(range(400)), d.test)
    if name=='many':
        d = dataset('digits')
        return Splits('many', d.train, d.test, ImageSet(drawn(10_240, seed=3)[0]))
    if name=='colour':
        x,y = drawn(300, (3,12,10), 4, 4)
        parts = ImageSet(x, y, groups=torch.arange(300)//3),ImageSet(*drawn(90, (3,12,10), 5, 4))
        return Splits('colour', *parts, folds=[torch.arange(i, 300, 2) for i in range(2)])
    raise ValueError(f'unknown data {name!r}')

def _seeds(row):
    return '/'.join(written('labels', row.get(k)) or '-' for k in ('subset_seed', 'encoder_seed', 'head_seed'))

def _grid_rows(
    res # `Results`
):      # rows of fits, of their autoencoders, and of fits that have no result
    fits,encoders = ([dict(o) for o in d.to_dict('records')] for d in (res.rows, res.encoders))
    for o in [*fits, *encoders]:
        record = res.store.get(o['key'])
        o |= dict(seeds=_seeds(o), loss=record['losses'][-1][1], **{k: digest(record.get(k)) for k in DIGESTS})
    gone = [dict(o, kind='fit', seeds=_seeds(o), which='missing') for o in res.missing.to_dict('records')]
    return [*fits, *encoders, *gone]

def _compare(
    recipe,      # name
    reading,     # or None
    study,       # name
    data,        # as in `_data`
    change,      # of the recipe's sections
    labels=None, # as in `compare`, like what follows
    seeds=2,
    others=(),   # data sets that arms pre-train on
    own=None,    # called with a folder and the recipe, gives more arguments
    **kw
):               # rows
    from aepretrain_nb.compare import compare
    from aepretrain_nb.experiment.recipe import find_recipe, merged
    r = find_recipe(recipe, 'smoke', reading=reading, study=study, **change)
    with tempfile.TemporaryDirectory() as folder:
        more = own(Path(folder), r) if own else {}
        sets = {n: _data(n) for n in others}
        return _grid_rows(compare(_data(data), labels=labels, seeds=seeds, recipe=merged(r, more.pop('recipe', {})),
            progress=False,
            store=Path(folder)/'store', pretrain_sets=sets, **kw | more))

def _from_file(
    folder, # where it may write
    r       # recipe
):          # an arm that starts from a file of weights
    from safetensors.torch import save_file
    from aepretrain_nb.papers.kohlbrenner import tied_cae
    sized = {k: r['encoder'][k] for k in ('width', 'pools', 'act')}
    net = tied_cae(1, 8, 8, torch.Generator().manual_seed(7), **sized)
    save_file({k: v.contiguous() for k,v in net.state_dict().items()}, folder/'own.safetensors')
    return dict(arms=[f'file:{folder/"own.safetensors"}', 'random_paper'])

def _wild(
    folder, # not used
    r       # recipe
):          # one arm that diverges, and one that does so at one of two rates
    start = r['arms']['random_paper']
    wild = dict(steps=start['steps'], change=dict(encoder=dict(init=dict(dist='normal', std=3e38))))
    arms = dict(wild=wild, tame=start)
    return dict(recipe=dict(arms=arms), arms=list(arms))

def _borrowed(
    folder, # where it may write
    r       # recipe
):          # the autoencoders of another grid
    from aepretrain_nb.compare import compare
    compare(_data('digits'), ['pretrained'], [100], 1, r, store=folder/'other', progress=False)
    return dict(reuse=[folder/'other'])

def _kalmanovich(
    what,     # name of a study
    reading,  # 'as_written' or 'fair'
    seeds=(0,),
    grid=None, # of the search
    **change  # entries of the setting
):            # rows
    own = change | (dict(grid=grid) if grid else {})
    studies = ['conv', 'conv_fits'] if (what, reading)==('conv', 'fair') else [what]
    return [o for s in studies for o in _kalmanovich_rows(s, reading, list(seeds), own)]

def _kalmanovich_rows(study, reading, seeds, change):
    from aepretrain_nb.compare import compare
    from aepretrain_nb.papers.kalmanovich import as_recorded, recipe
    with tempfile.TemporaryDirectory() as folder:
        r = recipe('smoke', reading, study, 'digits', change)
        res = compare(_data('digits'), seeds=seeds, recipe=r, progress=False, store=folder)
        return [_kalmanovich_row(o, res.store) for o in as_recorded(res).to_dict('records')]

def _kalmanovich_row(row, store):
    record,kind = store.get(row['key']),row['kind']
    along = {k: row.get(k) or record.get(k) for k in ('curve', 'tuning')}
    if kind=='classification': # shares of validation images are rounded to 4 digits now: here they are in full again
        along['curve'] = [_in_full(v, row['n_valid']) for v in along['curve']]
        row = row | dict(valid=100-max(along['curve']))
        along['tuning'] = None
    unknown = dict.fromkeys(_UNKNOWN + _UNKNOWN_OF.get(kind, ())) # what was not in a row of the kind
    return row | unknown | {k: digest(v) for k,v in along.items()} | dict(seeds=_seeds(row),
        which=row.get('configuration'))

_UNKNOWN = 'n_test', 'n_unlabelled', 'cosine', 'opt', 'train', 'mse', 'loss', 'losses'
_UNKNOWN_OF = {'classification': ('steps', 'updates'), 'conv classification': ('epochs', 'updates'),
    'find_n': ('lr', 'steps', 'updates', 'subset'), 'search': ('value', 'steps', 'updates', 'subset')}

def _in_full(
    percent, # a share of validation images, rounded
    n        # how many there are
): return 100*float(torch.tensor(round(percent*n/100)/n))

def _background(
    steps # updates
):        # rows
    from aepretrain_nb.compare import compare
    from aepretrain_nb.papers.kohlbrenner_background import recipe
    with tempfile.TemporaryDirectory() as folder:
        res = compare(_data('digits'), seeds=1, recipe=recipe(pretrain=dict(steps=steps)), store=folder, progress=False)
        rows = [o for o in res.rows.to_dict('records')]
        for o in rows:
            record = res.store.get(o['key']) | ({} if o['steps'] else dict(curve=None))  # the control's only look
            o |= dict(kind='encoder', seeds=f'-/{o["encoder_seed"]}/-', labels=None, mse=None, n_test=None, opt='sgd')
            o |= {k: digest(record.get(k)) for k in DIGESTS}
        return rows

# The cases: name -> what gives its rows

READINGS = None, 'as_written', 'fair'
KOHLBRENNER = 'main', 'surplus', 'relu', 'sigmoid', 'layers', 'loss', 'regularised'
BARLETTA = 'main', 'frozen', 'cnn', 'clipping', 'momentum', 'starts', 'penalty', 'finetuned', 'knn', 'stopped'
KALMANOVICH = 'figure3', 'joint', 'ablation', 'de_novo', 'factor', 'depth'

_width = dict(encoder=dict(width=.1), head=dict(width=.1))
_small = dict(**_width, pretrain=dict(bs=32, steps=20, evals=4),
    finetune=dict(opt='adam', lr=.01, bs=32, steps=30, evals=3))
_change = {None: {}, 'as_written': {},
    'fair': dict(pretrain=dict(opt=dict(sgd=[.5], adam=[.01])), finetune=dict(lr=[.003, .01]))}

def _sections(*changes):
    "Sections of a recipe, the later over the earlier."
    out = {}
    for c in changes:
        for k,v in c.items(): out[k] = out.get(k, {}) | v
    return out

def _kohlbrenner(reading=None, study='main', change=None, **kw):
    change = _sections(_small, _change[reading], change or {})
    return partial(_compare, 'kohlbrenner', reading, study, **dict(data='digits', change=change, labels=[100]) | kw)

_lively = dict(pretrain=dict(opt='adam', lr=.01), encoder=dict(act='relu'), head=dict(act='relu', dropout=0.),
    finetune=dict(steps=40))

def _variant(change=None, **kw):
    "A grid that learns, with something else than usual."
    return _kohlbrenner(change=_sections(_lively, change or {}), **kw)

_two = dict(arms=['pretrained', 'random_paper'])
_tried = dict(lr=[.003, .01])

def _barletta(reading, study, change=None, **kw):
    rates = dict(fair=dict(pretrain=dict(opt=dict(adam=[.001, .01])), finetune=dict(lr=[.01, .1])))
    change = _sections(dict(pretrain=dict(epochs=3, evals=3, checkpoints=[1, 2, 'best']),
        finetune=dict(epochs=3, evals=3)),
        rates.get(reading, {}), change or {})
    usual = dict(data='few', change=change, labels=[64, 160], others=['fashion_mnist'])
    return partial(_compare, 'barletta', reading, study, **usual | kw)

_quick = dict(rates=[.05, .02])
_frozen = dict(arms=['plain', 'random'])

CASES = {f'kohlbrenner {s}, {r}': _kohlbrenner(r, s, data='many' if s=='surplus' else 'digits', seeds=1)
    for s,r in product(KOHLBRENNER, READINGS)}
CASES |= {f'kohlbrenner, {k}': v for k,v in {
    'crossed': _variant(**_two, crossed=True),
    'one encoder': _variant(**_two, one_encoder=True),
    'bf16': _variant(**_two, precision='bf16'),
    'rate of the first seed': _variant(**_two, **_tried, tune='first'),
    'rate of each fit': _variant(**_two, **_tried, tune='each'),
    'extra validation images': _variant(**_two, valid='extra', n_valid=60),
    'validated on the test images': _variant(**_two, valid='test'),
    'the first images': _variant(**_two, policy='first_n'),
    'uniform images': _variant(**_two, policy='uniform'),
    'few unlabelled images': _variant(**_two, n_unlabelled=300),
    'file': _variant(own=_from_file),
    'failures': _variant(dict(finetune=dict(opt='sgd')), own=_wild, lr=[.1, 1e30]),
    'borrowed encoders': _variant(own=_borrowed, **_two),
    'colour and groups': _variant(data='colour', labels=[40, 80]),
    'folds': _variant(data='colour', labels=[150], policy='fold', **_two),
    'error': _variant(**_two, metric='error'),
    'balanced accuracy': _variant(**_two, metric='balanced'),
    'seeds by plan': _variant(dict(finetune=dict(steps=60)), **_two, seeds='auto', margin=2., max_seeds=7),
    'steps by size': _variant(dict(finetune=dict(steps={'50': 10, '100': 20})), **_two, labels=[50, 100]),
    'noise and a list of optimisers': _variant(
        dict(pretrain=dict(opt=['sgd', 'adam'], lr=[.1, .003], corrupt=dict(kind='masking', p=.3))), **_two),
    }.items()}
CASES |= {f'barletta {s}, {r}': _barletta(r, s, seeds=1)
    for s,r in product(BARLETTA, READINGS) if (s, r)!=('main', 'as_written')}
CASES |= {f'barletta, {k}': v for k,v in {
    'heads as one': _barletta('fair', 'frozen', dict(finetune=dict(tune='each', lr=[.001, .01, .1])), **_frozen,
    seeds=3,
        one_encoder='all'),
    'best epoch': _barletta(None, 'finetuned', dict(pretrain=dict(keep='best'), finetune=dict(keep='best', lr=.01))),
    'best of the heads': _barletta(None, 'frozen', dict(finetune=dict(keep='best', lr=.01)), **_frozen),
    }.items()}
CASES |= {f'kalmanovich {e}, {r}': partial(_kalmanovich, e, r, **_quick) for e,r in product(KALMANOVICH, READINGS[1:])}
CASES |= {f'kalmanovich figure4, {r}': partial(_kalmanovich, 'figure4', r, rates=[.05]) for r in READINGS[1:]}
CASES |= {f'kalmanovich conv, {r}': partial(_kalmanovich, 'conv', r, rates=[.5]) for r in READINGS[1:]}
CASES |= {f'kalmanovich {k}': partial(_kalmanovich, k.partition(',')[0], 'as_written', **kw) for k,kw in {
    'figure3, two seeds': dict(seeds=(0, 1), **_quick),
    'figure3, gradients of length 1': dict(rates=[.05], normalised_grad=True),
    'find_n': {},
    'find_n, found': dict(tol=.5),
    'search': dict(grid=dict(lr=[.1, .01]), folds=2),
    }.items()}
CASES['background'] = partial(_background, 10)

def rows_of(
    name # one of `CASES`
)->list: # of dicts of text
    "Compute a case."
    torch.set_num_threads(1)
    return table(name, CASES[name]())

# The file

def machine()->dict:
    "What the last digits depend on."
    cpu = [l.partition(':')[2].strip() for l in _cpuinfo() if l.startswith('model name')]
    return dict(cpu=cpu[0] if cpu else platform.processor(), torch=torch.__version__,
        capability=torch.backends.cpu.get_cpu_capability(), threads=torch.get_num_threads())

def _cpuinfo():
    f = Path('/proc/cpuinfo')
    return f.read_text().splitlines() if f.exists() else []

def read()->tuple: # (the machine that it was recorded on, case -> rows)
    "What was recorded."
    with FILE.open(newline='', encoding='utf-8') as f:
        own,cases = json.loads(f.readline()[1:]),{}
        for o in csv.DictReader(f): cases.setdefault(o['case'], []).append(o)
    return own,cases

def write(
    rows, # of all cases
    own=None # the machine, this one if not given
):
    "Write the table, its machine in the first line."
    torch.set_num_threads(1)
    with FILE.open('w', newline='', encoding='utf-8') as f:
        f.write(f'# {json.dumps(own or machine())}\n')
        w = csv.DictWriter(f, COLUMNS, lineterminator='\n')
        w.writeheader()
        w.writerows(rows)

def renew(
    names # of cases
):
    "Record some cases anew, with the machine of each."
    own,cases = read()
    for name in names: cases[name],own.setdefault('renewed', {})[name] = rows_of(name),machine()
    write([o for name in CASES for o in cases[name]], own)

def recorded_on(
    own, # from `read`
    case # its name
)->dict: # a machine
    "Where a case was recorded."
    return own.get('renewed', {}).get(case, own)

# How rows are compared

RELATIVE,POINTS = 1e-3,3.

def same_machine(
    own # from `recorded_on`
)->bool:
    "Are equal last digits to be expected here?"
    here = machine()
    return all(own[k]==here[k] for k in ('cpu', 'torch', 'capability'))

def departures(
    was, # recorded rows of a case
    now, # rows that were computed
    exact # to the last digit?
)->list:  # a line each
    "Where two tables of a case differ."
    old,new = ({who(o): o for o in d} for d in (was, now))
    lines = [f'{"no row" if k in old else "a new row"} {_words(k)}' for k in sorted(old.keys() ^ new.keys())]
    pairs = [(a, new[k]) for k,a in old.items() if k in new]
    if not exact and len(chose_otherwise := [a for a,b in pairs if not _same(CHOSEN, a, b)])>max(1, len(pairs)//5):
        lines += [f'another choice of {", ".join(CHOSEN)}: {_words(who(a))}' for a in chose_otherwise]
    if exact: return lines + [_line(a, b, c) for a,b in pairs for c in COLUMNS if a[c]!=b[c]]
    lines += [_line(a, b, c) for a,b in pairs for c in EXACT if a[c]!=b[c]]
    # after another choice the numbers are of another thing
    far = [(a, b, _far(a, b)) for a,b in pairs if _same(CHOSEN, a, b)]
    strays = [o for o in far if o[2] and o[0]['unit']=='%'] # a short fit may go another way after a rounding
    few = len(strays)<=max(1, len(pairs)//10)
    return lines + [_line(a, b, c) for a,b,cs in far for c in cs if not (few and a['unit']=='%')]

def _same(columns, a, b): return all(a[c]==b[c] for c in columns)
def _far(a, b): return [c for c in NUMBERS if not near(c, a, b)]

def near(
    column, # one of `NUMBERS`
    a,      # recorded row
    b       # computed row
)->bool:
    "Are two numbers the same but for another machine's rounding? Shares may differ by a few images."
    x,y = a[column],b[column]
    if not (x and y): return x==y
    if a['unit']!='%': return math.isclose(float(x), float(y), rel_tol=RELATIVE, abs_tol=1e-6)
    n = min(int(a[k]) for k in ('n_test', 'n_valid') if a[k] not in ('', '0')) if a['n_test'] or a['n_valid'] else 100
    return abs(float(x)-float(y))<=max(POINTS, 101/n)

def _words(k): return ' '.join(filter(None, k))
def _line(a, b, c): return f'{_words(who(a))}: {c} is {b[c] or None}, recorded {a[c] or None}'

def main(
    names # of cases
):
    "Write all cases, renew some, or print some."
    if again := names[:1]==['--renew']: names = names[1:]
    if unknown := set(names)-CASES.keys():
        sys.exit(f'unknown case {sorted(unknown)[0]!r}. There are: {", ".join(CASES)}')
    if again: return renew(names)
    rows,start = [],time.perf_counter()
    for name in names or CASES:
        begun = time.perf_counter()
        rows += rows_of(name)
        print(f'{time.perf_counter()-begun:5.1f} s  {name}', file=sys.stderr)
    if names: print(pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))
    else: write(rows)
    print(f'{len(names or CASES)} cases, {len(rows)} rows, {time.perf_counter()-start:.0f} s', file=sys.stderr)

if __name__=='__main__': main(sys.argv[1:])
