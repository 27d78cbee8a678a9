"""Schedules beyond the notebook's examples: one budget over depths and fractions, clean targets, frozen bytes,
repeatability, decaying rates."""
import math, copy, json, pytest, torch
from dataclasses import asdict, replace
from fastai.callback.core import Callback
from torch import nn
from aepretrain_nb.train import schedule as S
from aepretrain_nb.nets.autoencoder import Autoencoder, TiedDecoder
from aepretrain_nb.nets.encoder import ConvEncoder, ConvStage
from aepretrain_nb.data.corrupt import Gaussian, Masking
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.loader import image_dls
from aepretrain_nb.nets.staged import DenseEncoder, StagedAE
from aepretrain_nb.train.schedule import (Phase, PhaseCB, PhaseNet, budget, de_novo, draw_schedule, find_n, gradual,
    hybrid, input_noise_frozen, joint,
    run_schedule, stacked)

digits = dataset('digits').unlabelled

def dls(n=100, **kw): return image_dls(digits.take(range(n)), digits.take(range(n, n+40)), bs=20, target='x', **kw)
def names(depth, c='l'): return [f'{c}{i+1}' for i in range(depth)]
def dense(depth=2, seed=0, width=9): return StagedAE(DenseEncoder(64, [width]*depth), (1,8,8), seed=seed)
def conv(depth=2, seed=0, act='sigmoid', pool='max'):
    stride = 2 if pool=='stride' else 1
    stages = {f'l{i+1}': ConvStage(nn.Conv2d(i+1, i+2, 3, stride, padding=1), act, pool=pool, norm=nn.BatchNorm2d(i+2))
        for i in range(depth)}
    return StagedAE(ConvEncoder(stages), (1,8,8), seed=seed)
def state(m): return {k: v.clone() for k,v in m.state_dict().items()}
def same(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

@pytest.mark.parametrize('depth', range(1, 5))
@pytest.mark.parametrize('first,n', [(50, 80), (25, 70), (7, 3), (1, 1), (13, 7)])
def test_one_budget(depth, first, n):
    ns = names(depth)
    want = first + n*sum(range(2, depth+1))
    for f in (0, .1, .25, 1/3, .5, .75, .9, 1): assert budget(hybrid(ns, first, n, f)) == want
    for s in (stacked, gradual, input_noise_frozen): assert budget(s(ns, first, n)) == want
    assert abs(budget(de_novo(ns, first, n))-want) <= depth
    assert {budget(joint(s(ns, first, n), ns, 5))-budget(s(ns, first, n))
        for s in (stacked, gradual, de_novo)} == {5*depth}

def test_split_of_the_paper():
    for f in (0, .25, .5, .75, 1):
        steps = {p.name: p.steps for p in hybrid(['l1','l2'], 50, 80, f)}
        assert steps.get('stack l2', 0)==2*80*f and steps.get('grow l2', 0)==80*(1-f)

@pytest.mark.parametrize('depth', range(1, 5))
def test_plain_json(depth):
    ns = names(depth)
    for s in (stacked(ns,3,4), gradual(ns,3,4,'chain',(1.,.1)), hybrid(ns,3,4,.5), input_noise_frozen(ns,3,4),
        joint(de_novo(ns,3,4), ns, 2, lr=.5)):
        assert [Phase(**d) for d in json.loads(json.dumps([asdict(p) for p in s]))]==s

def seen(ae, phase, noise):
    "What a phase was fed and asked for in its training batches, with the clean images"
    class See(Callback):
        order = -5
        def before_fit(self): self.rows,self.clean = [],None
        def before_batch(self): self.images = self.learn.yb[0]
        def after_pred(self):
            if self.training: self.rows.append((self.learn.xb[0], self.learn.yb[0], self.images))
    see,learn = See(),S.ImageLearner(dls(), PhaseNet(ae, phase), S.ReconLoss('bce','sigmoid'), S.torch_opt('sgd'),
        bar=False,
                                     splitter=lambda m: [list(g.parameters()) for g in m.groups()],
                                     cbs=PhaseCB(ae, phase, noise, 0, .0, 5))
    ae.eval()
    with learn.no_logging(): learn.fit(1, cbs=see)
    return see.rows

@pytest.mark.parametrize('build', (dense, conv))
@pytest.mark.parametrize('make', (stacked, gradual, input_noise_frozen, de_novo,
    lambda n,a,b: joint(stacked(n,a,b), n, 5), lambda n,a,b: hybrid(n,a,b,.5)))
def test_targets_are_clean_and_noise_is_where_it_should_be(build, make):
    ae,pixels = build(3),{o.numpy().tobytes() for o in digits.take(range(100)).x.float().div_(255)}
    for p in make(names(3), 5, 4):
        rows = seen(ae, replace(p, steps=5), Masking(.5))
        assert len(rows)==5
        for fed,asked,images in rows:
            assert all(o.numpy().tobytes() in pixels for o in images)
            at = dict(input=images) | ae.encoder.encode(images, ['l1','l2']).taps
            assert torch.equal(asked, at[p.target])
            clean = at[p.noise]
            assert fed.shape==clean.shape and not torch.equal(fed, clean)
            assert torch.equal(fed[fed!=0], clean[fed!=0])
        stack = p.name.startswith('stack')
        assert (p.noise==p.target) and (p.noise==({'l1':'input','l2':'l1','l3':'l2'}[p.top] if stack else 'input'))

@pytest.mark.parametrize('build', (dense, conv))
@pytest.mark.parametrize('make', (stacked, gradual, input_noise_frozen, de_novo))
def test_frozen_is_frozen(build, make):
    ae = build(3)
    for p in make(names(3), 10, 6):
        before = state(ae)
        run_schedule(ae, [p], dls(), lr=.02, every=4)
        after = state(ae)
        learns = [f'encoder.stages.{n}.' for n in p.train]+[f'downs.{k}.'
            for k in ae.route(ae.level(p.top), ae.level(p.target), p.decoder)]
        for k in before:
            if not k.startswith(tuple(learns)): assert torch.equal(before[k], after[k]), (p.name, k)
        for l in learns:
            assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith(l)), (p.name, l)

@pytest.mark.parametrize('steps,every', [(12, 5), (5, 5), (3, 5), (11, 1)])
def test_steps_are_counted(steps, every, monkeypatch):
    n = []
    real = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, 'step', lambda self, *a, **k: (n.append(1), real(self, *a, **k))[1])
    log = run_schedule(dense(), gradual(['l1','l2'], steps, steps), dls(), every=every)
    assert len(n)==2*steps and list(log.updates)==[steps, 2*steps] and [len(c) for c in log.curve]==[-(-steps//every)]*2

@pytest.mark.parametrize('build', (dense, conv))
def test_same_seed_same_bytes(build):
    def go(seed, burn=0):
        torch.manual_seed(burn); ae = build(2, seed)
        log = run_schedule(ae, joint(hybrid(names(2), 6, 6, .5), names(2), 4), dls(), seed=seed, every=5)
        return state(ae), list(log.curve)
    a,b,c = go(0), go(0, 99), go(1)
    assert same(a[0], b[0]) and a[1]==b[1] and not same(a[0], c[0])

def test_arms_share_layers_by_name():
    a,b = dense(2),dense(4)
    for k,v in a.state_dict().items(): assert torch.equal(v, b.state_dict()[k])
    run_schedule(a, stacked(names(2), 6, 4)[:1], dls()); run_schedule(b, gradual(names(4), 6, 4)[:1], dls())
    assert all(torch.equal(v, b.state_dict()[k]) for k,v in a.state_dict().items())

def test_best_weights_are_restored_and_repeat():
    ae = dense()
    log = run_schedule(ae, gradual(['l1'], 60, 1), dls(), lr=1., every=5)
    again = run_schedule(ae, [Phase('stack l1', ('l1',), 'l1', 1)], dls(), lr=0., every=5)
    assert log.valid[0]==min(log.curve[0]) and log.curve[0][-1]!=log.valid[0]
    assert again.valid[0]==pytest.approx(log.valid[0], rel=1e-6)

def test_factor_zero_is_frozen_and_one_is_plain():
    ns = names(2)
    def go(s):
        ae = dense(); run_schedule(ae, s, dls(), every=5); return state(ae)
    assert same(go(gradual(ns, 6, 6)), go(gradual(ns, 6, 6, factor=(1,1))))
    zero,low = go(gradual(ns, 6, 6, factor=0)),go(gradual(ns, 6, 6)[:1])
    for k in low:
        if 'stages.l1' in k: assert torch.equal(low[k], zero[k])

def test_factor_decays(monkeypatch):
    lrs = []
    real = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, 'step',
        lambda self, *a, **k: (lrs.append([g['lr'] for g in self.param_groups]), real(self, *a, **k))[1])
    run_schedule(dense(), gradual(names(2), 5, 5, factor=(1., 0.)), dls(), lr=.1, every=2)
    assert [l[0] for l in lrs[5:]]==pytest.approx([.1, .075, .05, .025, 0.])
    assert all(l[1:]==[.1, .1] for l in lrs[5:])

def test_momentum_is_reset():
    ae,twin = dense(),dense()
    log = gradual(names(2), 6, 4)
    run_schedule(ae, log, dls())
    for p in log: run_schedule(twin, [p], dls())
    assert same(state(ae), state(twin))

def test_fresh_decoder():
    ae,old = dense(),dense()
    s = gradual(names(2), 6, 4)
    j = joint(s, names(2), 1)
    run_schedule(ae, [*s, replace(j[-1], fresh=True)], dls(), lr=0.); run_schedule(old, j, dls(), lr=0.)
    assert torch.equal(old.downs['2_0'].layer.weight, dense().downs['2_0'].layer.weight)
    assert not torch.equal(ae.downs['2_0'].layer.weight, old.downs['2_0'].layer.weight)

@pytest.mark.parametrize('pool,size', [(p,s) for p in ('max','stride')
    for s in ((8,8), (29,29), (68,65), (1,13), (13,1))])
def test_both_decoders_reach_every_size(pool, size):
    stages = {f'l{i+1}': ConvStage(nn.Conv2d(i+1, i+2, 3, 2 if pool=='stride' else 1, padding=1), 'scaled_tanh',
        pool=pool) for i in range(3)}
    ae,x = StagedAE(ConvEncoder(stages), (1,*size), 'scaled_tanh'),torch.rand(2,1,*size)
    for top in names(3):
        for d in ('chain','direct'): assert ae(x, d, top).shape==x.shape

def tied(depth=3, seed=0, spec=None):
    stages = {f'l{i+1}': ConvStage(nn.Conv2d(i+1, i+2, 3, padding=1), 'scaled_tanh', pool='max' if i<2 else None)
        for i in range(depth)}
    return StagedAE(ConvEncoder(stages), (1,8,8), 'scaled_tanh', seed, spec or dict(dist='normal', std=.3, bias=.1),
        tied=True)

@pytest.mark.parametrize('pool,size', [(p,s) for p in ('max','stride')
    for s in ((8,8), (29,29), (68,65), (1,13), (13,1))])
def test_tied_is_the_tied_autoencoder(pool, size):
    stages = {f'l{i+1}': ConvStage(nn.Conv2d(i+1, i+2, 3, 2 if pool=='stride' else 1, padding=1), 'scaled_tanh',
        pool=pool) for i in range(3)}
    enc,x = ConvEncoder(stages),torch.rand(2,1,*size)
    ae = StagedAE(enc, (1,*size), 'scaled_tanh', tied=True)
    assert torch.equal(ae(x, 'tied'), Autoencoder(enc, TiedDecoder(enc))(x))
    assert [ae(x, 'tied', top).shape for top in names(3)]==[x.shape]*3

def test_tied_trains_as_the_tied_autoencoder():
    ae = tied(); twin = copy.deepcopy(ae)
    run_schedule(ae, [Phase('all', tuple(names(3)), 'l3', 7, decoder='tied')], dls(), None, 'mse', .5,
        S.torch_opt('sgd'), reduction='mean', every=7)
    d = dls().train.new(shuffle=True, steps=7, seed=S.seed_of(0, 'phase', 'all'))
    opt = torch.optim.SGD(twin.parameters(), .5)
    for x,_ in d:
        opt.zero_grad(); torch.nn.functional.mse_loss(torch.sigmoid(2*twin(x, 'tied')), x).backward(); opt.step()
    for a,b in zip(ae.parameters(), twin.parameters()): torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)

@pytest.mark.parametrize('make', (stacked, gradual, input_noise_frozen, de_novo))
def test_tied_phases_move_what_learns_and_no_other_filters(make):
    ae = tied()
    for p in make(names(3), 6, 5, decoder='tied'):
        assert p.decoder=='tied'
        before = state(ae); run_schedule(ae, [p], dls(), loss='mse', reduction='mean', lr=.5, every=3)
        after = state(ae)
        moved = {k for k in before if not torch.equal(before[k], after[k])}
        assert moved=={k for k in before if k.split('.')[2] in p.train} | {f'downs.{k}.bias'
            for k in ae.route(ae.level(p.top), ae.level(p.target), 'tied')}, p.name

def test_tied_copies_hang_together_and_renew():
    ae = tied(); twin = copy.deepcopy(ae)
    assert all(twin.downs[f'{i+1}_{i}_tied']._stage[0] is twin.encoder.stages[f'l{i+1}'] for i in range(3))
    start = state(ae)
    run_schedule(ae, [Phase('p', ('l1',), 'l1', 5, decoder='tied')], dls(), loss='mse', lr=.001)
    assert not torch.equal(ae.downs['1_0_tied'].bias, start['downs.1_0_tied.bias'])
    run_schedule(ae, [Phase('q', (), 'l1', 5, decoder='tied', fresh=True)], dls(), loss='mse', lr=0.)
    assert torch.equal(ae.downs['1_0_tied'].bias, start['downs.1_0_tied.bias'])

@pytest.mark.parametrize('decoder', ('tied', 'direct'))
@pytest.mark.parametrize('depth', range(1, 5))
def test_one_budget_counted_in_steps_of_a_convolutional_net(depth, decoder, monkeypatch):
    spent = {}
    real = torch.optim.SGD.step
    for k,make in {'stacked': stacked, 'gradual': gradual, 'frozen': input_noise_frozen, 'de_novo': de_novo,
        **{f: f for f in (.1, .3, .5, .9)}}.items():
        ae = tied(depth)
        own = {id(p): n for n,s in ae.encoder.stages.items() for p in s.parameters()}
        count = []
        monkeypatch.setattr(torch.optim.SGD, 'step',
            lambda self, *a, **kw: (count.append(len({own[id(p)] for g in self.param_groups
            for p in g['params'] if id(p) in own and p.grad is not None})), real(self, *a, **kw))[1])
        chain = dict(decoder='tied') if decoder=='tied' else {}
        plan = hybrid(names(depth), 4, 5, k, **chain) if isinstance(make, float) else make(names(depth), 4, 5, **chain)
        run_schedule(ae, plan, dls(), loss='mse', reduction='mean', every=50)
        assert sum(count)==budget(plan)
        spent[k] = sum(count)
    assert max(spent.values())-min(spent.values()) <= depth

def test_other_noise_losses_and_activations():
    for act in ('relu','scaled_tanh'):
        run_schedule(conv(2, act=act), hybrid(names(2), 4, 4, .5), dls(), Gaussian(.1), 'mse', 1e-3)
    run_schedule(dense(), stacked(names(2), 4, 4), dls(), None)

def test_divergence_shows():
    log = run_schedule(dense(1), gradual(['l1'], 10, 1), dls(), lr=float('inf')).iloc[0]
    assert log.valid == float('inf') and not any(map(math.isfinite, log.curve))

def test_wrong_input_in_one_line():
    with pytest.raises(ValueError, match='PReLU'): StagedAE(DenseEncoder(64, [4], nn.PReLU()), (1,8,8))
    for bad in (dict(corrupt=Masking(.1)), dict(norm=(.5,.5))):
        with pytest.raises(ValueError, match='clean images'): run_schedule(dense(), gradual(['l1'], 1, 1), dls(**bad))
    with pytest.raises(ValueError, match='validation images'):
        run_schedule(dense(), gradual(['l1'], 1, 1), image_dls(digits.take(range(40)), target='x'))
    with pytest.raises(ValueError, match="no stage 'l7'"): run_schedule(dense(), gradual(['l1','l7'], 1, 1), dls())
    with pytest.raises(ValueError, match='chain, direct or tied'):
        PhaseNet(dense(), Phase('p', ('l1',), 'l1', 1, decoder='other'))
    with pytest.raises(ValueError, match='at least 1'): Phase('p', ('l1',), 'l1', 0)
    with pytest.raises(ValueError, match='from 0 to 1'): hybrid(['l1','l2'], 1, 1, 1.5)

@pytest.mark.parametrize('depth', range(1, 5))
def test_drawing_is_as_long_as_the_budget(depth):
    import matplotlib; matplotlib.use('Agg')
    for s in (stacked, gradual, input_noise_frozen, de_novo):
        plan = s(names(depth), 5, 4)
        ax = draw_schedule(plan, names(depth))
        assert ax.get_xlim()[1]==budget(plan) and len(ax.patches)==sum(int(p.top[1:]) for p in plan)
        filled = sum(b.get_width() for b in ax.patches if b.get_facecolor()[3]>0)
        assert filled==sum(p.updates*len(p.train) for p in plan)
        matplotlib.pyplot.close(ax.figure)

def test_find_n_waits_for_all_schemes():
    flat,down = [1.]*30,[1/(i+1) for i in range(30)]
    assert find_n({'a': flat})==11 and find_n({'a': flat, 'b': down}) is None
    assert find_n({'a': flat, 'b': [1.]*60}, {'b': 2})==11
