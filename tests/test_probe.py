"Probes: what would spoil the story of nbs/train/04_probe.ipynb"
import numpy as np, pytest, torch, torch.nn.functional as F
from torch import nn
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from aepretrain_nb.train import probe as module
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.labels import idx_digest, label_subset, split_valid
from aepretrain_nb.train.probe import (LAMS, PROBES, ProbeError, choose_lam, knn, layer_features, layer_sizes,
    linear_probe, probe, softmax_regression)
from aepretrain_nb.train.transfer import Classifier, features, freeze
from aepretrain_nb.experiment.seen import labelled
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.build import build_autoencoder, build_classifier
from torchvision.models import resnet18

def images(n=20, c=1, size=8, y=None, name=''):
    return ImageSet(torch.randint(0, 256, (n,c,size,size), generator=generator('probe', n, c)).to(torch.uint8), y,
        name=name)
def classes(n=20, k=3): return torch.arange(n)%k
def state(m): return {k: v.clone() for k,v in m.state_dict().items()}
def same(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)
def hooks(m): return sum(len(o._forward_hooks)+len(o._forward_pre_hooks) for o in m.modules())
def one_line(e): return '\n' not in str(e.value)
class Fn(nn.Module):
    def __init__(self, f): super().__init__(); self.f = f
    def forward(self, x): return self.f(x)

@pytest.fixture(scope='module')
def digits(): return dataset('digits')

@pytest.fixture(scope='module')
def resnet(): torch.manual_seed(0); return resnet18(weights=None)

@pytest.fixture(scope='module')
def pixels(digits): return [(o.x/255.).flatten(1).double() for o in (digits.train, digits.test)]

def kohlbrenner(digits):
    t = plan(digits, find_recipe('kohlbrenner', 'smoke'), ['random_default'], [100], 1)[0]
    return build_autoencoder(t, digits), build_classifier(t, digits)

# Layers

def by_hand(net, x):
    "Outputs of a torchvision ResNet's parts, without hooks"
    out = dict(conv1=net.conv1(x)); out['bn1'] = net.bn1(out['conv1'])
    x = net.maxpool(F.relu(out['bn1']))
    for k in ('layer1','layer2','layer3','layer4'): x = out[k] = getattr(net, k)(x.clone())
    return out | dict(avgpool=net.avgpool(x))

@pytest.mark.parametrize('bs', [1,4,6,100])
def test_layers_of_a_resnet_although_it_works_in_place(resnet, bs):
    ds = images(6, 3, 64)
    got = layer_features(resnet.train(), ds, ['conv1','bn1','layer1','layer2','layer3','layer4','avgpool','output'],
        bs=bs)
    with torch.no_grad():
        want = by_hand(resnet.eval(), ds.x/255.)
        want['output'] = resnet(ds.x/255.)
    for k,v in want.items(): torch.testing.assert_close(got[k], v.flatten(1), atol=1e-4, rtol=1e-4)
    assert got['bn1'].min()<0

def test_every_listed_layer_of_a_resnet_can_be_probed(resnet):
    ds,sizes = images(3, 3, 32),layer_sizes(resnet, images(3, 3, 32))
    got = layer_features(resnet, ds, list(sizes), flat=False)
    assert {k: tuple(v.shape[1:]) for k,v in got.items()}==sizes and sizes['layer4.1.bn2']==(512,1,1)
    assert list(sizes)[0]=='input'
    assert list(layer_features(resnet, ds))==['input','conv1','bn1','relu','maxpool','layer1','layer2','layer3',
        'layer4','avgpool','fc']

def test_layers_of_kohlbrenners_nets(digits):
    ae,clf = kohlbrenner(digits)
    ds = digits.test.take(range(30))
    assert list(layer_features(ae.encoder, ds))==['input',*[f'stages.{k}' for k in ae.encoder.stages]]
    last = list(ae.encoder.stages)[-1]
    with torch.no_grad(): taps = ae.eval().encoder.encode(ds.x/255., taps=tuple(ae.encoder.stages)).taps
    for k,v in taps.items():
        torch.testing.assert_close(layer_features(ae, ds, f'encoder.stages.{k}', bs=7)[f'encoder.stages.{k}'],
            v.flatten(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer_features(ae.encoder, ds, 'output')['output'], features(ae.encoder, ds), atol=1e-6,
        rtol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(layer_features(clf, ds, 'head')['head'], clf.eval()(ds.x/255.), atol=1e-5, rtol=1e-5)
    assert f'stages.{last}' in layer_sizes(ae.encoder, ds)

@pytest.mark.parametrize('norm', [None, (.3,.2)])
def test_input_is_what_the_network_gets(norm):
    ds = images(5)
    x = ds.x/255. if norm is None else (ds.x/255.-.3)/.2
    torch.testing.assert_close(layer_features(nn.Flatten(), ds, norm=norm, bs=2)['input'], x.flatten(1))
    torch.testing.assert_close(layer_features(nn.Flatten(), ds, 'output', norm=norm, bs=2)['output'], x.flatten(1))

@pytest.mark.parametrize('pool', [1,2,3,8,50])
def test_pooling(pool):
    conv,ds = nn.Conv2d(1, 4, 3),images(5)
    full = layer_features(conv, ds, ['output','input'], flat=False)
    got = layer_features(conv, ds, ['output','input'], pool=pool, flat=False)
    for k,v in full.items(): torch.testing.assert_close(got[k], F.adaptive_avg_pool2d(v, min(pool, v.shape[-1])))
    assert layer_features(nn.Sequential(conv, nn.Flatten()), ds, '1', pool=pool)['1'].shape==(5,144)

def test_a_module_of_a_reserved_name_comes_first_and_one_that_runs_twice_gives_the_last():
    net = nn.Sequential(); net.add_module('input', Fn(lambda x: x+1)); net.add_module('output', Fn(lambda x: x*2))
    net.add_module('end', nn.Flatten())
    ds = images(4)
    got = layer_features(net, ds, ['input','output'])
    torch.testing.assert_close(got['input'], (ds.x/255.+1).flatten(1))
    torch.testing.assert_close(got['output'], 2*got['input'])
    twice = nn.Sequential(a:=Fn(lambda x: x+1), Fn(lambda x: x), a)
    torch.testing.assert_close(layer_features(twice, ds, '0')['0'], (ds.x/255.+2).flatten(1))

@pytest.mark.parametrize('ask', [lambda n,d: layer_features(n, d.test), lambda n,d: layer_sizes(n, d.test),
    lambda n,d: probe(n, d, labels=50, seeds=1),
                                 lambda n,d: probe(n, d, labels=50, seeds=1, kind='knn'),
                                 lambda n,d: layer_features(n, d.test, 'nowhere'),
                                 lambda n,d: probe(n, d, labels=50, seeds=1, kind='knn', k=99)])
@pytest.mark.parametrize('make', ['bn','frozen'])
def test_the_probed_network_is_as_it_was(digits, ask, make):
    enc = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(.5))
    net = enc.train() if make=='bn' else Classifier(freeze(enc), nn.Flatten()).train()
    before,flags,grads = state(net),[m.training for m in net.modules()],[p.requires_grad for p in net.parameters()]
    rng = torch.get_rng_state()
    try: ask(net, digits)
    except ProbeError: pass
    assert same(before, state(net)) and flags==[m.training for m in net.modules()]
    assert grads==[p.requires_grad for p in net.parameters()]
    assert hooks(net)==0 and torch.equal(rng, torch.get_rng_state()) and torch.is_grad_enabled()

def test_a_network_that_fails_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(3, 3)).train()
    with pytest.raises(RuntimeError): layer_features(net, images())
    assert hooks(net)==0 and all(m.training for m in net.modules())

@pytest.mark.parametrize('layers,msg', [('layer2.1.con1','nearest are layer2.1.conv1'),
    (['conv1','Layer4'],"no layer 'Layer4'; the nearest are layer4"), ('','the nearest are'), ([],'layers is empty')])
def test_unknown_layers(resnet, layers, msg):
    with pytest.raises(ProbeError, match=msg) as e: layer_features(resnet, images(2, 3, 32), layers)
    assert one_line(e)

def test_layers_without_a_tensor():
    net = nn.Sequential(Fn(lambda x: x.mean(1)), nn.LSTM(8, 4), Fn(lambda o: o[0])); net.idle = nn.Linear(2, 2)
    net.forward = lambda x: net[2](net[1](net[0](x)))
    for k in ('1','idle'):
        with pytest.raises(ProbeError, match=f"layer '{k}' gives no tensor") as e: layer_features(net, images(), k)
        assert one_line(e)
    assert '1' not in layer_sizes(net, images())

@pytest.mark.parametrize('kw,msg', [(dict(images=images().take([])),'no images'), (dict(pool=0),'pool is 0'),
    (dict(pool=-1),'pool is -1')])
def test_features_that_cannot_be_had(kw, msg):
    with pytest.raises(ProbeError, match=msg) as e: layer_features(**dict(net=nn.Flatten(), images=images()) | kw)
    assert one_line(e)

# Nearest neighbours

def brute(x, y, t, k, metric):
    "One row at a time: votes, then the class whose nearest member is nearer"
    if metric=='cosine': x,t = x/np.linalg.norm(x, axis=1)[:,None],t/np.linalg.norm(t, axis=1)[:,None]
    out = []
    for row in t:
        near = y[np.argsort(((x-row)**2).sum(1), kind='stable')[:k]]
        votes = {c: (near==c).sum() for c in near}
        best = [c for c in dict.fromkeys(near) if votes[c]==max(votes.values())]
        out.append(min(best, key=lambda c: np.flatnonzero(near==c).tolist()))
    return np.array(out)

@pytest.mark.parametrize('metric', ['cosine','euclidean'])
@pytest.mark.parametrize('n,m,d,classes', [(1,3,2,1), (30,40,3,2), (200,50,5,10), (151,33,40,4)])
@pytest.mark.parametrize('k', [1,2,3,4,5,10,30])
def test_neighbours_against_brute_force(metric, n, m, d, classes, k):
    if k>n: return
    g = np.random.default_rng(n*k)
    x,t,y = g.normal(size=(n,d)),g.normal(size=(m,d)),g.integers(0, classes, n)
    assert np.array_equal(knn(x, y, t, k, metric).numpy(), brute(x, y, t, k, metric))
    assert torch.equal(knn(torch.from_numpy(x).float(), torch.from_numpy(y), torch.from_numpy(t).float(), k, metric),
        knn(x, y, t, k, metric))

@pytest.mark.parametrize('metric', ['cosine','euclidean'])
@pytest.mark.parametrize('k', [1,5])
def test_neighbours_agree_with_scikit_learn(digits, pixels, metric, k):
    m = KNeighborsClassifier(k, metric=metric, algorithm='brute').fit(pixels[0][:300], digits.train.y[:300])
    near = digits.train.y[:300][torch.from_numpy(m.kneighbors(pixels[1], return_distance=False))]
    count = F.one_hot(near, 10).sum(1)
    clear = (count==count.max(1, keepdim=True).values).sum(1)==1
    mine = knn(pixels[0][:300], digits.train.y[:300], pixels[1], k, metric)
    assert clear.float().mean()>.8 and np.array_equal(mine[clear], m.predict(pixels[1])[clear.numpy()])

def test_ties():
    x,t = np.array([[1.],[2.],[3.],[4.]]),np.zeros((1,1))
    for y,k,want in (([7,3,3,7],4,7), ([7,3,3,7],3,3), ([3,7,7,3],4,3), ([9,0,1,2],4,9), ([5,1,1,5],2,5)):
        assert knn(x, np.array(y), t, k, 'euclidean').item()==want
    same_rows = np.ones((6,2)); y = np.array([4,4,2,2,2,4])
    assert len({knn(same_rows, y, same_rows, 3).numpy().tobytes() for _ in range(5)})==1
    zero = knn(np.r_[np.zeros((1,2)), -np.ones((1,2))], np.array([0,1]), np.ones((1,2)), 1)
    assert zero.item()==0

def test_neighbours_of_many_fit_into_little_memory(monkeypatch):
    from sklearn import get_config
    seen = []
    from sklearn.neighbors import _base
    real = _base.pairwise_distances_chunked
    monkeypatch.setattr(_base, 'pairwise_distances_chunked',
        lambda *a, **kw: seen.append(get_config()['working_memory']) or real(*a, **kw))
    g = torch.Generator().manual_seed(0)
    x,y,t = torch.rand(3000, 4, generator=g),torch.arange(3000)%5,torch.rand(6000, 4, generator=g)
    whole = knn(x, y, t)
    assert seen==[64] and torch.equal(torch.cat([knn(x, y, o) for o in t.split(500)]), whole)

@pytest.mark.parametrize('kw,msg', [(dict(k=21),'21 neighbours of 20 training rows: k is from 1 to 20'),
    (dict(k=0),'0 neighbours'), (dict(metric='cosin'),"unknown metric 'cosin': one of cosine, euclidean"),
    (dict(train_y=classes(19)),'20 rows with labels'), (dict(train_y=classes().float()),'one class number per row'),
    (dict(test_x=torch.rand(3,4)),r'\(20, 5\) and \(3, 4\)'), (dict(train_x=torch.rand(20)),r'\(n,d\)'),
    (dict(train_x=torch.full((20,5), float('nan'))),'training features hold values that are not finite'),
    (dict(test_x=torch.full((2,5), float('inf'))),'test features hold'), (dict(test_x=torch.rand(0,5)),'0 to tell')])
def test_neighbours_that_cannot_be_found(kw, msg):
    with pytest.raises(ProbeError, match=msg) as e:
        knn(**dict(train_x=torch.rand(20,5), train_y=classes(), test_x=torch.rand(3,5)) | kw)
    assert one_line(e)

# Linear

@pytest.mark.parametrize('lam', [.001,.1])
@pytest.mark.parametrize('n,k', [(500,10), (40,10), (60,2)])
def test_linear_agrees_with_scikit_learn(digits, pixels, n, k, lam):
    rows = torch.arange(1297)[digits.train.y<k][:n]
    x,y,t = pixels[0][rows],digits.train.y[rows],pixels[1]
    m = make_pipeline(StandardScaler(), LogisticRegression(C=(1+(k==2))/(lam*n), max_iter=10_000, tol=1e-9)).fit(x, y)
    assert (linear_probe(x, y, t, lam).numpy()==m.predict(t)).mean()>.995
    mine = softmax_regression(x, y, lam)(t).softmax(1).numpy()
    np.testing.assert_allclose(mine, m.predict_proba(t), atol=1e-3)

def test_two_classes_are_no_other_problem_than_three():
    "torch minimises the softmax objective, scikit-learn the binary one"
    g = torch.Generator().manual_seed(1)
    x = torch.randn(80, 4, generator=g, dtype=torch.double); y = (x[:,0]+.5*torch.randn(80, generator=g)>0).long()
    z = (x-x.mean(0))/x.std(0, correction=0)
    W,b = torch.zeros(2, 4, dtype=torch.double,
        requires_grad=True),torch.zeros(2, dtype=torch.double, requires_grad=True)
    opt = torch.optim.LBFGS([W, b], max_iter=500, tolerance_grad=1e-10, line_search_fn='strong_wolfe')
    def loss(): opt.zero_grad(); l = F.cross_entropy(z@W.T+b, y) + .05*(W**2).sum(); l.backward(); return l
    opt.step(loss)
    torch.testing.assert_close(softmax_regression(x, y, .1)(x).softmax(1), (z@W.T+b).softmax(1).detach(), atol=1e-4,
        rtol=0)

@pytest.mark.parametrize('n,d', [(30,31), (30,400), (100,1500)])
def test_more_dimensions_than_rows_change_nothing(n, d):
    g = np.random.default_rng(d)
    x,t,y = g.normal(size=(n,d)),g.normal(size=(50,d)),g.integers(0, 3, n)
    s = StandardScaler().fit(x)
    m = LogisticRegression(C=1/(.1*n), max_iter=10_000, tol=1e-8).fit(s.transform(x), y)
    np.testing.assert_allclose(softmax_regression(x, y, .1)(torch.from_numpy(t)).softmax(1),
        m.predict_proba(s.transform(t)), atol=1e-3)

def test_scale_and_constant_features_do_not_matter(digits, pixels):
    x,y,t = pixels[0][:200],digits.train.y[:200],pixels[1]
    pred = linear_probe(x, y, t, .01)
    f = torch.logspace(-3, 3, 64, dtype=torch.double)
    assert (linear_probe(x*f+7, y, t*f+7, .01)==pred).float().mean()>.99
    odd = [torch.cat([o, torch.full((len(o),1), 3.)+i*torch.rand(len(o),1)], 1) for i,o in enumerate((x,t))]
    assert (linear_probe(odd[0], y, odd[1], .01)==pred).float().mean()>.99

def test_classes_that_are_absent_get_no_chance():
    x,y = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)),torch.tensor([1,4,6]).repeat(20)
    p = softmax_regression(x, y)(x.double()).softmax(1)
    assert p.shape==(60,7) and (p[:,[0,2,3,5]]==0).all() and set(linear_probe(x, y, x).tolist())<={1,4,6}

def test_the_penalty_is_chosen_on_validation_rows_only(digits, pixels):
    tr,va = split_valid(label_subset(digits.train.y, 100, 3), digits.train.y, 3)
    x,y,rows = pixels[0][torch.cat([tr,va])],digits.train.y[torch.cat([tr,va])],torch.arange(80,100)
    losses = {lam: F.cross_entropy(softmax_regression(x[:80], y[:80], lam)(x[80:]), y[80:]).item() for lam in LAMS}
    assert choose_lam(x, y, rows)==min(losses, key=losses.get)
    assert choose_lam(x, y, rows, LAMS[::-1])==choose_lam(x, y, rows) and choose_lam(x, y, rows, [.1])==.1
    assert torch.equal(linear_probe(x, y, pixels[1], valid=rows), linear_probe(x, y, pixels[1], choose_lam(x, y, rows)))
    assert torch.equal(linear_probe(x, y, pixels[1], seed=1), linear_probe(x, y, pixels[1], seed=1))

def test_validation_rows_of_unknown_classes_choose_the_strongest():
    x,y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)),torch.tensor([0,1,0,1,0,1,2,3])
    assert choose_lam(x, y, [6,7])==max(LAMS)

@pytest.mark.parametrize('kw,msg', [(dict(train_y=torch.zeros(20, dtype=torch.long)),'all 20 labels are of class 0'),
    (dict(lams=0),'lam is 0.0: a number above 0'), (dict(lams=-1.),'lam is -1.0'),
    (dict(lams=float('nan')),'lam is nan'),
    (dict(train_x=torch.full((20,5), float('nan'))),'not finite'), (dict(train_y=classes(19)),'20 rows with labels')])
def test_linear_probes_that_cannot_be(kw, msg):
    with pytest.raises(ProbeError, match=msg) as e:
        linear_probe(**dict(train_x=torch.rand(20,5), train_y=classes(), test_x=torch.rand(3,5), lams=.1) | kw)
    assert one_line(e)

# Tables

def conv(): torch.manual_seed(0); return nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.MaxPool2d(2))

@pytest.mark.parametrize('kind', list(PROBES))
def test_a_table_says_what_was_asked(digits, kind):
    net = conv()
    df = probe(net, digits, ['input','2'], kind, labels=[50,100], seeds=[3,5])
    assert list(df.columns)=='layer d kind setting labels seed subset n_test metric unit value'.split()
    assert df.groupby(['labels','seed']).subset.nunique().eq(1).all() and df.subset.nunique()==4
    assert df.groupby('layer').d.first().to_dict()=={'input':64,'2':54}
    r = df.query('layer=="2" and labels==100 and seed==5').iloc[0]
    tr,va = split_valid(label_subset(digits.train.y, 100, 5, digest=digits.train.digest), digits.train.y, 5,
        digest=digits.train.digest)
    idx = torch.cat([tr,va])
    assert r.subset==idx_digest(idx)
    x,t = (features(net, o) for o in (digits.train, digits.test))
    pred = knn(x[idx], digits.train.y[idx], t) if kind=='knn' else linear_probe(x[idx], digits.train.y[idx], t,
        valid=torch.arange(len(tr), 100))
    assert r.value==round(100*(pred==digits.test.y).double().mean().item(), 4)

def test_subsets_are_those_of_a_grid(digits):
    ts = plan(digits, find_recipe('kohlbrenner', 'smoke'), ['random_default'], [50,100], 2)
    assert {labelled(t, digits)[2] for t in ts}==set(probe(nn.Flatten(), digits, 'input', 'knn', [50,100], 2).subset)

@pytest.mark.parametrize('kind', list(PROBES))
def test_test_labels_choose_nothing(digits, kind, monkeypatch):
    told = []
    monkeypatch.setitem(PROBES, kind, lambda *a, f=PROBES[kind], **kw: told.append(f(*a, **kw)) or told[-1])
    shuffled = ImageSet(digits.test.x, digits.test.y[torch.randperm(500, generator=generator('shuffle'))],
        digits.test.classes)
    a,b = (probe(conv(), (digits.train, o), ['input','2'], kind, labels=60, seeds=2) for o in (digits.test, shuffled))
    for (p,how),(q,how2) in zip(told[:4], told[4:]): assert torch.equal(p, q) and how==how2
    assert len(told)==8 and a.drop(columns='value').equals(b.drop(columns='value')) and (b.value<30).all()
    assert (a.value>70).all()

def test_test_images_pass_once_a_layer_and_training_images_only_if_labelled(digits):
    seen = []
    class Count(nn.Module):
        def forward(self, x): seen.append(len(x)); return x
    probe(nn.Sequential(Count()), digits, ['input','0'], 'knn', labels=[20,30], seeds=3)
    # pairs: a look at the sizes
    assert seen.count(500)==2 and seen.count(2)==5 and len(seen)==9 and all(n<=90 for n in seen if n!=500)

def test_a_probe_repeats_whatever_the_batch_size(digits):
    a,b = (probe(conv(), digits, labels=50, seeds=2, kind='knn', bs=bs) for bs in (1000,33))
    assert a.equals(b) and a.equals(probe(conv(), digits, labels=50, seeds=[0,1], kind='knn'))

def test_settings_reach_the_kind_and_the_layers(digits):
    assert set(probe(conv(), digits, '2', 'knn', 50, 1, k=3, metric='euclidean').setting)=={'k=3, euclidean'}
    assert set(probe(conv(), digits, '2', labels=50, seeds=1, lams=.5).setting)=={'lam=0.5'}
    assert set(probe(conv(), digits, '2', 'knn', 50, 1, pool=1).d)=={6}

def test_folds():
    x,y = images(40),classes(40)
    sp = Splits('f', ImageSet(x.x, y), ImageSet(x.x, y), folds=[torch.arange(20), torch.arange(20,40)])
    df = probe(nn.Flatten(), sp, 'input', 'knn', labels=None, seeds=2, policy='fold', k=1)
    assert df.labels.tolist()==[20,20] and df.subset.nunique()==2

def masks(n=20): return ImageSet(images(n).x, torch.zeros(n,8,8, dtype=torch.long), task='segment', classes=['a'])

@pytest.mark.parametrize('data,kw,msg',
    [((images(y=classes()), images(5)), {}, 'the test images have no labels'),
    ((images(), images(y=classes())), {}, 'the training images have no labels'),
    ((masks(), masks()), {}, 'are for segment'),
    ((images(y=classes()), images(20, 3, y=classes())), {},
    r'training images are \(1, 8, 8\), test images \(3, 8, 8\)'),
    (None, dict(kind='tree'), "unknown kind of probe 'tree': one of linear, knn"),
    (None, dict(layers='cnov'), "no layer 'cnov'"), (None, dict(seeds=0), 'no seeds'),
    (None, dict(labels=[]), 'no seeds, or no numbers of labels'),
    (None, dict(kind='knn', k=13), '13 neighbours of 12 training rows')])
def test_questions_that_cannot_be_asked(data, kw, msg):
    data = data or (images(y=classes()), images(y=classes()))
    with pytest.raises(ProbeError, match=msg) as e: probe(nn.Flatten(), data, **dict(labels=12, seeds=1) | kw)
    assert one_line(e)

@pytest.mark.parametrize('labels', [2,21,0,-1])
def test_labels_that_there_are_not(labels):
    with pytest.raises(DataError) as e: probe(nn.Flatten(), (images(y=classes()),)*2, labels=labels, seeds=1)
    assert one_line(e)

def test_the_core_does_not_reach_forward():
    import ast, inspect
    mods = {n.module for n in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(n, ast.ImportFrom)
        and n.level}
    assert {m for m in mods if not m.startswith('data.')}=={'imports','transfer'}
