"""Numbers that are what they say: errors of kept weights, steps that were taken, seeds that move what they name, scores
from counts, failures that end one fit."""
import warnings
from dataclasses import replace
import numpy as np, pytest, torch
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score
from torch import nn
from torch.nn import functional as F
from aepretrain_nb.nets.loss import baselines, last_fifth, recon_error
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.compare import compare
from aepretrain_nb.experiment.plan import in_steps, plan, seed_list
from aepretrain_nb.experiment.pretrain import reconstruct
from aepretrain_nb.experiment.recipe import candidates, check_recipe, find_recipe, merged
from aepretrain_nb.experiment.run import StepFailed, looks
from aepretrain_nb.experiment.build import build_autoencoder, build_classifier
from aepretrain_nb.experiment.carry import carry_out, rehearse
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.stack import classify, train_heads
from aepretrain_nb.nets.encoder import Code
from aepretrain_nb.train.scores import count_scores
from torchvision.models import resnet18  # after the package, which mends the import

digits = dataset('digits')
smoke = find_recipe('kohlbrenner', 'smoke')

def recipe(pretrain=None, finetune=None, **kw):
    return smoke | kw | dict(pretrain=smoke['pretrain'] | (pretrain or {}),
        finetune=smoke['finetune'] | (finetune or {}))
def encoder(seed=0, splits=digits, **pretrain):
    return plan(splits, recipe(pretrain), ['pretrained'], [50], [seed])[0].parents[0]
def fit(arm='random_default', labels=50, splits=digits, seed=0, **kw):
    return plan(splits, recipe(**kw), [arm], [labels], [seed])[0]

# The error of an autoencoder

def held_out(t, splits=digits, n=97):
    "The clean held-out images of a trial, found without the code under test"
    order = torch.randperm(len(splits.unlabelled),
        generator=generator('unlabelled', splits.content, t.seeds['encoder']))
    return splits.unlabelled.x[order[:n]].float().div(255),splits.unlabelled.x[order[n:]].float().div(255)

def test_value_and_mse_are_those_of_the_weights_that_are_kept():
    t = encoder(keep='best', opt='adam', lr=1., steps=60, evals=12, n_valid=97)
    ae,res = reconstruct(t, digits)
    assert res['value']==min(res['curve'])<res['curve'][-1]  # the last look was not the best
    held,_ = held_out(t)
    with torch.no_grad(): again = F.mse_loss(ae.reconstruct(held), held).item()
    assert res['value']==pytest.approx(again, rel=1e-5) and res['mse']==pytest.approx(again, rel=1e-5)

def test_mse_is_a_mean_over_images_whatever_the_last_batch():
    t = encoder(n_valid=33, bs=32)  # batches of 32 and of 1
    ae,res = reconstruct(t, digits)
    held,_ = held_out(t, n=33)
    with torch.no_grad(): each = F.mse_loss(ae.reconstruct(held), held, reduction='none').flatten(1).mean(1)
    assert res['mse']==pytest.approx(each.mean().item(), rel=1e-5)
    assert abs(each.mean()-(each[:32].mean()+each[32])/2)>1e-4*each.mean()

@pytest.mark.parametrize('norm_target', [False, True])
def test_mean_image_and_pca_are_scikit_learns(norm_target):
    t = encoder(n_valid=97, norm_target=norm_target)
    t = replace(t, data=t.data | dict(norm=[.3, .5]))
    _,res = reconstruct(t, digits)
    held,rest = (o.flatten(1).numpy() for o in held_out(t))
    scale = 1/.25 if norm_target else 1
    pca = PCA(res['pca_k'], svd_solver='full').fit(rest)
    assert res['mean_image']==pytest.approx(scale*((held-rest.mean(0))**2).mean(), rel=1e-4)
    assert res['pca']==pytest.approx(scale*((held-pca.inverse_transform(pca.transform(held)))**2).mean(), rel=2e-2)
    assert res['pca_k']==32  # values of the code

def test_baselines_repeat_and_leave_the_global_stream_alone():
    x = torch.rand(40, 1, 6, 6)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert baselines(x[:30], x[30:], 4)==baselines(x[:30], x[30:], 4)
    assert torch.equal(before, torch.get_rng_state())
    assert baselines(x[:1], x[1:], 50)['pca_k']==0 and baselines(x[:4], x[4:], 50)['pca_k']==3
    one = baselines(x[:1], x[1:])
    assert one['pca']==one['mean_image']

def test_the_fall_over_the_last_fifth():
    assert last_fifth([1., .9, .8, .7, .6, .5, .4, .5, .4, .25])==pytest.approx(-.5)
    assert last_fifth([1.]*4) is None and last_fifth([1, 1, 1, 0, 1]) is None
    assert last_fifth([1, 1, 1, 1, float('nan')]) is None

# Equal tuning of the autoencoder

def test_the_candidate_of_lowest_held_out_error_is_kept():
    t = encoder(opt=dict(adam=[.003, .03], sgd=[.5, 1e38]),
        **(own := dict(loss='bce', steps=20, evals=5, n_valid=97, checkpoints=[5])))
    ae,res = reconstruct(t, digits)
    assert [(o['opt'], o['lr']) for o in res['tuning']]==[('sgd', .5), ('sgd', 1e38), ('adam', .003), ('adam', .03)]
    assert res['tuning'][1]['mse'] is None
    best = min((o for o in res['tuning'] if o['mse'] is not None), key=lambda o: o['mse'])
    assert best['chosen'] and sum(o['chosen'] for o in res['tuning'])==1
    assert (res['opt'], res['lr'], res['mse'])==(best['opt'], best['lr'], best['mse'])
    assert res['tried']=='sgd:0.5 1e+38; adam:0.003 0.03' and res['edge'] is True
    alone,same = reconstruct(encoder(opt=res['opt'], lr=res['lr'], **own), digits)
    assert all(torch.equal(a, b) for a,b in zip(ae.state_dict().values(), alone.state_dict().values()))
    assert same['curve']==res['curve']
    assert all(torch.equal(v, ae.state_dict()[k]) for k,v in res['checkpoints'][5].items())

def test_a_rate_within_its_list_is_no_edge_and_one_rate_says_nothing():
    res = reconstruct(encoder(opt='adam', lr=[1e-5, .03, 1e3], evals=5, n_valid=97), digits)[1]
    assert (res['lr'], res['edge'])==(.03, False)
    assert {'tried', 'edge', 'tuning'}.isdisjoint(reconstruct(encoder(), digits)[1])

@pytest.mark.parametrize('first_lr, rates',
    [(.003, {.001, .003, .01, .03, .1}), (.05, {.01, .03, .1}), (1., {.03, .1})])
def test_an_autoencoder_seeks_its_rate_outwards(first_lr, rates):
    own = dict(opt=dict(adam=(every := [1e-5, 1e-4, .001, .003, .01, .03, .1])), steps=20, evals=5, n_valid=97)
    whole,ae = (reconstruct(encoder(**own, **how), digits) for how in ({}, dict(seek='outward', first_lr=first_lr)))
    assert [o['lr'] for o in whole[1]['tuning']]==every
    assert {o['lr'] for o in ae[1]['tuning']}==rates
    for k in ('lr', 'mse', 'curve', 'edge'): assert ae[1][k]==whole[1][k]
    assert all(torch.equal(a, b) for a,b in zip(ae[0].state_dict().values(), whole[0].state_dict().values()))

def test_each_optimiser_seeks_from_the_nearest_rate_of_its_own_list_and_passes_what_diverges():
    own = dict(opt=dict(adam=[.003, .01, .03], sgd=[.5, 2., 1e38]), seek='outward', first_lr=1e30, loss='bce', steps=20,
        evals=5, n_valid=97)
    res = reconstruct(encoder(**own), digits)[1]
    assert ('sgd', 1e38) in {(o['opt'], o['lr']) for o in res['tuning'] if o['mse'] is None}
    assert ('sgd', 2.) in {(o['opt'], o['lr']) for o in res['tuning']}
    with pytest.raises(StepFailed, match=r'no candidate of sgd:1e\+36 1e\+37 gave a result'):
        reconstruct(encoder(**own | dict(opt=dict(sgd=[1e36, 1e37, 1e38]))), digits)

def test_steps_know_of_a_search_only_where_they_make_it():
    ask = dict(seek='outward', first_lr=.01, ties='smaller', tune='first', steps=5)
    assert in_steps(dict(opt='adam', lr=.01, **ask), 10)==dict(opt='adam', lr=.01, steps=5)
    assert in_steps(dict(opt=(by := dict(adam=[.01, .03])), **ask), 10)==dict(opt=by, seek='outward', first_lr=.01,
        steps=5)
    assert in_steps(dict(opt=by, **ask | dict(seek='all')), 10)==dict(opt=by, steps=5)
    assert in_steps(dict(opt=(one := dict(adam=.01)), **ask), 10)==dict(opt=one, steps=5)

def test_a_choice_is_made_on_images_that_were_not_trained_on():
    "Without n_valid: other pixels in the held-out images move the errors, not the weights of a candidate"
    t = encoder(lr=[.1, .5], steps=10, evals=1)
    ae,_ = reconstruct(t, digits)
    order = torch.randperm(1297, generator=generator('unlabelled', digits.content, 0))
    x = digits.unlabelled.x.clone()
    x[order[:1297//5]] = 0
    class Other:
        folds,train,test,unlabelled = None,digits.train,digits.test,ImageSet(x)
        digest,content = digits.digest,digits.content
    other,_ = reconstruct(encoder(lr=.5, steps=10, evals=1, n_valid=1297//5), Other)
    same = lambda a, b: all(torch.equal(p, q) for p,q in zip(a.state_dict().values(), b.state_dict().values()))
    assert same(ae, other)

def test_all_candidates_diverged_is_a_failed_step():
    with pytest.raises(StepFailed, match=r'no candidate of sgd:1e\+37 1e\+38 gave a result'):
        reconstruct(encoder(lr=[1e37, 1e38], loss='bce'), digits)

@pytest.mark.parametrize('change,say', [(dict(opt='lion'), "pretrain.opt is 'lion': one of sgd"),
    (dict(opt=[]), 'pretrain.opt is []'), (dict(opt={}), 'pretrain.opt is {}'), (dict(lr=[]), 'pretrain.lr is []'),
    (dict(lr=[.1, 'x']), "pretrain.lr is [0.1, 'x']: a number above 0"),
    (dict(opt=dict(sgd=0)), "pretrain.opt is {'sgd': 0}"), (dict(opt=dict(lion=.1)), "'lion'"),
    (dict(opt='adam', momentum=.9), 'adam takes none'),
    (dict(checkpoints=[0]), 'pretrain.checkpoints is [0]'), (dict(checkpoints=['last']), "or 'best'"),
    (dict(lr=dict(a=.1)), 'pretrain.lr is')])
def test_what_cannot_be_tried_is_refused_in_one_line(change, say):
    with pytest.raises(ExperimentError) as e: check_recipe(recipe(change))
    assert say in str(e.value) and '\n' not in str(e.value)

def test_forms_that_are_taken():
    for change in (dict(lr=[.1]), dict(opt=['sgd', 'adam'], lr=.1), dict(opt=dict(sgd=.5, adam=[.001, .003])),
        dict(opt=['sgd', 'adam'], momentum=.9)):
        check_recipe(recipe(change))
    assert candidates(merged(recipe(dict(opt=dict(sgd=[.1]))),
        dict(pretrain=dict(opt=dict(adam=[.003]))))['pretrain'])==[('adam', .003)]

def test_momentum_reaches_the_optimiser_that_takes_it():
    res = reconstruct(encoder(opt=['sgd', 'adam'], lr=[.01], momentum=.9, evals=1), digits)[1]
    assert None not in [o['mse'] for o in res['tuning']]

# Steps

@pytest.mark.parametrize('steps,evals', [(20, 7), (20, 20), (3, 5), (1, 1)])
def test_steps_asked_for_are_steps_taken(steps, evals):
    res = reconstruct(encoder(steps=steps, evals=evals), digits)[1]
    assert res['steps']==steps and len(res['curve'])==min(steps, evals)
    res = classify(fit(finetune=dict(steps=steps, evals=evals)), digits)[1]
    assert res['steps']==steps and len(res['curve'])==min(steps, evals)

def test_heads_take_the_steps_asked_for_and_look_when_a_net_of_its_own_does(monkeypatch):
    t = plan(digits, find_recipe('barletta', 'smoke', study='frozen') |
        dict(finetune=dict(opt='adam', lr=.01, bs=16, steps=20, evals=7, keep='last')), ['random'], [64], 1)[0]
    ours = classify(t, digits)[1]
    monkeypatch.setattr('aepretrain_nb.experiment.stack.together', lambda *_: None)
    own = classify(t, digits)[1]
    assert ours['steps']==own['steps']==20 and len(ours['curve'])==7 and ours['curve']==own['curve']
    assert ours['confusion']==own['confusion']

def test_a_look_more_or_less_does_not_change_what_is_learnt():
    nets = [classify(fit(finetune=dict(steps=20, evals=n, keep='last')), digits)[0] for n in (1, 3)]
    assert all(torch.equal(a, b) for a,b in zip(*(n.state_dict().values() for n in nets)))

def test_looks_rise_and_end_at_the_budget():
    for steps in (1, 7, 20, 1000):
        for evals in (1, 2, 3, 7, 20):
            assert looks(steps, evals)==sorted(set(looks(steps, evals))) and looks(steps, evals)[-1]==steps

# Nets that know the global stream only

class Coder(nn.Conv2d):
    "An encoder that knows no `gen`, as torchvision and timm build theirs"
    def __init__(self, c, h, w, gen=None): super().__init__(c, 4, 3, padding=1)
    def encode(self, x, taps=(), switches=False): return Code(self(x))

class Decoder(nn.Conv2d):
    def __init__(self, encoder, c, h, w, gen=None): super().__init__(4, c, 3, padding=1)
    def forward(self, code, encoder=None): return super().forward(code.z)

def plain_head(encoder, c, h, w, n_out, gen=None):
    return nn.Sequential(nn.Flatten(), nn.Dropout(.5), nn.Linear(4*h*w, n_out))
here = f'{__name__}:'
def nets(encoder='Coder', head='plain_head', **kw):
    return dict(encoder=dict(make=here+encoder, **kw), decoder=dict(make=here+'Decoder', out_act='identity'),
        head=dict(make=here+head))
frozen = dict(change=dict(finetune=dict(freeze=['encoder.'])))
plain = recipe(dict(lr=.1), **nets(), arms=dict(pretrained=dict(steps=['reconstruct', 'classify']),
    random=dict(steps=['classify']),
    frozen=dict(steps=['classify']) | frozen))

def weights(t):
    net = build_classifier(t, digits)
    return net.encoder.weight,net.head[-1].weight

def test_seeds_move_nets_that_ignore_gen():
    t = plan(digits, plain, ['random'], [50], [0])[0]
    (enc,head),(enc1,head1),(enc2,head2) = weights(t),weights(replace(t, seeds=t.seeds |
        dict(encoder=1))),weights(replace(t, seeds=t.seeds | dict(head=1)))
    assert not torch.equal(enc, enc1) and torch.equal(head, head1)
    assert torch.equal(enc, enc2) and not torch.equal(head, head2)
    torch.manual_seed(99)
    assert torch.equal(weights(t)[0], enc)

def test_the_random_start_is_what_pre_training_started_from():
    a,b = (plan(digits, plain, [k], [50], [0])[0] for k in ('pretrained', 'random'))
    assert torch.equal(build_autoencoder(a.parents[0], digits).encoder.weight,
        build_classifier(b, digits).encoder.weight)

def stem(c, h, w, gen=None):
    "torchvision's, which knows no `gen`"
    return nn.Sequential(resnet18(weights=None).conv1, nn.ReLU())

def test_the_encoder_seed_moves_torchvision_nets():
    r = plain | nets('stem')
    a,b,c = (build_autoencoder(plan(digits, r, ['random'], [50], [s])[0], digits).encoder[0].weight for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)

def test_heads_that_ignore_gen_do_not_depend_on_their_company():
    r = plain | nets(head='bare_head') | dict(finetune=plain['finetune'] | dict(opt='adam', lr=.01),
        seeds=dict(one_encoder='all'))
    ts = plan(digits, r, ['frozen'], [50, 100], 2)
    for (net,_),t in zip(train_heads(ts, digits), ts):
        alone = classify(t, digits)[0]
        assert all(torch.equal(a, b) for a,b in zip(net.state_dict().values(), alone.state_dict().values()))

def bare_head(encoder, c, h, w, n_out, gen=None): return nn.Sequential(nn.Flatten(), nn.Linear(4*h*w, n_out))

# An error in one net

class Breaks(Coder):
    def forward(self, x):
        if self.training: raise KINDS[BREAK[0]]('here\nand there')
        return super().forward(x)

def breaking_head(encoder, c, h, w, n_out, gen=None):
    return nn.Sequential(Stop(), nn.Flatten(), nn.Linear(4*h*w, n_out))

class Stop(nn.Module):
    def forward(self, x):
        if self.training: raise KINDS[BREAK[0]]('here\nand there')
        return x

KINDS,BREAK = {k.__name__: k for k in (IndexError, TypeError, KeyError, AssertionError, AttributeError,
    NotImplementedError, ZeroDivisionError, OSError, KeyboardInterrupt)},['IndexError']

@pytest.mark.parametrize('kind', ['IndexError', 'TypeError', 'KeyError', 'AssertionError', 'AttributeError'])
def test_any_error_in_a_net_fails_its_step(kind):
    BREAK[0] = kind
    t = plan(digits, plain | nets('Breaks', 'breaking_head'), ['pretrained'], [50], [0])[0]
    start = build_autoencoder(t, digits).state_dict()
    for step,weights in ((t.parents[0], []), (t, [(start, None)])):
        with pytest.raises(StepFailed, match=f'{kind}: .*here') as e: carry_out(step, digits, weights)
        assert '\n' not in str(e.value)

@pytest.mark.parametrize('kind', ['OSError', 'KeyboardInterrupt'])
def test_a_full_disk_and_a_pressed_key_are_not_a_steps_own(kind):
    BREAK[0] = kind
    t = plan(digits, plain | nets('Breaks'), ['pretrained'], [50], [0])[0]
    with pytest.raises(KINDS[kind]): carry_out(t.parents[0], digits)

class Later(Stop):
    "Breaks in training, but not at the first batch, which is rehearsed"
    seen = 0
    def forward(self, x):
        self.seen += self.training
        return super().forward(x) if self.seen>1 else x

class Sometimes(Coder):
    "Breaks in training where the recipe says so; only then"
    def __init__(self, c, h, w, gen=None, bad=False):
        super().__init__(c, h, w)
        self.last = Later() if bad else nn.Identity()
    def forward(self, x): return self.last(super().forward(x))

def test_an_error_in_one_arm_ends_that_fit_and_not_the_grid(tmp_path):
    BREAK[0] = 'IndexError'
    random = plain['arms']['random']
    r = plain | nets('Sometimes', bad=False) | dict(arms=dict(broken=random | dict(change=dict(encoder=dict(bad=True))),
        random=random))
    res = compare(digits, recipe=r, labels=[50], seeds=2, store=tmp_path/'s', progress=False)
    assert list(res.rows.arm)==['random']*2 and list(res.missing.arm)==['broken']*2
    assert res.missing.reason.str.contains('IndexError: .*here').all()

class Never(Coder):
    def forward(self, x): raise IndexError('too many layers')

def test_a_net_that_never_works_is_refused_before_anything_is_run():
    t = plan(digits, plain | nets('Never'), ['random'], [50], [0])[0]
    with pytest.raises(ExperimentError, match='random cannot classify images of 1x8x8 .IndexError: too many layers'):
        rehearse([t], digits)

# Scores

def test_scores_are_scikit_learns():
    g = np.random.default_rng(0)
    for k,n in ((2, 30), (5, 200), (7, 20)):
        y,p = g.integers(0, k-1, n),g.integers(0, k, n)  # the last class has no test images
        s = count_scores(torch.tensor(confusion_matrix(y, p, labels=range(k))))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            want = accuracy_score(y, p), balanced_accuracy_score(y, p), f1_score(y, p, average='macro')
        assert (s['accuracy'], s['balanced'], s['f1'])==pytest.approx([100*v for v in want], abs=1e-4)

def test_scores_of_nothing(): assert all(np.isnan(v) for v in count_scores(torch.zeros(3, 3)).values())

def rare(seed, n=(200, 10)):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(2).repeat_interleave(torch.tensor(n))
    return ImageSet(torch.randint(0, 256, (len(y), 1, 8, 8), generator=g).byte(), y)

@pytest.mark.parametrize('arm,change', [('random_default', {}), ('frozen', frozen), ('votes', dict(steps=['knn']))])
def test_a_constant_answer_is_visible(arm, change):
    s = Splits('rare', rare(0), rare(1))
    r = recipe(finetune=dict(lr=1e-6)) | dict(arms={arm: smoke['arms']['random_default'] | change})
    res = carry_out(plan(s, r, [arm], [100], 1)[0], s)[1]
    assert res['n_test']==210 and np.sum(res['confusion'])==210 and 90<res['chance']<100
    found = count_scores(torch.tensor(res['confusion']))
    assert {k: res[k] for k in ('balanced', 'f1')}=={k: found[k] for k in ('balanced', 'f1')}
    assert res['value']==found['accuracy']
    if arm=='random_default': assert (res['balanced'], np.count_nonzero(np.sum(res['confusion'], 0)))==(50, 1)

def test_confusion_is_counted_where_accuracy_is_even_with_dropout_on():
    t = plan(digits, plain | dict(finetune=plain['finetune'] |
        dict(dropout_on=True, opt='adam', lr=.01, steps=100, evals=1)), ['random'], [200], 1)[0]
    res = classify(t, digits)[1]
    assert np.trace(res['confusion'])/5==pytest.approx(res['value'], abs=1e-3) and res['value']>50

def test_chance_is_that_of_the_test_images_wherever_validation_is_from():
    y = torch.tensor([0]*40 + [1]*20 + [2]*20)
    s = Splits('own', ImageSet(torch.zeros(80, 1, 8, 8).byte(), y),
        ImageSet(torch.zeros(9, 1, 8, 8).byte(), torch.arange(3).repeat(3)))
    for kw in ({}, dict(valid='extra', n_valid=20), dict(valid='test')):
        res = classify(plan(s, recipe(labels=kw), ['random_default'], [40], 1)[0], s)[1]
        assert (res['chance'], res['n_test'])==(33.3333, 9)

# Seeds, labels, arms

def test_numbers_and_names_in_all_their_forms():
    keys = lambda r=smoke,**kw: [t.key for t in plan(digits, r,
        **dict(arms=['pretrained'], labels=[50], seeds=[0]) | kw)]
    same = [dict(labels=50), dict(labels=np.int64(50)), dict(labels=np.array([50])), dict(labels=(50,)), dict(seeds=1),
        dict(seeds=np.int64(1)), dict(seeds=np.arange(1)), dict(seeds=range(1)), dict(arms='pretrained')]
    assert all(keys(**kw)==keys() for kw in same)
    few = lambda n,v: compare(digits, 'pretrained', 50, 1, smoke, n_unlabelled=n, n_valid=v,
        progress=False).rows.key.tolist()
    assert few(np.int64(99), np.int32(9))==few(99, 9)!=keys()
    assert all(type(o) is int for run in seed_list(np.arange(2)) for o in run)

@pytest.mark.parametrize('kw,say', [(dict(labels=[]), 'labels is []'),
    (dict(labels=0), 'labels is 0: whole numbers from 1'), (dict(labels=[50, 50]), 'no size twice'),
    (dict(labels=50.5), 'labels is 50.5'), (dict(labels='50'), "labels is '50'"),
    (dict(seeds=0), 'seeds is 0'), (dict(seeds=[]), 'seeds is []'), (dict(seeds=True), 'seeds is True'),
    (dict(seeds=2.5), 'seeds is 2.5'), (dict(seeds=[1, 1.5]), 'whole numbers'),
    (dict(arms='pretrain'), "unknown arm 'pretrain'; did you mean 'pretrained'"), (dict(arms=[]), 'no arms'),
    (dict(arms=[3]), 'unknown arm 3')])
def test_forms_that_are_refused_in_one_line(kw, say):
    with pytest.raises(ExperimentError) as e:
        plan(digits, smoke, **dict(arms=['pretrained'], labels=[50], seeds=1) | kw)
    assert say in str(e.value) and '\n' not in str(e.value)

def test_a_checkpoint_that_never_comes_is_refused():
    arms = dict(a=dict(steps=['reconstruct', dict(do='classify', at=3)]))
    with pytest.raises(ExperimentError, match='checkpoint 3, which never comes: pretrain.evals is 2'):
        plan(digits, recipe(dict(checkpoints=[1, 3], evals=2)) | dict(arms=arms), labels=[50], seeds=1)

def test_checkpoints_without_best_serve_arms_that_start_from_the_end(tmp_path):
    def at(look): return frozen | dict(steps=['reconstruct', dict(do='classify', at=look)])
    r = find_recipe('barletta', 'smoke', study='frozen')
    r = r | dict(pretrain=r['pretrain'] | dict(checkpoints=[1, 2]), arms=dict(end=at(None), first=at(1), second=at(2)))
    res = compare(digits, recipe=r, labels=[64], seeds=1, store=tmp_path/'s', progress=False)
    at = res.rows.set_index('arm').value
    assert len(at)==3 and at.end==at.second
