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

OF_GUIDE = [c for c in CLAIMS if '--recipe segment' in c.commands['fair' if 'fair' in c.commands else 'as_written']]
ASKED = [c for c in CLAIMS if c not in OF_GUIDE and c.name!='agrees-with-reported']

def runs(cell, flip, **arms):
    "Five runs of each arm around its mean, mirrored around the least of them where `flip`"
    noise,out = np.random.default_rng(0),[]
    lowest = min(v if np.isscalar(v) else v['value'] for v in arms.values())
    for a,v in arms.items():
        values = dict(value=v) if np.isscalar(v) else v
        for i,e in enumerate(noise.normal(0, .1, 5)):
            own = {k: (2*lowest-x if flip else x)+e for k,x in values.items()}
            out.append(cell | own | dict(arm=a, kind='fit', unit='%', subset=f's{i}', subset_seed=i, encoder_seed=i,
                head_seed=i))
    return out

def world(flip=False):
    "Rows in which everything is as the paper says, or the other way round"
    nets = dict(stl10='stl-10', stl10_standin='stl-10', voc07='vgg-16', voc12='vgg-16', cifar100='15-layer')
    def cell(data, labels, net=None, **arms):
        return runs(dict(data=data, labels=labels, architecture=net or nets.get(data, 'all-cnn-c')), flip, **arms)
    starts = dict(random_paper=70, random_default=71, random_kaiming=71.5)
    few = dict(skips=81, no_skips=74, masked=80, **{'gaussian_0.1': 76, 'gaussian_0.4': 77}, **starts,
        **{f'{k}_longer': v+2 for k,v in starts.items()})
    many = dict(skips=95, no_skips=68, **starts)
    kinds = dict(animals=dict(value=78, animal=80, vehicle=76), vehicles=dict(value=78, animal=76, vehicle=80),
        **{k: dict(value=v, animal=v, vehicle=v) for k,v in starts.items()})
    out = cell('cifar10', 4000, **few, animals=kinds['animals'], vehicles=kinds['vehicles'])
    for r in out:
        for k in ('animal', 'vehicle'): r.setdefault(k, r['value'])
    out += cell('cifar10', 50_000, '15-layer', **many) + cell('cifar10', 50_000, skips=95,
        **{'gaussian_0.1': 97, 'gaussian_0.4': 96}) + cell('cifar100', 50_000, **many)
    for data,labels in (('cifar100', 4000), ('cifar10', 500), ('stl10', 1000), ('stl10_standin', 1000)):
        out += cell(data, labels, **many)
    out += cell('voc07', 5011, **many, animals=kinds['animals'], vehicles=kinds['vehicles'])
    for r in out:
        for k in ('animal', 'vehicle'): r.setdefault(k, r['value'])
    untrained = dict(neither=30, neither_paper=30, neither_default=31, neither_kaiming=31)
    out += cell('voc12', 1464, both=40, encoder=37, **untrained) + cell('CamVid', 20, both=40, encoder=37, **untrained)
    return out + figure(flip)

def figure(flip):
    "Figure 2 in words: classes rise and detail falls with depth, with skips more than without"
    told,shown = dict(skips=3, no_skips=0, random=-2, supervised=4),dict(skips=.06, no_skips=.02, random=.03,
        supervised=.06)
    cells,out = [('linear', told, 1), ('knn', told, 1), ('drawn', shown, .01)],[]
    for probe,nets,noise in cells:
        every = {(n, i): v*i+(1 if n=='skips' else 0)*noise for n,v in nets.items() for i in range(1, 9)}
        least = min(every.values())
        for (n,i),v in every.items():
            for s in range(5):
                own = dict(net=n, layer=f'conv{i}', probe=probe, arm=f'{n}_conv{i}', data='cifar10', labels=4000,
                    kind='fit', unit='', architecture='all-cnn-c')
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
    assert settle(asked, rows).outcome[0]=='does not hold'
    assert settle(asked, rows.assign(reading='as_written')).outcome[0]=='holds'

def test_without_rows_each_claim_names_its_command():
    t = settle(CLAIMS, reported_rows())
    assert set(t.outcome)=={'not run here'} and t.command.str.startswith('aepretrain compare').all()
    said = t.set_index('claim').reported
    assert said['helps-with-4000-labels'].startswith('+9.33') and said['skips-help-on-voc07'].startswith('+1.87')
    assert said['helps-other-kinds-voc07'].startswith('+2.17')

def test_what_the_paper_gives_as_a_number_is_computed():
    typed = {c.reported for c in CLAIMS if c.reported}
    assert not any(any(o.isdecimal() for o in t) for t in typed), typed

def test_quick_commands_take_the_number_format_that_is_quick_on_any_processor():
    assert not any('precision' in line for c in CLAIMS for line in c.commands.values())

def test_camvid_is_asked_of_the_guides_rows():
    t = settle(OF_GUIDE, recorded('dong')).set_index('claim')
    rows,own = (d[d['data'].eq('CamVid') & d.kind.eq('fit')] for d in (recorded('camvid'), recorded('dong')))
    assert rows.set_index('key').value.sort_index().equals(own.set_index('key').value.sort_index())
    d = rows.pivot_table(index='head_seed', columns='arm', values='value')
    assert t.fair['decoder-helps-to-segment-camvid']==pytest.approx((d.both-d.encoder).mean()) and (t.n==3).all()

NINE = ['encoder-of-nine-layers-helps-to-segment-camvid', 'decoder-of-nine-layers-helps-to-segment-camvid']

def test_rows_of_another_recipe_answer_no_claim_of_this_one():
    guide = recorded('dong').query("recipe=='segment'")
    own = pd.DataFrame(world()).assign(reading='fair', setting='quick', recipe='dong')
    apart = settle(CLAIMS, guide).set_index('claim').outcome
    assert set(apart[apart!='not run here'].index)=={c.name for c in OF_GUIDE}
    t = settle(CLAIMS, pd.concat([guide, own])).set_index('claim')
    assert t.difference[NINE[1]]==pytest.approx(3, abs=.3)
    assert (t.outcome[[c.name for c in OF_GUIDE]]=='not shown').all()

def test_nine_layers_are_not_taken_for_fifteen():
    "Studies of two nets have arms of one name at one size: neither answers for the other, together they are settled"
    names = ['competes-cifar10', 'gaussian-with-many-labels']
    rows = pd.DataFrame(world()).query("data=='cifar10' and labels==50_000").assign(reading='fair', setting='paper')
    def word(d): return settle([c for c in CLAIMS if c.name in names], d).set_index('claim').outcome[names].tolist()
    nine = rows.architecture=='all-cnn-c'
    assert word(rows[nine])==['not run here', 'holds'] and word(rows[~nine])==['holds', 'not run here']
    assert word(rows)==['holds', 'holds']

def test_an_autoencoder_of_another_net_casts_no_doubt():
    rows = pd.DataFrame(world()).query("data=='cifar10' and labels==50_000 and arm=='skips'").assign(reading='fair',
        setting='paper', encoder='pretrained')
    bad = rows[rows.architecture=='all-cnn-c'].assign(kind='encoder', metric='mse reconstruction', mse=2.,
        mean_image=1., last_fifth=0.)
    good = rows[rows.architecture=='15-layer'].assign(kind='encoder', metric='mse reconstruction', mse=.1,
        mean_image=1., last_fifth=0.)
    asked = [c for c in CLAIMS if c.name=='competes-cifar10']
    assert settle(asked, pd.concat([rows, bad, good])).outcome[0]=='holds'
    assert settle(asked, pd.concat([rows, bad.assign(architecture='15-layer')])).outcome[0]=='too short'

def test_commands_ask_for_studies_and_data_that_exist():
    for c in CLAIMS:
        for reading,line in c.commands.items():
            for part in line.replace('{setting}', c.setting).split(' && '):
                a = parser().parse_args(shlex.split(part)[1:])
                if c in OF_GUIDE: continue
                said = {k: v for o in a.set for k,v in o.items()}
                assert (a.data in DATASETS or a.data=='CamVid') and said['study'] in STUDIES
                assert said['reading']==reading
                find_recipe('dong', a.setting, **said)
