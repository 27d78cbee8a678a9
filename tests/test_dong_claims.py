"Claims of Dong et al.: made-up tables in which all hold and none does, commands, what is recorded."
import shlex
import numpy as np, pandas as pd, pytest
from aepretrain_nb.answers.ledger import settle
from aepretrain_nb.answers.rows import recorded
from aepretrain_nb.cli import parser
from aepretrain_nb.data.named import DATASETS
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.papers.dong import STUDIES, reported_rows
from aepretrain_nb.papers.dong_claims import CLAIMS

ASKED = [c for c in CLAIMS if 'camvid' not in c.name and c.name!='agrees-with-reported']

def runs(cell, flip, **arms):
    "Five runs of each arm around its mean, mirrored around the least of them where `flip`"
    noise,out = np.random.default_rng(0),[]
    lowest = min(v if np.isscalar(v) else v['value'] for v in arms.values())
    for a,v in arms.items():
        values = dict(value=v) if np.isscalar(v) else v
        for i,e in enumerate(noise.normal(0, .1, 5)):
            own = {k: (2*lowest-x if flip else x)+e for k,x in values.items()}
            out.append(cell | own | dict(arm=a, kind='fit', unit='%', subset=f's{i}', subset_seed=i, encoder_seed=i, head_seed=i))
    return out

def world(flip=False):
    "Rows in which everything is as the paper says, or the other way round"
    def cell(data, labels, **arms): return runs(dict(data=data, labels=labels), flip, **arms)
    starts = dict(random_paper=70, random_default=71, random_kaiming=71.5)
    few = dict(skips=81, no_skips=74, masked=80, **{'gaussian_0.1': 76, 'gaussian_0.4': 77}, **starts, **{f'{k}_longer': v+2 for k,v in starts.items()})
    many = dict(skips=95, no_skips=68, **starts)
    kinds = dict(animals=dict(value=78, animal=80, vehicle=76), vehicles=dict(value=78, animal=76, vehicle=80),
        **{k: dict(value=v, animal=v, vehicle=v) for k,v in starts.items()})
    out = cell('cifar10', 4000, **few, animals=kinds['animals'], vehicles=kinds['vehicles'])
    for r in out:
        for k in ('animal', 'vehicle'): r.setdefault(k, r['value'])
    out += cell('cifar10', 50_000, **many, **{'gaussian_0.1': 97, 'gaussian_0.4': 96}) + cell('cifar100', 50_000, **many)
    for data,labels in (('cifar100', 4000), ('cifar10', 500), ('stl10', 1000), ('stl10_standin', 1000)): out += cell(data, labels, **many)
    out += cell('voc07', 5011, **many, animals=kinds['animals'], vehicles=kinds['vehicles'])
    for r in out:
        for k in ('animal', 'vehicle'): r.setdefault(k, r['value'])
    out += cell('voc12', 1464, both=40, encoder=37, neither=30)
    return out + figure(flip)

def figure(flip):
    "Figure 2 in words: classes rise and detail falls with depth, with skips more than without"
    told,shown = dict(skips=3, no_skips=0, random=-2, supervised=4),dict(skips=.06, no_skips=.02, random=.03, supervised=.06)
    cells,out = [('linear', told, 1), ('knn', told, 1), ('drawn', shown, .01)],[]
    for probe,nets,noise in cells:
        every = {(n, i): v*i+(1 if n=='skips' else 0)*noise for n,v in nets.items() for i in range(1, 9)}
        least = min(every.values())
        for (n,i),v in every.items():
            for s in range(5):
                own = dict(net=n, layer=f'conv{i}', probe=probe, arm=f'{n}_conv{i}', data='cifar10', labels=4000, kind='fit', unit='')
                value = (2*least-v if flip else v)+noise*.1*np.sin(s*s+i+len(n))
                out.append(own | dict(value=value, subset=f's{s}', subset_seed=s, encoder_seed=s, head_seed=s))
    return out

def settled(flip, reading='fair'):
    rows = pd.DataFrame(world(flip)).assign(reading=reading, setting='quick')
    return settle(ASKED, rows).set_index('claim')

@pytest.mark.parametrize('reading', ['fair', 'as_written'])
@pytest.mark.parametrize('flip,word', [(False, 'holds'), (True, 'does not hold')])
def test_either_word_can_come_out(flip, word, reading):
    t = settled(flip, reading)
    other = t[t.outcome!=word]
    assert len(t)==len(ASKED) and not len(other), other[['outcome', 'low', 'high', 'why']].to_string()

def test_the_best_of_three_random_starts_decides_in_the_fair_reading():
    rows = pd.DataFrame(world()).assign(reading='fair', setting='quick')
    rows.loc[rows.arm.eq('random_default') & rows.labels.eq(4000), 'value'] += 12
    asked = [c for c in CLAIMS if c.name=='helps-with-4000-labels']
    assert settle(asked, rows).outcome[0]=='does not hold' and settle(asked, rows.assign(reading='as_written')).outcome[0]=='holds'

def test_without_rows_each_claim_names_its_command():
    t = settle(CLAIMS, reported_rows())
    assert set(t.outcome)=={'not run here'} and t.command.str.startswith('aepretrain compare').all()
    assert t.set_index('claim').reported['helps-with-4000-labels'].startswith('+9.33')

def test_camvid_is_asked_of_the_guides_rows():
    asked = [c for c in CLAIMS if 'camvid' in c.name]
    t = settle(asked, recorded('dong')).set_index('claim')
    rows,own = (d[d['data'].eq('CamVid') & d.kind.eq('fit')] for d in (recorded('camvid'), recorded('dong')))
    assert rows.set_index('key').value.sort_index().equals(own.set_index('key').value.sort_index())
    d = rows.pivot_table(index='head_seed', columns='arm', values='value')
    assert t.fair['decoder-helps-to-segment-camvid']==pytest.approx((d.both-d.encoder).mean()) and (t.n==3).all()

def test_commands_ask_for_studies_and_data_that_exist():
    for c in CLAIMS:
        for reading,line in c.commands.items():
            for part in line.replace('{setting}', c.setting).split(' && '):
                a = parser().parse_args(shlex.split(part)[1:])
                if a.data=='CamVid': continue
                said = {k: v for o in a.set for k,v in o.items()}
                assert a.data in DATASETS and said['study'] in STUDIES and said['reading']==reading
                find_recipe('dong', a.setting, **said)
