"""Speed as a ratio against a peer, measured in one process with the runs interleaved: `make bench`, or `python
benchmarks/run.py [NAME ...]`.

Writes results/benchmarks.csv: a row per comparison with the median ratio, the goal, whether it is met, the times behind
it, processor, versions and revision.
"""
import os
os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
import copy, dataclasses, json, logging, platform, statistics, subprocess, sys, tempfile, time, warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np, pandas as pd, torch, torch.nn.functional as F
from PIL import Image
from torch import nn
from aepretrain_nb.imports import torchvision
from fastai.learner import Learner
from fastai.data.core import DataLoaders
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from aepretrain_nb.data.ground import canonical
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.examples import solar_cells
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.loader import image_dls, next_order
from aepretrain_nb.experiment.build import build_autoencoder
from aepretrain_nb.experiment.executor import executor_of
from aepretrain_nb.train.heads import fit_heads
from aepretrain_nb.train.one_head import HeadJob, fit_alone
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.gather import gather
from aepretrain_nb.experiment.grid import needed
from aepretrain_nb.experiment.step import chain, sealed, to_json
from aepretrain_nb.experiment.records import revision
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.default import default_recipe
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.nets.layers import WideLinear, _OneDNNLinear, slow_matmul
from aepretrain_nb.nets.macro import macro_decoder, vgg_encoder
from aepretrain_nb.nets.upsampling import ConvTranspose, FixedUnpool, SwitchUnpool
from aepretrain_nb.experiment.augmented import AugmentedNet
from aepretrain_nb.train.named_heads import linear_head
from aepretrain_nb.papers.kohlbrenner import cnn, tied_cae
from aepretrain_nb.train.schedule import _hold_memory
from aepretrain_nb.train.learner import ImageLearner, torch_opt
from stock import classify, reconstruct

sys.path.append(str(Path(__file__).resolve().parents[1]/'tools'))
import solar

OUT = Path(__file__).resolve().parents[1]/'results'/'benchmarks.csv'
BS,STEPS = 16,400

def images(n=BS*STEPS):
    "MNIST-sized random images and labels"
    g = generator('bench')
    return ImageSet(torch.randint(0, 256, (n, 1, 28, 28), dtype=torch.uint8, generator=g),
        torch.randint(0, 10, (n,), generator=g))

def tiny():
    "The tiny CNN of the goals: two strided convolutions and a linear layer"
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(784, 10))

def interleaved(runs, n=7, warm=1):
    """Median seconds of each of `runs` (name -> function that gives the seconds it took), in turns, of which the first
    `warm` do not count, and each one's ratios to the first, turn by turn"""
    times = {k: [] for k in runs}
    for i in range(n+warm):
        for k,f in runs.items():
            t = f()
            if i>=warm: times[k].append(t)
    first = next(iter(runs))
    med = {k: statistics.median(v) for k,v in times.items()}
    return med, {k: statistics.median(b/a for a,b in zip(times[first], v)) for k,v in times.items()}

def timed(f, clock=time.perf_counter):
    t = clock()
    f()
    return clock()-t

def row(what, ours, peer, ratio, goal, better='<=', **more):
    met = None if goal is None else bool(ratio<=goal if better=='<=' else ratio>=goal)
    return dict(what=what, ours=ours, peer=peer, ratio=float(f'{ratio:.3g}') if ratio<1e-3 else round(ratio, 3),
        goal=goal and f'{better} {goal}', met=met, **more)

# The training loop ----------------------------------------------------------------------------------------------------

def bare_loop(model, batches, lr=.01):
    opt = torch.optim.SGD(model.parameters(), lr=lr, momentum=.9)
    model.train()
    for xb,yb in batches:
        F.cross_entropy(model(xb), yb).backward()
        opt.step()
        opt.zero_grad()

def fastai_fit(cls, model, dls):
    learn = cls(dls, model, F.cross_entropy, torch_opt('sgd', momentum=.9), lr=.01, train_bn=False, wd_bn_bias=True)
    with learn.no_bar(), learn.no_logging(): return timed(lambda: learn.fit(1))

def lightning_fit(model, batches):
    import pytorch_lightning as pl
    class Lit(pl.LightningModule):
        def __init__(self): super().__init__(); self.net = model
        def training_step(self, b, i): return F.cross_entropy(self.net(b[0]), b[1])
        def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=.01, momentum=.9)
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    return timed(lambda: pl.Trainer(max_epochs=1, accelerator='cpu', **quiet).fit(Lit(), batches))

def learner():
    """Seconds for one epoch of the same batches through four loops, from the same weights; fastai's two must end with
    the bytes of the bare loop (Lightning opens the loader once more, and so gets the next order)"""
    ds,end = images(),{}
    dls = lambda: image_dls(ds, ds.take(range(BS)), bs=BS)
    def run(name, fit):
        def f():
            model,d = tiny(),dls()
            t = fit(model, d)
            end[name] = [p.detach().clone() for p in model.parameters()]
            return t
        return f
    runs = {'bare loop': run('bare loop', lambda m,d: timed(lambda: bare_loop(m, d.train))),
        'ImageLearner': run('ImageLearner', lambda m,d: fastai_fit(ImageLearner, m, d)),
        'stock fastai': run('stock fastai', lambda m,d: fastai_fit(Learner, m, d))}
    try:
        import pytorch_lightning
        runs['Lightning'] = run('Lightning', lambda m,d: lightning_fit(m, d.train))
    except ImportError: print('Lightning is not installed: pip install aepretrain_nb[bench]')
    med,ratio = interleaved(runs)
    for k in ('ImageLearner', 'stock fastai'):
        assert all(torch.equal(a, b) for a,b in zip(end['bare loop'], end[k])), f'{k} ends with other weights'
    us = {k: 1e6*v/STEPS for k,v in med.items()}
    yield row('Learner, tiny CNN, batch 16', 'ImageLearner', 'bare loop', ratio['ImageLearner'], 1.10,
        us_ours=us['ImageLearner'], us_peer=us['bare loop'])
    for k in list(runs)[2:]:
        yield row('Learner, tiny CNN, batch 16', k, 'bare loop', ratio[k], None, us_ours=us[k], us_peer=us['bare loop'])

# The way of the data --------------------------------------------------------------------------------------------------

class PerItem(torchvision.datasets.MNIST):
    "torchvision's MNIST as it gives its items, one picture at a time through its transforms, around images of our own"
    def __init__(self, ds, transform):
        self.data,self.targets,self.transform,self.target_transform = ds.x[:, 0],ds.y,transform,None

class Lean(Dataset):
    "The least that a per-item data set can do: an array to a tensor, no picture and no normalisation"
    def __init__(self, ds): self.x,self.y,self.transform = ds.x.numpy()[:, 0],ds.y.tolist(),transforms.ToTensor()
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.transform(self.x[i]),self.y[i]

def data_path():
    """Seconds of an epoch of training steps, fed by the resident tensor, by a DataLoader over torchvision's MNIST
    class, or by one over the leanest data set"""
    ds,norm = images(),(.1307, .3081)
    peer = PerItem(ds, transforms.Compose([transforms.ToTensor(), transforms.Normalize(*([o] for o in norm))]))
    loader = lambda d: lambda: timed(lambda: bare_loop(tiny(), DataLoader(d, BS, shuffle=True)))
    ours = lambda: timed(lambda: bare_loop(tiny(), image_dls(ds, bs=BS, norm=norm).train))
    for name,d,goal in (('DataLoader + transforms of MNIST', peer, .6),
        ('DataLoader + ToTensor of an array', Lean(ds), None)):
        med,ratio = interleaved({name: loader(d), 'ImageDL': ours})
        us = {k: 1e6*v/STEPS for k,v in med.items()}
        yield row('step with its data, tiny CNN, batch 16', 'ImageDL', name, ratio['ImageDL'], goal,
            us_ours=us['ImageDL'], us_peer=us[name])

# The grid -------------------------------------------------------------------------------------------------------------

def grid():
    """Throughput of one grid of equal fits on two processes over that on one; the processes are up before the clock
    starts"""
    r = find_recipe('kohlbrenner', 'digits')
    run = lambda ex, seeds=10: timed(lambda: compare('digits', ['random_paper', 'random_default'], [200], seeds, r,
        executor=ex, progress=False, store=tempfile.mkdtemp()))
    with executor_of(2) as ex:
        run(ex, 2)
        pairs = [(run(None), run(ex)) for _ in range(5)]
    one,two = (statistics.median(v) for v in zip(*pairs))
    yield row('grid of 20 fits', 'two processes', 'one process', statistics.median(a/b for a,b in pairs), 1.7, '>=',
        us_ours=1e6*two/20, us_peer=1e6*one/20)

# The default comparison -----------------------------------------------------------------------------------------------

def photographs(n=10_000):
    "The first images of CIFAR-10, as a person's own set"
    splits = dataset('cifar10')
    return Splits('photographs', splits.train.take(range(n)), splits.test.take(range(n//10)))

def minutes():
    "Minutes of the whole default comparison, 3 arms x 3 sizes x 5 seeds, on two processes"
    seconds = timed(lambda: compare(photographs(), recipe=default_recipe('quick'), executor=2, store=tempfile.mkdtemp(),
        progress=False))
    yield row('the default comparison, 10,000 images of 32x32, two processes', 'minutes', 'one minute', seconds/60, 10.)

def cells():
    "Minutes of the default comparison of the solar cells at 64x64; records it, as tools/solar.py does"
    if not find_spec('elpv_dataset'): return print('cells      left out: needs the extra examples')
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed(lambda: solar.record(solar_cells, Path(folder), 64, ['--processes', '2'], OUT.parent))
    yield row('the default comparison, 2,624 solar cells at 64x64, two processes', 'minutes', 'one minute', seconds/60,
        15.)

def one_rate(recipe):
    "A recipe with one rate, and one seed; its autoencoder does not stop early"
    one = dict(lr=.003, seek='all', first_lr=None, tune='each')
    return merged(recipe, dict(pretrain=dict(patience=None), finetune=one, seeds=dict(n=1)))

def stock(splits, fits):
    "Seconds that fastai as it is takes for the same nets, images, batches and steps"
    first = {p.key: p for s in fits for p in s.parents}
    return sum(reconstruct(s, splits, .003) for s in first.values()) + sum(classify(s, splits, .003)[1] for s in fits)

def default():
    """Seconds of an arm of the default grid, all sizes of a seed at one rate, against the same with a stock Learner and
    a DataLoader"""
    splits,recipe,ours,peer = photographs(),one_rate(default_recipe('quick')),0,0
    for arm in recipe['arms']:
        fits = plan(splits, recipe, [arm])
        run = lambda: timed(lambda: compare(splits, arm, recipe=recipe, store=tempfile.mkdtemp(), progress=False))
        med,ratio = interleaved({'fastai': lambda: stock(splits, fits), 'ours': run}, 1, warm=0)  # minutes each
        n = sum(s.fit['steps'] for f in fits for s in chain(f))
        yield row(f'the default comparison, a step of {arm}', 'compare', 'stock fastai', ratio['ours'], None,
            us_ours=1e6*med['ours']/n, us_peer=1e6*med['fastai']/n)
        ours,peer = ours+med['ours'],peer+med['fastai']
    yield row('the default comparison, all arms of a seed', 'compare', 'stock fastai', ours/peer, .5)

# Grids that are finished ----------------------------------------------------------------------------------------------

ARMS,SIZES = ['pretrained', 'random_default'],[50, 100]  # of a seed: an encoder and four fits

def engine(folder, seeds):
    """A function that fills `folder` as if `seeds` x 5 steps had run, with the records of one seed; and what is
    measured, by name"""
    splits,r,store = dataset('digits'),find_recipe('kohlbrenner', 'smoke'),Store(folder)
    def planned(n=seeds): return plan(splits, r, ARMS, SIZES, n)
    def steps(fits): return {s.key: s for fit in fits for s in chain(fit)}
    def like(s): return s.do, s.arm, s.data.get('labels')
    def fill():
        compare(splits, ARMS, SIZES, 1, r, store=folder, progress=False)
        one = {like(s): (store.get(s.key), store.file('weights', s.key, 'safetensors'))
            for s in steps(planned(1)).values()}
        for s in steps(planned()).values():
            record,weights = one[like(s)]
            new = sealed(record | dict(step=to_json(s), row=record['row'] | dict(key=s.key)), s.key)
            store.file('steps', s.key).write_text(json.dumps(new, indent=1), encoding='utf-8')
            if weights.exists():
                save_file(load_file(weights), store.file('weights', s.key, 'safetensors'),
                    dict(step=canonical(to_json(s))))
        asked = store.get('cells', 'plan')
        store.put('cells', asked | dict(cells={s.key: {} for s in planned()}), 'plan')
    fits = planned()
    return fill,{'planning': planned, 'resuming': lambda: needed(fits, store),
        'gathering, given the plan': lambda: gather(fits, store, splits, r).rows,
        'gathering, from the folder': lambda: read_results(folder).rows}

def finished():
    """Seconds of planning, resuming and gathering grids whose every step is finished; processor time of a step of
    10,000 against one of 1,000"""
    us = {}
    for n in (100, 1000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            fill,stages = engine(Path(folder)/'grid', n//5)
            fill()
            assert not stages['resuming'](), 'the grid is not finished'
            assert len(stages['gathering, from the folder']())==len(stages['planning']())==n*4//5, 'fits are missing'
            t = {k: min(timed(f) for _ in range(3)) for k,f in stages.items()}
            cpu = {k: min(timed(f, time.process_time) for _ in range(3)) for k,f in stages.items()}
        us[n] = {k: 1e6*v/n for k,v in cpu.items()}
        total,goal = sum(t.values())-t['gathering, from the folder'],10. if n==10_000 else None
        yield row(f'{n:,} finished steps: planning, resuming, gathering', 'seconds', 'one second', total, goal,
            us_ours=1e6*total/n)
    for k in us[1000]:
        for n,goal in ((100, None), (10_000, 1.5)):
            ours,peer = us[n][k],us[1000][k]
            yield row(f'{k}, a step of {n:,}', f'of {n:,}', 'of 1,000', ours/peer, goal, us_ours=ours, us_peer=peer)

# Images of one's own --------------------------------------------------------------------------------------------------

READ = '''
import resource, sys, time
t = time.perf_counter()
splits = own_images(sys.argv[1], size=64, cache=sys.argv[2])
seconds = time.perf_counter()-t
splits.digest  # looks at every pixel
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20)
'''

def own(n=100_000):
    """Seconds and gigabytes of reading a folder of small photographs for the first and for the second time, each in a
    process of its own"""
    with tempfile.TemporaryDirectory() as folder:
        g = np.random.default_rng(0)
        for i in range(n):
            f = Path(folder)/'images'/f'class {i%20}'/f'{i}.jpg'
            f.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(g.integers(0, 256, (8, 9, 3), dtype='uint8')).resize((72, 64)).save(f, quality=85)
        read = [sys.executable, '-c', READ, f'{folder}/images', f'{folder}/cache']
        for what,goal in (('for the first time', None), ('again, from the cache', 2.)):
            seconds,gb = map(float, subprocess.run(read, capture_output=True, text=True, check=True).stdout.split())
            yield row(f'{n:,} images of 64x64, {what}', 'seconds', 'one second', seconds, goal)
            yield row(f'{n:,} images of 64x64, {what}: memory', 'GB', 'one GB', gb, 3.)

# The networks of Kohlbrenner et al. -----------------------------------------------------------------------------------

class PlainCAE(nn.Module):
    """The tied autoencoder as one writes it: NCHW, activation and then pool (Table 1), transposed convolutions with the
    encoder's weights"""
    def __init__(self, ae):
        super().__init__()
        self.convs = nn.ModuleList(copy.deepcopy(s.conv).to(memory_format=torch.contiguous_format)
            for s in ae.encoder.stages.values())
        self.biases = nn.ParameterList(b.detach().clone() for b in ae.decoder.parameters())
    def encode(self, x):
        for i,c in enumerate(self.convs):
            x = torch.tanh(c(x))/2+.5
            if i<2: x = F.max_pool2d(x, 2)
        return x
    def forward(self, x):
        z = self.encode(x)
        for i,(c,b) in enumerate(zip(reversed(self.convs), reversed(self.biases))):
            z = torch.tanh(F.conv_transpose2d(z, c.weight, b, stride=2 if i else 1, padding=c.padding,
                output_padding=1 if i else 0))/2+.5
        return z

class PlainCNN(nn.Module):
    "The classifier around such convolutions"
    def __init__(self, cae, net):
        super().__init__()
        self.cae,self.head = cae,copy.deepcopy(net.head)
    def forward(self, x): return self.head(self.cae.encode(x))

def steps(net, loss, bf16=False, n=4):
    "Seconds of one training step, as the mean of `n`"
    opt = torch.optim.SGD(net.parameters(), lr=.01)
    def step():
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16): l = loss(net)
        l.backward()
        opt.step()
        opt.zero_grad()
    return lambda: timed(lambda: [step() for _ in range(n)])/n

def kohlbrenner_steps():
    """Autoencoder and classifier, batch 128: channels last and pool before the activation against plain NCHW; outputs
    must agree"""
    for name,(c,h),width in (('MNIST', (1, 28), 1/3), ('MNIST', (1, 28), 1.), ('CIFAR-10', (3, 32), 1/3)):
        x,y = torch.rand(128, c, h, h, generator=generator('x')),torch.randint(0, 10, (128,), generator=generator('y'))
        ae = tied_cae(c, h, h, generator('ae'), width=width)
        net,plain = cnn(ae.encoder, c, h, h, 10, generator('head'), width=width).eval(),PlainCAE(ae)
        plain_net = PlainCNN(copy.deepcopy(plain), net)
        with torch.no_grad():
            assert torch.allclose(plain(x), ae.reconstruct(x), atol=1e-5), 'the two autoencoders differ'
            assert torch.allclose(plain_net(x), net(x), atol=1e-5), 'the two classifiers differ'
        last = lambda m: copy.deepcopy(m).to(memory_format=torch.channels_last)
        xl = x.to(memory_format=torch.channels_last)
        recon,classify = lambda m: F.mse_loss(m.reconstruct(xl).float(), xl),lambda m: F.cross_entropy(m(xl).float(), y)
        asked = dict(autoencoder=(steps(plain, lambda m: F.mse_loss(m(x), x)), ae, recon),
            classifier=(steps(plain_net, lambda m: F.cross_entropy(m(x), y)), net.train(), classify))
        for what,(peer,*ours) in asked.items():
            runs = {'plain NCHW': peer, 'channels last': steps(last(ours[0]), ours[1]),
                'channels last, bf16': steps(last(ours[0]), ours[1], True)}
            med,ratio = interleaved(runs, 5)
            for k,goal in zip(list(runs)[1:], (.85, .6)):
                yield row(f'{what}, {name}, width {width:.2g}, batch 128', k, 'plain NCHW', ratio[k], goal,
                    us_ours=1e6*med[k], us_peer=1e6*med['plain NCHW'])

# The convolutional autoencoder of Dong et al. -------------------------------------------------------------------------

def skip_autoencoder(width):
    "The 9-layer net with its skips at some width, for 29x29 pixels"
    splits = Splits('noise', *(ImageSet(torch.zeros(10, 3, 29, 29, dtype=torch.uint8), torch.arange(10))
        for _ in range(2)))
    fit = plan(splits, find_recipe('dong', 'quick', encoder=dict(width=width)), ['skips'], [10], 1)[0]
    return build_autoencoder(chain(fit)[0], splits)

def redrawing(x):
    "The loss of a net that draws a batch again"
    return lambda net: F.mse_loss(net(x).float(), x)

def dong_steps(n=1024):
    """Steps of the 9-layer net as operations a second, beside a linear layer of oneDNN and `torch.mm`; and channels
    last and bf16 against plain NCHW"""
    x,a = torch.rand(64, 3, 29, 29, generator=generator('x')),torch.rand(n, n, generator=generator('a'))
    xl = x.to(memory_format=torch.channels_last)
    peers = {'a linear layer of oneDNN': lambda: timed(lambda: _OneDNNLinear.apply(a, a, None)),
        'torch.mm': lambda: timed(lambda: torch.mm(a, a))}
    for width in (1/4, 1/2):
        net = skip_autoencoder(width)
        last = lambda: copy.deepcopy(net).to(memory_format=torch.channels_last)
        with FlopCounterMode(display=False) as counted: redrawing(x)(copy.deepcopy(net)).backward()
        ours = {'channels last': steps(last(), redrawing(xl)),
            'channels last, bf16': steps(last(), redrawing(xl), True)}
        med,ratio = interleaved({'plain NCHW': steps(copy.deepcopy(net), redrawing(x))} | ours | peers, 5)
        what,us = f'9 layers with skips, width {width}, batch 64',{k: 1e6*v for k,v in med.items()}
        for k,goal in zip(ours, (None, .6 if width==1/2 else None)):
            yield row(what, k, 'plain NCHW', ratio[k], goal, us_ours=us[k], us_peer=us['plain NCHW'])
        rate = counted.get_total_flops()/med['channels last']
        for k,goal in zip(peers, (.75, None)):
            yield row(f'{what}: operations a second', 'channels last', k, rate/(2*n**3/med[k]), goal, '>=',
                us_ours=us['channels last'], us_peer=us[k])

def transposed():
    """A transposed convolution that doubles maps, its bias added afterwards, against PyTorch's, forward and backward,
    in channels last; outputs must agree"""
    for c,h in ((24, 15), (48, 8)):
        z,there = (torch.rand(64, c, o, o, generator=generator(o)).to(memory_format=torch.channels_last)
            for o in (h, 2*h-1))
        own,peer = (make(c, c, 3, 2, 1).to(memory_format=torch.channels_last)
            for make in (ConvTranspose, nn.ConvTranspose2d))
        peer.load_state_dict(own.state_dict())
        assert torch.allclose(own(z), peer(z), atol=1e-5), 'the outputs differ'
        for dtype,name in ((torch.float32, 'fp32'), (torch.bfloat16, 'bf16')):
            def run(layer, z=z.to(dtype), there=there.to(dtype), bf16=dtype==torch.bfloat16):
                z.requires_grad_()
                def once():
                    with torch.autocast('cpu', torch.bfloat16, enabled=bf16): out = layer(z)
                    torch.autograd.grad(out, [z, *layer.parameters()], there)
                return lambda: timed(lambda: [once() for _ in range(4)])/4
            med,ratio = interleaved({'nn.ConvTranspose2d': run(peer), 'bias afterwards': run(own)}, 5)
            yield row(f'64 x {c} maps, {h}x{h} to {2*h-1}x{2*h-1}, {name}', 'bias afterwards', 'nn.ConvTranspose2d',
                ratio['bias afterwards'], 1., us_ours=1e6*med['bias afterwards'], us_peer=1e6*med['nn.ConvTranspose2d'])

# The macro-layers of Zhang, Lee & Lee ---------------------------------------------------------------------------------

def joint_step():
    "A step on labels and reconstruction at once, of the small VGG with a decoder, against one of its classifier"
    x = torch.rand(64, 3, 32, 32, generator=generator('x')).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (64,), generator=generator('y'))
    def built():
        enc = vgg_encoder(3, 32, 32, generator('encoder'))
        parts = linear_head(enc, 3, 32, 32, 10, generator('head')),macro_decoder(enc, 3, 32, 32, generator('decoder'))
        return AugmentedNet(enc, *parts).to(memory_format=torch.channels_last)
    both,alone = built(),built()
    del alone.decoder
    labels = lambda out: F.cross_entropy(out, y)
    def joint(net):
        out = net(x)
        return labels(out['logits']) + out['price']
    runs = {'its classifier': steps(alone, lambda net: labels(net.head(net.encoder(x)))),
        'a joint step': steps(both, joint)}
    med,ratio = interleaved(runs, 5)
    yield row('VGG 16-32-64-64 with BatchNorm, 32x32, batch 64', 'a joint step', 'its classifier',
        ratio['a joint step'], 2.2, us_ours=1e6*med['a joint step'], us_peer=1e6*med['its classifier'])

def unpooling():
    """Unpooling in channels last, forward and backward, against PyTorch's with switches in NCHW, on the maps of the
    small VGG's and of VGG-16's macro-layers; outputs must agree"""
    for c,h in ((16, 16), (64, 4), (64, 56)):
        size = 2*h, 2*h
        z,there = (torch.rand(64, c, *s, generator=generator(k)) for k,s in dict(z=(h, h), there=size).items())
        drawn = F.max_pool2d(torch.rand(64, c, *size, generator=generator('switches')), 2, return_indices=True)[1]
        lower_right = F.max_pool2d(torch.arange(4.*h*h).view(1, 1, *size), 2, return_indices=True)[1].expand_as(z)
        for pool,switches in ((SwitchUnpool(2), drawn), (FixedUnpool(2), lower_right)):
            def run(layout, up):
                own,at,grad = (t.clone(memory_format=layout) for t in (z, switches, there))
                own.requires_grad_()
                def once():
                    out = up(own, at)
                    return out.detach(),torch.autograd.grad(out, own, grad)[0]
                return once
            def ours(own, at): return pool(own, size, at)
            def pytorchs(own, at): return F.max_unpool2d(own, at, 2, output_size=size)
            runs = {'max_unpool2d, NCHW': run(torch.contiguous_format, pytorchs),
                'channels last': run(torch.channels_last, ours)}
            assert all(map(torch.equal, *(f() for f in runs.values()))), 'the outputs or their gradients differ'
            med,ratio = interleaved({k: lambda f=f: timed(lambda: [f() for _ in range(4)])/4 for k,f in runs.items()},
                5)
            yield row(f'{type(pool).__name__}, 64 x {c} maps of {h}x{h}', 'channels last', 'max_unpool2d, NCHW',
                ratio['channels last'], .8, us_ours=1e6*med['channels last'], us_peer=1e6*med['max_unpool2d, NCHW'])

# The dense denoising autoencoder of Kalmanovich & Chechik -------------------------------------------------------------

_dense = {}

def dense_steps(ours, n=30, width=1000, bs=20):
    """Seconds of a step: sigmoid layer and its decoder, masking noise, cross-entropy, SGD with momentum and weight
    decay; `ours` as `run_schedule` does it. Called in a process of its own, since how memory is held is a matter of the
    process"""
    torch.set_num_threads(1)
    if not _dense:
        torch.manual_seed(0)
        if ours: _hold_memory()
        up,down = ((WideLinear if ours else nn.Linear)(*o) for o in ((784, width), (width, 784)))
        _dense.update(x=torch.rand(bs, 784), up=up, down=down,
            opt=torch.optim.SGD([*up.parameters(), *down.parameters()], lr=.01, momentum=.9, weight_decay=1e-5,
            fused=ours or None))
    x,up,down,opt = (_dense[k] for k in ('x', 'up', 'down', 'opt'))
    def step():
        F.binary_cross_entropy_with_logits(down(torch.sigmoid(up(x*(torch.rand_like(x)>=.15)))), x,
            reduction='sum').div(bs).backward()
        opt.step()
        opt.zero_grad()
    return timed(lambda: [step() for _ in range(n)])/n

def dense_sum():
    "A number that the weights of this process add up to"
    return sum(p.double().abs().sum().item() for m in ('up', 'down') for p in _dense[m].parameters())

def dense_dae_step():
    "A dense denoising step, ours and PyTorch's, in two processes that take turns; the weights must agree"
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    ours,peer = 'WideLinear + fused SGD momentum','nn.Linear + SGD momentum'
    pools = {o: ProcessPoolExecutor(1, get_context('spawn')) for o in (peer, ours)}
    try:
        med,ratio = interleaved({name: lambda p=p, o=name==ours: p.submit(dense_steps, o).result()
            for name,p in pools.items()}, 9)
        a,b = (p.submit(dense_sum).result() for p in pools.values())
    finally:
        for p in pools.values(): p.shutdown()
    assert abs(a/b-1)<1e-5, 'the two steps end with other weights'
    yield row('dense denoising step, 784-1000-784, batch 20', ours, peer, ratio[ours], .70 if slow_matmul() else 1.05,
        us_ours=1e6*med[ours], us_peer=1e6*med[peer])

# Linear heads on frozen features --------------------------------------------------------------------------------------

def heads():
    """Barletta & De Benedetti's grid for an epoch, 50 sizes x 3 runs on 196 features: stacked, one after the other in a
    bare loop, and some of them in fastai's Learner; times of a step of one head"""
    g,end = generator('bench'),{}
    x,y = torch.rand(8000, 196, generator=g),torch.randint(0, 10, (8000,), generator=g)
    weight,bias = torch.randn(10, 196, generator=g)*.05,torch.zeros(10)
    jobs = [HeadJob(torch.arange(n), weight, bias, seed, steps=n//BS) for n in range(160, 8001, 160)
        for seed in range(3)]
    steps,few = sum(j.steps for j in jobs),TensorDataset(x[:1600], y[:1600])
    dls = DataLoaders(DataLoader(few, BS, shuffle=True), DataLoader(TensorDataset(x[:BS], y[:BS]), BS))
    def stacked(): end['stacked'] = fit_heads(x, y, jobs, 10, BS, clip=1., score_train=False)
    def alone(): end['alone'] = [fit_alone(x, y, j, 10, BS, clip=1.) for j in jobs]
    runs = {'fit_heads': lambda: timed(stacked)/steps, 'bare loop': lambda: timed(alone)/steps,
        'fastai Learner': lambda: fastai_fit(Learner, nn.Linear(196, 10), dls)/(len(few)//BS)}
    med,ratio = interleaved(runs, 5)
    for i,h in enumerate(end['alone']):
        assert torch.allclose(h.weight, end['stacked'].weight[i], atol=1e-6,
            rtol=1e-5), 'the heads end with other weights'
    for k,goal in (('bare loop', 20), ('fastai Learner', None)):
        yield row('150 heads on 196 features, a step of one head, speed', 'fit_heads', k, ratio[k], goal, '>=',
            us_ours=1e6*med['fit_heads'], us_peer=1e6*med[k])

# Tiny networks trained end to end: a trial, which the package does without --------------------------------------------

class TinyCNNs(nn.Module):
    """R of Barletta & De Benedetti's CNN (1-5-5, here without its dropout) as one: grouped convolutions, one batched
    linear layer"""
    def __init__(self, nets):
        super().__init__()
        self.R = len(nets)
        self.convs = nn.ModuleList(nn.Conv2d(self.R*ni, self.R*5, 3, padding=1, groups=self.R) for ni in (1, 5))
        for conv,i in zip(self.convs, (0, 3)):
            conv.weight.data,conv.bias.data = (torch.cat([getattr(n[i], k).detach() for n in nets])
                for k in ('weight', 'bias'))
        self.weight,self.bias = nn.Parameter(torch.stack([n[-1].weight.detach().T
            for n in nets])),nn.Parameter(torch.stack([n[-1].bias.detach() for n in nets])[:, None])
        self.to(memory_format=torch.channels_last)

    def forward(self, x): # (b,R,28,28) -> (R,b,10)
        for conv in self.convs: x = F.max_pool2d(conv(x).relu(), 2)
        return torch.baddbmm(self.bias, x.contiguous().view(len(x), self.R, -1).transpose(0, 1), self.weight)

    def weights(self):
        return torch.cat([p.detach().reshape(self.R, -1) for c in self.convs for p in (c.weight, c.bias)] +
            [self.weight.detach().transpose(1, 2).flatten(1), self.bias.detach().flatten(1)], 1)

def tiny_cnn(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 5, 3, padding=1),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(245, 10))

def tiny_cnns(R=5, n=2000):
    """Five tiny CNNs with SGD at rate .1, batch 16, stacked by grouped convolutions or one after the other: time of a
    step of one, and how far their weights part"""
    ds,looks,end = dataset('digits').train,(10, n),{}
    x,y = F.interpolate(ds.x.float()/255, size=28),ds.y
    orders = torch.stack([next_order(len(x), n*BS, generator(r, 'order'))[0].view(n, BS) for r in range(R)], 1)
    def fit(name, nets, batch, loss, weights):
        opt = torch.optim.SGD([p for m in nets for p in m.parameters()], lr=.1)
        def steps(lo, hi):
            for o in orders[lo:hi]:
                loss(nets, *batch(o)).backward()
                opt.step()
                opt.zero_grad()
        t = timed(lambda: steps(0, looks[0]))
        end[name] = [weights(nets)]
        t += timed(lambda: steps(looks[0], n))
        end[name].append(weights(nets))
        return t/n/R
    def alone(): # the sum of R such parts
        parts = [fit(r, [tiny_cnn(r)], lambda o, r=r: (x[o[r]], y[o[r]]), lambda m,xb,yb: F.cross_entropy(m[0](xb), yb),
            lambda m: torch.cat([p.detach().flatten() for p in m[0].parameters()])) for r in range(R)]
        end['alone'] = [torch.stack([end[r][i] for r in range(R)]) for i in range(2)]
        return sum(parts)
    def stacked():
        batch = lambda o: (x[o, 0].transpose(0, 1).contiguous(memory_format=torch.channels_last), y[o])
        return fit('stacked', [TinyCNNs([tiny_cnn(r) for r in range(R)])], batch,
            lambda m,xb,yb: R*F.cross_entropy(m[0](xb).flatten(0, 1), yb.flatten()), lambda m: m[0].weights())
    med,ratio = interleaved(dict(alone=alone, stacked=stacked), 3)
    yield row(f'{R} tiny CNNs, end to end, a step of one', 'grouped convolutions', 'one by one', ratio['stacked'], .5,
        us_ours=1e6*med['stacked'], us_peer=1e6*med['alone'])
    for k,a,b in zip(looks, end['alone'], end['stacked']):
        yield row(f'{R} tiny CNNs, end to end, largest difference of a weight after {k:,} steps',
            'grouped convolutions', 'one by one', (a-b).abs().max().item(), 1e-6)

BENCHMARKS = dict(learner=learner, data_path=data_path, own=own, grid=grid, minutes=minutes, cells=cells,
    default=default, finished=finished, kohlbrenner_steps=kohlbrenner_steps, dense_dae_step=dense_dae_step,
    dong_steps=dong_steps, transposed=transposed, joint_step=joint_step, unpooling=unpooling, heads=heads,
    tiny_cnns=tiny_cnns)

def processor():
    try: return next(l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name'))
    except (OSError, StopIteration): return platform.processor()

def main(names):
    if bad := [n for n in names if n not in BENCHMARKS]: sys.exit(f'no benchmark {bad[0]!r}: {", ".join(BENCHMARKS)}')
    torch.set_num_threads(1)
    warnings.filterwarnings('ignore')
    for n in ('pytorch_lightning', 'lightning.pytorch'): logging.getLogger(n).setLevel(logging.ERROR)
    for n in names or BENCHMARKS: keep(n, list(said(n)))

def said(name):
    "The rows of a benchmark, each printed"
    where = dict(processor=processor(), threads=1, torch=torch.__version__, revision=revision())
    for r in BENCHMARKS[name]():
        goal = f' (goal {r["goal"]}: {"met" if r["met"] else "not met"})' if r['goal'] else ''
        print('{0:10} {what}: {ours} / {peer} = {ratio}'.format(name, **r) + goal, flush=True)
        yield dict(benchmark=name) | r | where

def keep(name, rows):
    "Put the rows of a benchmark in the place of its earlier ones"
    new = pd.DataFrame(rows).round(dict(us_ours=1, us_peer=1))
    if OUT.exists():
        old = pd.read_csv(OUT)
        new = pd.concat([old[old.benchmark!=name], new])
    OUT.parent.mkdir(exist_ok=True)
    new.to_csv(OUT, index=False)

if __name__=='__main__': main(sys.argv[1:])
