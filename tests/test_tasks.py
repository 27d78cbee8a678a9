"""Tasks beside classification, from tiny images to a verdict in their own units; and what was tried for a rate can be
audited."""
import pytest, torch
from torch import nn
from torch.nn import functional as F
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.answers.report import report
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.nets.encoder import levels
from aepretrain_nb.train.task import task_of

here = f'{__name__}:'
ON = dict(pretrained=dict(steps=['reconstruct', 'classify']),
    hasty=dict(steps=['classify'], change=dict(finetune=dict(steps=1, evals=1))))
BASE = dict(name='tasks', setting='smoke', encoder=dict(make='conv', widths=[6, 8], norm=False),
    decoder=dict(make='mirror', out_act='sigmoid'), head=dict(make='linear'),
    pretrain=dict(opt='adam', lr=.01, bs=32, steps=30, evals=2),
    finetune=dict(opt='adam', lr=.01, bs=16, steps=60, evals=3),
    images={}, labels=dict(n=[80]), seeds=dict(n=4), arms=ON)

def pictures(n, seed, size=8):
    "Noise with bright bars: one a row or none in each half; (pixels, which halves have one, mask of the bars)"
    g = torch.Generator().manual_seed(seed)
    there = torch.rand(n, 2, generator=g)<.5
    x,mask = torch.randint(0, 60, (n, 1, size, size), generator=g),torch.zeros(n, size, size, dtype=torch.long)
    for half in range(2):
        rows = slice(half*size//2+1, half*size//2+3)
        for i in there[:, half].nonzero()[:, 0]: x[i, 0, rows] += 150; mask[i, rows] = 1+half
    mask[:, 0, 0] = 255 # not known
    return x.to(torch.uint8),there.long(),mask

def splits(kind):
    def part(n, seed):
        x,halves,mask = pictures(n, seed)
        return ImageSet(x, halves, ['up', 'down']) if kind=='multi-label' else ImageSet(x, mask,
            ['ground', 'up', 'down'])
    return Splits('bars', part(160, 0), part(60, 1))

class MaskHead(nn.Module):
    "Class scores of each pixel, from the top code"
    def __init__(self, c, size, n_out):
        super().__init__()
        self.size,self.score = size,nn.Conv2d(c, n_out, 1)
    def forward(self, z): return F.interpolate(self.score(z), self.size, mode='bilinear')

def masks(encoder, c, h, w, n_out, gen=None): return MaskHead(levels(encoder, c, h, w)[-1][0], (h, w), n_out)

@pytest.fixture(scope='module', params=['multi-label', 'segment'])
def done(request, tmp_path_factory):
    head = dict(make=here+'masks') if request.param=='segment' else dict(make='linear')
    policy = dict(labels=dict(n=[80], policy='uniform'))
    return request.param,compare(splits(request.param), recipe=BASE | policy | dict(head=head),
        store=tmp_path_factory.mktemp('t')/'s', progress=False)

METRIC = {'multi-label': ('map', 'map11', 'mean average precision'), 'segment': ('miou', 'pixel', 'mean IoU')}

def test_rows_and_words_are_those_of_the_task(done):
    kind,res = done
    metric,other,title = METRIC[kind]
    assert len(res.rows)==8 and not len(res.missing) and set(res.rows.metric)=={metric} and set(res.rows.unit)=={'%'}
    assert set(res.rows.better)=={'higher'}
    ours = res.rows[res.rows.arm=='pretrained'] # of masks, one may call everything paper
    assert res.rows[other].between(0, 100).all() and (ours.value>=ours.chance).all()
    assert (ours.value>ours.chance).sum()>1
    row, = res.verdict().table.itertuples()
    assert row.diff>0 and title in res.text() and 'points' in res.text() and row.verdict!='hurts'
    assert read_results(res.store.path, trust=__name__).text()==res.text()
    assert title in report(res).read_text(encoding='utf-8')

def test_the_score_is_that_of_the_kept_net_on_the_test_images(done, tmp_path):
    "Counted again, all images at once"
    kind,res = done
    step = next(s for s in res.steps if not s.start)
    net,again = carry_out(step, res.splits)
    tally = task_of(kind).tally()
    with torch.no_grad(): tally.add(net.eval()(res.splits.test.x.float()/255), res.splits.test.y)
    row = res.rows.set_index('key').loc[step.key]
    assert again['value']==row.value==pytest.approx(tally.scores()[row.metric], abs=1e-3)

def test_another_score_of_the_task_can_be_asked_for(done):
    kind,res = done
    _,other,_ = METRIC[kind]
    again = read_results(res.store.path, metric=other, trust=__name__)
    assert set(again.rows.metric)=={other} and again.rows.value.tolist()==res.rows[other].tolist()

def test_a_head_of_another_task_is_refused_before_anything_is_run(tmp_path):
    with pytest.raises(ExperimentError, match='pretrained cannot classify images of 1x8x8') as e:
        compare(splits('segment'), recipe=BASE | dict(labels=dict(n=[80], policy='uniform')), store=tmp_path/'s',
            progress=False)
    assert '\n' not in str(e.value) and not (tmp_path/'s').exists()

# Arms that end with an autoencoder

def test_reconstruction_arms_are_judged_by_their_error_and_lower_is_better(tmp_path):
    arms = dict(long=dict(steps=['reconstruct']),
        short=dict(steps=['reconstruct'], change=dict(pretrain=dict(steps=1, evals=1))))
    res = compare(splits('multi-label'), recipe=BASE | dict(arms=arms), seeds=4, treatment='long', store=tmp_path/'s',
        progress=False)
    assert set(res.rows.metric)=={'mse'} and set(res.rows.better)=={'lower'} and len(res.rows)==8
    row, = res.verdict().table.itertuples()
    assert row.diff<0 and row.verdict=='helps' and 'squared error' in res.text()
    assert 'squared error' in report(res).read_text(encoding='utf-8')

# What was tried

digits = dataset('digits')
smoke = find_recipe('kohlbrenner', 'smoke')

@pytest.mark.parametrize('how', [dict(tune='each'), dict(tune='first'), dict(seek='outward', first_lr=.1)])
def test_every_rate_that_was_tried_is_kept_and_an_end_is_named(tmp_path, how):
    rates = [1e-4, 1e-3, 1e-2, .1]
    r = merged(smoke, dict(finetune=dict(opt='adam', lr=rates, steps=40) | how))
    res = compare(digits, ['random_default'], [100], 1, r, store=tmp_path/'s', progress=False)
    if how.get('tune')=='each': t = [dict(o, chosen=o['lr']==res.rows.lr.item()) for o in res.records[0]['tuning']]
    else: t = res.tuning.to_dict('records')
    tried = {o['lr']: (o['valid'], -o['valid_loss']) for o in t}
    assert set(tried)<=set(rates) and (set(tried)==set(rates) or 'seek' in how) and len(t)==len(tried)
    best = res.rows.lr.item()
    assert [o['lr'] for o in t if o['chosen']]==[best]
    assert tried[best][0]==max(v for v,_ in tried.values())==res.rows.valid.item()
    neighbours = [v for v in rates if abs(rates.index(v)-rates.index(best))==1]
    assert set(neighbours)<=set(tried) and res.rows.edge.item()==(best in (rates[0], rates[-1]))

def test_what_was_tried_for_an_autoencoder_is_kept_too(tmp_path):
    r = merged(smoke, dict(pretrain=dict(opt=dict(sgd=[.1, .5], adam=[.003]))))
    res = compare(digits, ['pretrained'], [50], 1, r, store=tmp_path/'s', progress=False)
    record = res.store.get(res.steps[0].parents[0].key)
    assert [(o['opt'], o['lr']) for o in record['tuning']]==[('sgd', .1), ('sgd', .5), ('adam', .003)]
    assert sum(o['chosen'] for o in record['tuning'])==1
    assert min(record['tuning'], key=lambda o: o['mse'])['chosen'] and record['row']['edge'] is True
    assert res.encoders.tried.item()=='sgd:0.1 0.5; adam:0.003'
