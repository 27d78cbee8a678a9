"Tasks: scores are their judges', in any cut of batches; chance is the best constant answer; a Learner trains as before"
import math, pickle, random
from types import SimpleNamespace
import numpy as np, pytest, torch
from fastai.data.core import DataLoaders
from fastai.learner import load_learner
from fastai.metrics import accuracy
from sklearn.metrics import (accuracy_score, average_precision_score, f1_score, jaccard_score, recall_score,
    top_k_accuracy_score)
from torch import nn
from torch.nn import functional as F
from aepretrain_nb.data.loader import image_dls
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.train.callbacks import BestWeightsCB
from aepretrain_nb.train.learner import ImageLearner, torch_opt
from aepretrain_nb.train.scores import (SCORES, CountTally, ImageTally, RankTally, average_precision, confusion_counts,
    count_scores)
from aepretrain_nb.train.task import TASKS_OF, Joint, ScoresCB, Task, labels_loss, pixel_loss, sigmoid_loss, task_of

digits = dataset('digits')
gen = lambda seed: torch.Generator().manual_seed(seed)

def problem(name, n, k, seed):
    "Outputs and targets for a task, with ties and with classes that are rare or absent"
    g = gen(seed)
    logits = (torch.randn(n, k, generator=g)*4).round()/4
    if name=='classify': return logits, (torch.rand(n, generator=g)**2*k).long()
    if name=='multi-label': return logits, (torch.rand(n, k, generator=g)<torch.linspace(.5, 0, k)).float()
    if name=='segment':
        y = torch.randint(k, (n, 5, 6), generator=g)
        y[torch.rand(y.shape, generator=g)<.2] = 255
        return (torch.randn(n, k, 5, 6, generator=g)*2).round(), y
    return torch.randn(n, 2, 5, 6, generator=g), torch.rand(n, 2, 5, 6, generator=g)

def cut(n, seed):
    "Sizes of batches that are anything from one image up"
    rng,sizes = random.Random(seed),[]
    while sum(sizes)<n: sizes.append(min(rng.choice([1, 2, 7, 64]), n-sum(sizes)))
    return sizes

def tallied(task, output, target, sizes):
    t = task.tally()
    for o,y in zip(output.split(sizes), target.split(sizes)): t.add(o, y)
    return t

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('n,k', [(1,2), (50,3), (333,10)])
@pytest.mark.parametrize('name', TASKS_OF)
def test_any_cut_and_any_order_give_the_same(name, n, k, seed):
    task,(output,target) = task_of(name),problem(name, n, k, seed)
    whole = tallied(task, output, target, [n])
    parts = tallied(task, output, target, cut(n, seed))
    perm = torch.randperm(n, generator=gen(seed))
    mixed = tallied(task, output[perm], target[perm], cut(n, seed+1))
    for other in (parts, mixed):
        rel = 1e-7 if name=='reconstruct' else 0 # of an activation in single precision
        assert other.scores()==pytest.approx(whole.scores(), rel=rel, abs=0, nan_ok=True)
        assert (other.counts, other.left_out)==(whole.counts, whole.left_out)
    there = [s for s in task.scores if s!='top5' or k>5]
    assert list(whole.scores())==there and all(type(v) is float for v in whole.scores().values())

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('n,k', [(7,2), (100,3), (500,12)])
def test_counts_are_scored_as_scikit_learn_does(n, k, seed):
    logits,y = problem('classify', n, k, seed)
    told,there = logits.argmax(1),y.unique()
    s = tallied(task_of('classify'), logits, y, cut(n, seed)).scores()
    judge = dict(balanced=recall_score(y, told, labels=there, average='macro'), f1=f1_score(y, told, average='macro'),
        accuracy=accuracy_score(y, told), error=1-accuracy_score(y, told))
    for name,v in judge.items(): assert abs(s[name]-100*v)<=.00005+1e-9

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('ignore', [255, 0, -1])
def test_masks_are_scored_as_scikit_learn_does_on_the_known_pixels(ignore, seed):
    logits,y = problem('segment', 20, 4, seed)
    y[y==255] = ignore
    known = y!=ignore
    told,true = logits.argmax(1)[known],y[known]
    s = tallied(task_of('segment', ignore=ignore), logits, y, cut(20, seed)).scores()
    assert abs(s['miou']-100*jaccard_score(true, told, labels=true.unique(), average='macro'))<=.00005+1e-9
    assert abs(s['pixel']-100*accuracy_score(true, told))<=.00005+1e-9

def test_what_is_answered_where_nothing_is_known_does_not_count():
    logits,y = problem('segment', 9, 3, 0)
    other = torch.where((y==255)[:,None], torch.randn(logits.shape, generator=gen(1)), logits)
    assert not torch.equal(other.argmax(1), logits.argmax(1))
    counts = [tallied(task_of('segment'), o, y, [9]).counts for o in (other, logits)]
    assert counts[0]==counts[1]

def test_masks_as_an_image_set_stores_them():
    logits,y = problem('segment', 9, 3, 0)
    ds = ImageSet(np.zeros((9, 5, 6), 'uint8'), y.to(torch.uint8).numpy(), classes=['a','b','c'])
    assert ds.task=='segment'
    assert task_of('segment').chance(ds.y)==task_of('segment').chance(y)
    counts = [tallied(task_of('segment'), logits, o, [9]).counts for o in (ds.y, y)]
    assert counts[0]==counts[1]

def test_numbers_that_rows_have_recorded():
    "Golden: the rounding of accuracy, macro-F1 and chance, to the last digit"
    table = [[151, 3, 0], [9, 80, 8], [1, 0, 67]]
    same = dict(accuracy=93.4169, error=6.5831, pixel=93.4169)
    assert count_scores(table)==same | dict(balanced=93.0185, f1=92.8227, miou=86.7437)
    y = torch.tensor([0]*87+[1]*553)
    assert task_of('classify').chance(y)['accuracy']==86.4062
    assert task_of('classify').chance(torch.arange(640)//87)['accuracy']==13.5938

def slow_ap(score, y, points):
    "Average precision by its definition, one threshold after the other"
    pairs = []
    for t in sorted(set(score.tolist()), reverse=True):
        above = [hit for s,hit in zip(score.tolist(), y.tolist()) if s>=t]
        pairs.append((sum(above)/sum(y.tolist()), sum(above)/len(above)))
    if points is None: return sum((r-before)*p for (r,p),before in zip(pairs, [0, *(r for r,_ in pairs)]))
    return sum(max(p for r,p in pairs if r>=i/(points-1)) for i in range(points))/points

@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('n,ties', [(2,1), (30,2), (200,1), (200,1000)])
def test_average_precision(n, ties, seed):
    g = gen(seed)
    score = (torch.randn(n, generator=g)*ties).round()/ties
    y = (torch.rand(n, generator=g)<.3).long()
    y[0] = 1
    ap = average_precision(score, y)
    assert ap==pytest.approx(average_precision_score(y, score), abs=1e-12)
    assert ap==pytest.approx(slow_ap(score, y, None), abs=1e-12)
    assert average_precision(score, y, 11)==pytest.approx(slow_ap(score, y, 11), abs=1e-12)
    perm = torch.randperm(n, generator=g)
    for points in (None, 11):
        for other in ((score[perm], y[perm]), (2*score+1, y)):
            assert average_precision(*other, points)==average_precision(score, y, points)

def test_classes_that_nothing_shows_are_left_out():
    output,target = problem('multi-label', 60, 4, 0)
    target[:,1] = 0
    t = tallied(task_of('multi-label'), output, target, [60])
    shown = [c for c in range(4) if target[:,c].any()]
    assert t.left_out==[c for c in range(4) if c not in shown] and 1 in t.left_out
    assert abs(t.scores()['map']-100*average_precision_score(target[:,shown], output[:,shown]))<=.00005+1e-9

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('name', ['classify','segment'])
def test_chance_is_the_best_constant_class(name, seed):
    task,(logits,y) = task_of(name),problem(name, 40, 5, seed)
    always = []
    for c in range(5):
        same = torch.zeros_like(logits)
        same[:,c] = 1
        always.append(tallied(task, same, y, [40]).scores())
    best = dict(lower=min, higher=max)
    for k,v in task.chance(y).items():
        if k=='top5': continue
        assert v==pytest.approx(best[SCORES[k].better](s[k] for s in always), abs=1e-4)

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('n,k', [(7,6), (100,9), (500,12)])
def test_top5_is_scored_as_scikit_learn_does(n, k, seed):
    logits,y = problem('classify', n, k, seed)
    task,logits = task_of('classify', 'top5'),logits + torch.rand(logits.shape, generator=gen(seed))/10 # no ties
    found = tallied(task, logits, y, cut(n, seed)).scores()['top5']
    assert abs(found-100*top_k_accuracy_score(y, logits, k=5, labels=range(k)))<=.00005+1e-9
    five = y.bincount().sort(descending=True).values[:5].sum()/n
    assert abs(task.chance(y)['top5']-100*five)<1e-3

def test_an_answer_that_is_always_the_same_finds_the_first_five():
    "Of equal logits the first class is the likelier, as it is for accuracy; what is no number finds nothing"
    y = torch.arange(10)
    def top5(v): return tallied(task_of('classify'), torch.full((10, 10), v), y, [3, 7]).scores()['top5']
    assert (top5(0.), top5(math.nan))==(50, 0)

def test_five_classes_have_no_top5():
    logits,y = problem('classify', 30, 5, 0)
    assert 'top5' not in tallied(task_of('classify'), logits, y, [30]).scores()
    with pytest.raises(ValueError, match='no score .top5. here: it takes more than five classes'):
        tallied(task_of('classify', 'top5'), logits, y, [30]).scores()

def test_chance_of_ranks_is_prevalence():
    _,y = problem('multi-label', 80, 3, 0)
    c = task_of('multi-label').chance(y)
    share = y.double().mean(0)
    assert c['map']==c['map11']==round(100*share[share>0].mean().item(), 4)

@pytest.mark.parametrize('out_act', ['sigmoid','scaled_tanh'])
@pytest.mark.parametrize('n', [1, 30, 2345])
def test_chance_of_images_is_the_mean_image(n, out_act):
    x = torch.rand(n, 1, 3, 4, generator=gen(n)).square()
    x[0,0,0] = torch.tensor([0., 1., .5, 0.])
    task,mean = task_of('reconstruct', out_act=out_act),x.double().mean(0)
    z = mean.logit()/(2 if out_act=='scaled_tanh' else 1)
    got,c = tallied(task, z.clamp(-40, 40).expand_as(x), x, [n]).scores(),task.chance(x)
    assert c==pytest.approx(got, abs=1e-6)
    assert c['mse']==pytest.approx((x.double()-mean).square().mean().item(), abs=1e-12)
    stored = (x*255).round().byte()
    assert task.chance(stored)==pytest.approx(task.chance(stored.float()/255), abs=1e-12)

def test_errors_of_images():
    pre,x = problem('reconstruct', 50, 0, 3)
    s = tallied(task_of('reconstruct'), pre, x, cut(50, 1)).scores()
    p,t = 1/(1+np.exp(-pre.double().numpy())),x.double().numpy()
    least = -(t*np.log(t)+(1-t)*np.log(1-t)).sum((1,2,3))
    assert s['nats']==pytest.approx((-(t*np.log(p)+(1-t)*np.log(1-p)).sum((1,2,3))-least).mean(), rel=1e-9)
    assert s['mse']==pytest.approx(np.square(p-t).mean(), rel=1e-6)
    outside = tallied(task_of('reconstruct', out_act='scaled_tanh'), pre, 3*x-1, [50]).scores()
    assert math.isfinite(outside['mse']) and math.isnan(outside['nats'])

@pytest.mark.parametrize('name', TASKS_OF)
def test_nothing_is_worth_nothing(name):
    t = task_of(name).tally()
    assert list(t.scores())==list(task_of(name).scores) and all(math.isnan(v) for v in t.scores().values())
    assert t.left_out==[]

def linear(n_out, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_out))

class Named(nn.Module):
    "A net with two outputs"
    def __init__(self):
        super().__init__()
        self.head,self.back = linear(10),linear(64, 1)
    def forward(self, x): return dict(logits=self.head(x), recon=self.back(x).view(-1, 1, 8, 8))

def learner(task, net, loss=None, bs=37, **kw):
    dls = image_dls(digits.train.take(range(200)), digits.test, bs=bs)
    return ImageLearner(dls, net, loss or task.loss(), torch_opt('sgd', momentum=.9), lr=.05, bar=False, **kw)

def fitted(learn, epochs=3, cbs=()):
    with learn.no_logging(): learn.fit(epochs, cbs=list(cbs))
    return learn

@pytest.mark.parametrize('bs', [1000, 37])
def test_a_fit_is_the_one_it_was(bs):
    "Weights, losses and accuracy to the last bit, from a tensor and from a dict"
    task = task_of('classify')
    old = fitted(learner(task, linear(10), F.cross_entropy, bs, metrics=accuracy))
    for net in (linear(10), Named()):
        new = fitted(learner(task, net, bs=bs, metrics=task.metric()))
        assert [v[:3] for v in new.recorder.values]==[v[:3] for v in old.recorder.values]
        assert new.recorder.metric_names==old.recorder.metric_names
        head = net.head if isinstance(net, Named) else net
        assert all(torch.equal(a, b) for a,b in zip(head.parameters(), old.model.parameters()))

def test_scores_of_a_validation():
    task,seen = task_of('classify'),ScoresCB(task_of('classify'))
    learn = fitted(learner(task, Named(), metrics=[task.metric(), task.metric('f1')]), cbs=[seen])
    _,_,acc,f1 = learn.recorder.values[-1]
    assert seen.scores['f1']==f1 and abs(seen.scores['accuracy']-100*acc)<1e-4
    told = torch.cat([learn.model(x)['logits'].argmax(1) for x,_ in learn.dls.valid])
    assert seen.counts==confusion_counts(digits.test.y, told, 10).tolist() and seen.left_out==[]

def test_the_best_epoch_of_any_score():
    task = task_of('classify', primary='f1')
    learn = learner(task, linear(10), metrics=task.metric(), cbs=BestWeightsCB(task.primary, task.score.mode))
    learn.lr = 3.
    fitted(learn, 5)
    f1 = [v[2] for v in learn.recorder.values]
    with learn.no_logging(): learn.validate(cbs=(seen := ScoresCB(task)))
    assert max(f1)>f1[-1] and seen.scores['f1']==max(f1)

DECODED = { # shapes of an output and of the decision, for 20 images
    'classify': ((20,10), (20,)), 'multi-label': ((20,10), (20,10)),
    'segment': ((20,3,8,8), (20,8,8)), 'reconstruct': ((20,1,8,8), (20,1,8,8))}

def small_set(name):
    "Twenty digits with the targets of a task"
    x,y = digits.test.x[:20],digits.test.y[:20]
    targets = {'classify': y, 'multi-label': F.one_hot(y, 10), 'segment': (x[:,0]>99).long(), 'reconstruct': None}
    names = {'classify': 'abcdefghij', 'multi-label': 'abcdefghij', 'segment': 'abc'}
    return ImageSet(x, targets[name], classes=list(names[name]) if name in names else None)

@pytest.mark.parametrize('name', TASKS_OF)
def test_fastai_predicts_with_every_loss(name):
    task,(shape,decided) = task_of(name),DECODED[name]
    ds,target = small_set(name),'x' if name=='reconstruct' else 'y'
    net = nn.Conv2d(1, shape[1], 1) if len(shape)==4 else linear(10)
    for loss in task.losses:
        learn = ImageLearner(image_dls(ds, ds, bs=8, target=target), net, task.loss(loss), bar=False)
        p,y,out,each = learn.get_preds(with_decoded=True, with_loss=True)
        assert p.shape==shape and out.shape==decided and len(each)==20
        assert 0<=p.min() and p.max()<=1
        whole = task.loss(loss)(net(digits.test.x[:20]/255), y).item()
        assert each.float().mean()==pytest.approx(whole, rel=1e-5)
        assert task.loss(loss).reduction=='mean'

def test_losses():
    logits,y = problem('classify', 30, 4, 0)
    hot = F.one_hot(y, 4).float()
    summed = F.binary_cross_entropy_with_logits(logits, hot, reduction='sum')
    assert torch.equal(task_of('classify').loss('sigmoid')(logits, y), summed/30)
    assert sigmoid_loss(logits, y, 'none').mean().item()==pytest.approx(sigmoid_loss(logits, y).item(), rel=1e-6)
    out,hits = problem('multi-label', 30, 4, 0)
    assert torch.equal(task_of('multi-label').loss()(out, hits), F.binary_cross_entropy_with_logits(out, hits))

def test_several_labels_that_all_count_are_trained_as_by_pytorch_to_the_bit():
    out,hits = problem('multi-label', 30, 4, 0)
    out.requires_grad_()
    for how in ('mean', 'none'):
        ours,theirs = labels_loss(out, hits, how),F.binary_cross_entropy_with_logits(out, hits, reduction=how)
        assert torch.equal(ours, theirs)
        assert torch.equal(*(torch.autograd.grad(o.mean(), out)[0] for o in (ours, theirs)))

def test_what_does_not_count_adds_nothing_to_a_sum_over_all_pairs():
    out,hits = problem('multi-label', 30, 4, 0)
    marked = torch.rand(30, 4, generator=gen(1))<.3
    y = hits.masked_fill(marked, 255)
    each = F.binary_cross_entropy_with_logits(out, hits, reduction='none')
    assert labels_loss(out, y).item()==pytest.approx(each[~marked].sum().item()/120, rel=1e-6)
    assert labels_loss(out, torch.full_like(y, 255))==0
    a,b = (tallied(task_of('multi-label'), out, o, [7, 23]) for o in (y, hits))
    assert a.scores()!=b.scores()
    assert a.scores()==tallied(task_of('multi-label'), out.masked_fill(marked, 99.), y, [30]).scores()

@pytest.mark.parametrize('ignore', [255, 2])
def test_pixels_that_are_not_known_teach_nothing(ignore):
    logits,y = problem('segment', 6, 4, 0)
    y[y==255] = ignore
    z = logits.clone().requires_grad_()
    loss = task_of('segment', ignore=ignore).loss()(z, y)
    assert loss.item()==pytest.approx(F.cross_entropy(logits, y, ignore_index=ignore).item(), rel=1e-6)
    loss.backward()
    assert not z.grad.abs().sum(1)[y==ignore].any() and z.grad.abs().sum(1)[y!=ignore].all()
    z.grad = None
    pixel_loss(z, torch.full_like(y, ignore), ignore=ignore).backward()
    assert torch.equal(z.grad, torch.zeros_like(z))

class TwoStreams(Named):
    "Classes of one stream, images of the other; both of a single one"
    def forward(self, x):
        x,u = (x,x) if isinstance(x, torch.Tensor) else x
        return dict(logits=self.head(x), recon=self.back(u).view_as(u))

def streams():
    x = digits.train.x/255
    return (x[:12], x[12:42]),(digits.train.y[:12], x[12:42])

def test_a_joint_loss_is_the_weighted_sum():
    classify,recon,net = task_of('classify'),task_of('reconstruct'),TwoStreams()
    (x,u),(y,t) = streams()
    joint = Joint(dict(classes=(classify, .5), pictures=(recon, 3., 'bce')))
    joint(net((x, u)), (y, t)).backward()
    both = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    (.5*F.cross_entropy(net.head(x), y)).backward()
    (3*F.binary_cross_entropy_with_logits(net.back(u).view_as(u), t)).backward()
    assert all(torch.allclose(a, p.grad, atol=1e-7) for a,p in zip(both, net.parameters()))
    out = net((x, u))
    each = joint.losses(out, (y, t))
    assert list(each)==['classes','pictures']
    assert joint(out, (y, t)).item()==pytest.approx(.5*each['classes'].item()+3*each['pictures'].item())
    assert torch.equal(joint(out, dict(pictures=t, classes=y)), joint(out, (y, t)))
    assert torch.equal(joint(out, y), .5*F.cross_entropy(out['logits'], y))

class Batches(list):
    "What a `Learner` takes for a loader"
    n_inp,device = 1,torch.device('cpu')

def test_a_learner_trains_on_two_streams():
    "A weight of zero is the fit on the labelled stream alone, to the last bit"
    classify,recon,(xs,ts) = task_of('classify'),task_of('reconstruct'),streams()
    def fit(net, batch, loss):
        dls = DataLoaders(Batches([batch]*5), image_dls(digits.train, digits.test, bs=100).valid)
        learn = ImageLearner(dls, net, loss, torch_opt('sgd'), lr=.5, bar=False, metrics=classify.metric())
        with learn.no_logging(): learn.fit(2)
        return learn
    zero = fit(TwoStreams(), (xs, ts), Joint(dict(classify=(classify, 1.), recon=(recon, 0.))))
    alone = fit(linear(10), (xs[0], ts[0]), classify.loss())
    paid = fit(TwoStreams(), (xs, ts), Joint(dict(classify=(classify, 1.), recon=(recon, 1.))))
    assert all(torch.equal(a, b) for a,b in zip(zero.model.head.parameters(), alone.model.parameters()))
    assert [v[1:3] for v in zero.recorder.values]==[v[1:3] for v in alone.recorder.values]
    assert not torch.equal(zero.model.back[1].weight, paid.model.back[1].weight)

def two(): return Joint(dict(a=(task_of('classify'), 1.), b=(task_of('reconstruct'), 1.)))

@pytest.mark.parametrize('target,has', [((0,), '1'), ((0, 1, 2), '3'), (dict(a=0), 'a'), (dict(a=0, c=1), 'a, c')])
def test_a_stream_that_is_missing_is_an_error(target, has):
    with pytest.raises(ValueError, match=f'takes targets for a, b; the batch has {has}$'): two()({}, target)

@pytest.mark.parametrize('name', TASKS_OF)
def test_a_worker_process_gets_the_task(name):
    here,(output,target) = task_of(name),problem(name, 30, 4, 0)
    there = pickle.loads(pickle.dumps(here))
    assert tallied(there, output, target, [30]).scores()==tallied(here, output, target, [30]).scores()
    assert torch.equal(there.loss()(output, target), here.loss()(output, target))

@pytest.mark.filterwarnings('ignore:load_learner')
def test_a_learner_with_a_task_is_exported(tmp_path):
    task = task_of('classify')
    learn = learner(task, linear(10), metrics=[task.metric(), task.metric('f1')])
    learn.path = tmp_path
    learn.export('net.pkl')
    x = digits.test.x[:2]/255
    assert torch.equal(load_learner(tmp_path/'net.pkl').model(x), learn.model(x))

def test_a_task_of_ones_own(monkeypatch):
    def binned(ignore=9):
        losses,scores = task_of('classify').losses,{'error': SCORES['error']}
        return Task('binned', 'classes (n,)', losses, scores, 'error', 'logits', lambda: CountTally(ignore))

    monkeypatch.setitem(TASKS_OF, 'binned', binned)
    logits,y = problem('classify', 30, 4, 0)
    own = tallied(task_of('binned', ignore=2), logits, y, [30]).scores()
    usual = tallied(task_of('classify'), logits[y!=2], y[y!=2], [int((y!=2).sum())]).scores()
    assert own=={'error': usual['error']}

def counted(k, y, ignore=None): return CountTally(ignore).add(torch.zeros(len(y), k, *y.shape[1:]), y)
def whole(*values): return torch.tensor(values)

WRONG = [
    ("unknown task 'clasify'; did you mean 'classify'? There are: classify, m", lambda: task_of('clasify')),
    ("'classify' has no score 'f2'. There are: accuracy, error", lambda: task_of('classify', primary='f2')),
    ("'segment' has no option 'ignored'; did you mean 'ignore'?", lambda: task_of('segment', ignored=0)),
    ("has no loss 'crossentropy'; did you mean 'cross_entropy'?", lambda: task_of('classify').loss('crossentropy')),
    ("has no score 'mio'; did you mean 'miou'? There are: miou, pixel", lambda: task_of('segment').metric('mio')),
    ("has no output 'logits'; did you mean 'logit'?", lambda: task_of('classify').read(dict(logit=0))),
    ("unknown activation 'sigmoidal'", lambda: task_of('reconstruct', out_act='sigmoidal')),
    ("targets lie in 0..255, but 3 classes are 0..2", lambda: counted(3, whole([[0, 255], [1, 2]]))),
    ("targets lie in -1..0, but 2 classes are 0..1 (and 255 for", lambda: counted(2, whole(0, -1), 255)),
    ("shape (1, 2, 2) to targets of shape (1, 4)", lambda: CountTally().add(torch.zeros(1, 3, 2, 2), whole([0]*4))),
    ("shape (2, 3) to targets of shape (2,)", lambda: RankTally().add(torch.zeros(2, 3), torch.zeros(2))),
    ("shape (2, 4) to targets of shape (2, 5)", lambda: ImageTally().add(torch.zeros(2, 4), torch.zeros(2, 5)))]

@pytest.mark.parametrize('message,wrong', WRONG, ids=[m for m,_ in WRONG])
def test_wrong_input_ends_in_one_line(message, wrong):
    with pytest.raises(ValueError) as e: wrong()
    assert message in str(e.value) and '\n' not in str(e.value)

def test_a_column_of_a_score_that_few_classes_lack_is_one_line():
    column = task_of('classify').metric('top5')
    column.reset()
    column.accumulate(SimpleNamespace(pred=torch.randn(4, 2), yb=(torch.tensor([0, 1, 0, 1]),)))
    with pytest.raises(ValueError, match="has no score 'top5' here: it takes more than five classes"): column.value
