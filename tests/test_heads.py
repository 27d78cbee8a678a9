"Heads trained as one: each is the head that PyTorch would train alone, and its bytes do not know who else is there"
import math
import pytest, torch
import torch.nn.functional as F
from aepretrain_nb.data.loader import ImageDL
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.train.heads import fit_heads
from aepretrain_nb.train.one_head import BatchOrder, HeadError, HeadJob, fit_alone

def problem(n=600, d=29, k=10, seed=0):
    g = torch.Generator().manual_seed(seed)
    x,w = torch.randn(n, d, generator=g).relu(),torch.randn(d, k, generator=g)
    return x,(x@w + torch.randn(n, k, generator=g)).argmax(1)

def jobs(n, sizes, steps, k=10, d=29, **kw):
    def start(i):
        return [torch.empty(*s).uniform_(-d**-.5, d**-.5, generator=generator('start', i)) for s in ((k, d), (k,))]
    return [HeadJob(torch.randperm(n, generator=generator('rows', i))[:s], *start(i), seed=i, steps=t, **kw)
        for i,(s,t) in enumerate(zip(sizes, steps))]

@pytest.mark.parametrize('double', [False, True])
@pytest.mark.parametrize('clip', [None, .05])
@pytest.mark.parametrize('sizes,steps',
    [([16, 100, 333, 600], 600), pytest.param([16, 600], 2000, marks=pytest.mark.slow)])
def test_each_is_the_head_that_torch_trains_alone(double, clip, sizes, steps):
    x,y = problem()
    js = jobs(len(x), sizes, [steps]*len(sizes))
    got = fit_heads(x, y, js, 10, clip=clip, double_softmax=double)
    for i,j in enumerate(js):
        h = fit_alone(x, y, j, 10, clip=clip, double_softmax=double)
        assert torch.allclose(got.weight[i], h.weight, atol=1e-6, rtol=1e-5)
        assert torch.allclose(got.bias[i], h.bias, atol=1e-6, rtol=1e-5)
        z,mine = h(x),got.head(i)(x)
        assert torch.equal(z.argmax(1), mine.argmax(1))
        assert abs(F.cross_entropy(z.double(), y)-F.cross_entropy(mine.double(), y))<1e-6*max(1, F.cross_entropy(z, y))

@pytest.mark.parametrize('momentum', [0., .9])
def test_sgd_is_torchs(momentum):
    x,y = problem()
    js = jobs(len(x), [50, 600], [500, 300], lr=.02)
    got = fit_heads(x, y, js, 10, opt='sgd', momentum=momentum)
    for i,j in enumerate(js):
        h = fit_alone(x, y, j, 10, opt=lambda p, lr: torch.optim.SGD(p, lr, momentum=momentum))
        assert torch.allclose(got.weight[i], h.weight, atol=2e-6, rtol=1e-5)

@pytest.mark.parametrize('double', [False, True])
@pytest.mark.parametrize('d,k', [(196, 10), (29, 10), (7, 3), (64, 2), (1000, 17)])
def test_bytes_do_not_depend_on_company(d, k, double):
    x,y = problem(400, d, k)
    steps = [97, 30, 64, 5, 30, 81, 12]
    js = jobs(len(x), [16, 50, 400, 33, 128, 17, 200], steps, k, d, lr=.01)
    alone = [fit_heads(x, y, [j], k, clip=.5, double_softmax=double) for j in js]
    def same(order, **kw):
        got = fit_heads(x, y, [js[i] for i in order], k, clip=.5, double_softmax=double, **kw)
        return all(torch.equal(got.weight[p], alone[i].weight[0]) and torch.equal(got.bias[p], alone[i].bias[0])
            for p,i in enumerate(order))
    assert same(range(7)) and same([6, 0, 3]) and same([5, 1]) and same([2, 4, 1, 0, 6, 5, 3], group=2)
    assert same(list(range(7))*8)

def test_looks_change_nothing_and_the_best_is_kept():
    x,y = problem()
    js = jobs(len(x), [300, 200], [200, 100])
    plain = fit_heads(x, y, js, 10)
    seen = [HeadJob(j.idx, j.weight, j.bias, j.seed, j.lr, j.steps, torch.arange(100), (10, 50, 100)) for j in js]
    last,best = (fit_heads(x, y, seen, 10, keep=k) for k in ('last', 'best'))
    assert torch.equal(plain.weight, last.weight) and last.kept==[200, 100]
    for i in range(2):
        va = best.curve.query('job==@i and set=="valid"').set_index('step').accuracy
        assert best.kept[i]==va[va==va.max()].index.max()

@pytest.mark.parametrize('n,bs,steps', [(33, 16, 7), (16, 16, 5), (5, 16, 4), (100, 7, 40)])
@pytest.mark.parametrize('seed', [0, 3])
def test_batches_are_those_of_the_loader(n, bs, steps, seed):
    s = ImageSet(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.arange(n))
    dl,order = ImageDL(s, bs, shuffle=True, seed=seed, steps=steps),BatchOrder(n, bs, seed)
    for _ in range(2): assert [b.tolist() for _,b in dl]==order.take(steps).tolist()

def test_a_head_that_diverges_leaves_the_others_alone():
    x,y = problem()
    js = jobs(len(x), [100, 100], [50, 50])
    js[0].lr = 1e38
    got = fit_heads(x, y, js, 10, opt='sgd', score=dict(test=(x, y)))
    assert got.diverged==[0] and torch.equal(got.weight[1], fit_heads(x, y, js[1:], 10, opt='sgd').weight[0])

def test_a_second_softmax_never_costs_less_than_its_floor():
    x = torch.eye(10)*30
    got = fit_heads(x, torch.arange(10), [HeadJob(torch.arange(10), lr=.1, steps=3000)], 10, double_softmax=True)
    loss = got.curve.query('set=="train"').loss.iloc[-1]
    assert -math.log(math.e/(math.e+9))-1e-6<loss<1.4613

@pytest.mark.parametrize('kw,say', [(dict(opt='adagrad'), 'adagrad'), (dict(clip=-1), 'clip is -1'),
    (dict(keep='best'), 'give valid'), (dict(momentum=.9), "opt='sgd'"), (dict(bs=0), 'batches of 0'),
    (dict(last='all'), 'carry, drop, keep')])
def test_wrong_wishes_get_one_line(kw, say):
    x,y = problem(20)
    with pytest.raises(HeadError, match=say) as e: fit_heads(x, y, jobs(20, [20], [5]), 10, **kw)
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('n,bs', [(33, 16), (16, 16), (100, 7), (41, 20)])
@pytest.mark.parametrize('last', ['drop', 'keep'])
def test_batches_are_those_of_an_epoch(n, bs, last):
    s = ImageSet(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.arange(n))
    dl,order = ImageDL(s, bs, shuffle=True, seed=4, drop_last=last=='drop'),BatchOrder(n, bs, 4, last)
    want = [b.tolist() for _ in range(4) for _,b in dl]
    got = [[i for i in b if i>=0] for m in (len(dl), 1, len(want)-len(dl)-1) for b in order.take(m).tolist()]
    assert got==want
    x,y = torch.randn(n, 9, generator=generator('x')),torch.arange(n)%3
    j = HeadJob(torch.arange(n), seed=2, steps=60, lr=.01)
    h = fit_alone(x, y, j, 3, bs, last=last)
    assert torch.allclose(fit_heads(x, y, [j], 3, bs, last=last).weight[0], h.weight, atol=1e-6)

def test_fifty_heads_are_fifty_single_ones():
    x,y = problem(500, 64)
    js = jobs(len(x), [10+9*i for i in range(50)], [20+7*(i%13) for i in range(50)], d=64, lr=.003)
    for double in (False, True):
        got = fit_heads(x, y, js, 10, double_softmax=double)
        again = fit_heads(x.clone(), y.clone(), js[::-1], 10, double_softmax=double, group=7)
        assert torch.equal(got.weight, again.weight.flip(0)) and torch.equal(got.bias, again.bias.flip(0))
        for i in (0, 23, 49):
            assert torch.equal(got.weight[i], fit_heads(x, y, [js[i]], 10, double_softmax=double).weight[0])

def test_threads_are_put_back_and_change_no_byte():
    x,y = problem(200)
    js,was = jobs(len(x), [50, 200], [40, 30]),torch.get_num_threads()
    one = fit_heads(x, y, js, 10)
    try:
        torch.set_num_threads(2)
        assert torch.equal(fit_heads(x, y, js, 10).weight, one.weight) and torch.get_num_threads()==2
    finally: torch.set_num_threads(was)
