"""What the parts of `benchmarks/gpu.py` have in common, and those that time single steps.

A part gives tasks, each a name and a function of the rows of its part so far.
"""
import copy, statistics, time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import torch, torch.nn.functional as F
from torch.func import functional_call, stack_module_state, vmap
from torch.utils.flop_counter import FlopCounterMode
from aepretrain_nb.data.corrupt import corruption
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.build import build_autoencoder, build_classifier, out_act
from aepretrain_nb.experiment.carry import check_device, devices
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.run import learner, spend, stream
from aepretrain_nb.experiment.step import chain
from aepretrain_nb.nets.loss import ReconLoss
from aepretrain_nb.train.learner import OPTIMISERS

RECIPES = 'aepretrain_nb.papers.{}:recipe'  # by import path, as the package need not be installed
MEASURED = ('what', 'variant', 'batch', 'us', 'images_s', 'tflops', 'share', 'ratio', 'cpu', 'here', 'apart',
    'tolerance', 'within')

class TimeUp(KeyboardInterrupt): "What ends a part when its time is up, as Ctrl-C would."

@dataclass
class Job:
    "Where a part runs, and how large."
    device:str # as PyTorch calls it
    smoke:bool # at smoke size?
    work:Path # folder of what is kept
    processes:int=1 # of a grid on a GPU

    @property
    def graphs(self)->bool: return self.device.startswith('cuda')
    def store(self, name): return self.work/'stores'/name

@dataclass
class Task:
    "What a task gave."
    rows:list=field(default_factory=list) # of dicts of `MEASURED`
    grid:list=field(default_factory=list) # of rows of a grid
    state:str='done' # 'left': there is more to do; 'failed': `why` says it
    why:str=''
    said:str='' # in words
    seconds:float=0.

def measured(
    what:str, # is measured
    variant:str, # of it
    **more # columns of `MEASURED`
)->Task:
    "A task of one row."
    told = {k: float(f'{v:.5g}') if isinstance(v, float) else v for k,v in more.items()}
    return Task([dict.fromkeys(MEASURED) | dict(what=what, variant=variant) | told])

def here(
    device:str=None, # the best there is by default
    smoke:bool=False
)->dict: # what the summary says of the machine
    "The device of a run; raises `ExperimentError` where it cannot be used."
    device = device or (devices()[1:] or ['cpu'])[0]
    check_device(device)
    card = torch.cuda.get_device_properties(device) if device.startswith('cuda') else None
    own = dict(name=card.name, memory_gb=round(card.total_memory/1e9)) if card else dict(name=device)
    return own | dict(device=device, smoke=smoke or not card, torch=torch.__version__, cuda=torch.version.cuda)

# Time -------------------------------------------------------------------------------------------------------

def settle(device):
    "Wait until a device has done what it was given"
    if device.startswith('cuda'): torch.cuda.synchronize(device)
    elif device=='mps': torch.mps.synchronize()

def pace(
    step, # a function
    job:Job,
    repeats=3
)->float: # seconds
    "What a call takes, as the median of some runs of many calls, warm."
    budget,most = (.02, 5) if job.smoke else (.3, 100)
    def run(n):
        settle(job.device)
        start = time.perf_counter()
        for _ in range(n): step()
        settle(job.device)
        return (time.perf_counter()-start)/n
    run(2)
    n = max(1, min(most, int(budget/run(1))))
    return statistics.median(run(n) for _ in range(repeats))

def captured(
    step # a function without arguments, whose tensors stay where they are
): # a function
    "A step as a CUDA graph, captured once it is warm."
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3): step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph): step()
    return graph.replay

@contextmanager
def tf32(on:bool):
    "Are products of fp32 numbers taken with ten bits? PyTorch does so in convolutions."
    parts = torch.backends.cudnn,torch.backends.cuda.matmul
    before = [o.allow_tf32 for o in parts]
    for o in parts: o.allow_tf32 = on
    try: yield
    finally:
        for o,v in zip(parts, before): o.allow_tf32 = v

# Throughput -------------------------------------------------------------------------------------------------

def _noise(name, shape, n):
    "Random images, as only their size counts"
    g = generator('gpu', name)
    x = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=g)
    images = ImageSet(x, torch.randint(0, 10, (n,), generator=g), layout='nchw')
    return Splits(name, images, images.take(range(10)))

_OF = dict(kohlbrenner=((1, 28, 28), 'pretrained', {}), dong=((3, 32, 32), 'skips', dict(study='table1')))

def autoencoder(
    name:str, # 'kohlbrenner' or 'dong'
    smoke:bool
)->tuple: # (its pre-training as a `Step`, images)
    "A pre-training of a paper at its width."
    shape,arm,more = _OF[name]
    splits = _noise(name, shape, 256 if smoke else 8192)
    r = find_recipe(RECIPES.format(name), 'smoke' if smoke else 'paper', **more)
    fit = Plan(splits, r, [arm], [100], 1).steps()[0]
    return chain(fit)[0],splits

NETS = dict(kohlbrenner="Kohlbrenner's autoencoder", dong="Dong's 15 layers, with skips")
_last = dict(memory_format=torch.channels_last)
VARIANTS = {'fp32': {}, 'tf32': dict(tf32=True), 'tf32, channels_last': dict(tf32=True, last=True),
    'bf16': dict(bf16=True), 'bf16, channels_last': dict(bf16=True, last=True),
    'tf32, channels_last, graph': dict(tf32=True, last=True, graph=True),
    'bf16, channels_last, graph': dict(bf16=True, last=True, graph=True)}

def bare_step(
    step, # that pre-trains
    splits, # its images
    job:Job,
    bs:int, # images
    last=False, # channels last?
    bf16=False, # in bfloat16 where autocast says so?
    graph=False # to be captured?
): # a function without arguments
    "One training step of an autoencoder as a plain loop has it, on one batch."
    net,how = build_autoencoder(step, splits).to(job.device),_last if last else {}
    net = net.to(**how).train()
    x = (splits.train.x[:bs].to(job.device).float()/255).contiguous(**how)
    f,loss = step.fit,ReconLoss('mse', out_act(step.net))
    more = dict(capturable=True) if graph and f['opt']!='sgd' else {}
    opt = OPTIMISERS[f['opt']](net.parameters(), lr=f['lr'], **more)
    kind = torch.device(job.device).type
    def run():
        opt.zero_grad()
        with torch.autocast(kind, torch.bfloat16, enabled=bf16, cache_enabled=not graph): out = net(x)
        loss(out.float(), x).backward()
        opt.step()
    return captured(run) if graph else run

@lru_cache(None)
def _flops(name, smoke):
    "Floating point operations of a training step for each image, without those of the optimiser"
    step = bare_step(*autoencoder(name, smoke), Job('cpu', smoke, Path()), 2)
    with FlopCounterMode(display=False) as count: step()
    return count.get_total_flops()/2

def _beside(us, bs, flops, what, before):
    "Columns of a pace: images, operations, their share of the peak, and the ratio to the first variant"
    peak = next((o['tflops'] for o in before if o['what']==PEAK), None)
    first = next((o['us'] for o in before if (o['what'], o['batch'])==(what, bs)), us)
    tflops = flops/us/1e6 if flops else None
    share = tflops/peak if tflops and peak else None
    return dict(batch=bs, us=us, images_s=round(1e6*bs/us), tflops=tflops, share=share, ratio=us/first)

PEAK = 'bf16 matrix product'

def _peak(job, before):
    "The rate of a large matrix product, which is the most that the card gives here"
    n = 128 if job.smoke else 8192
    a,b = (torch.randn(n, n, device=job.device, dtype=torch.bfloat16) for _ in range(2))
    s = pace(lambda: a@b, job)
    return measured(PEAK, f'{n}x{n}', us=1e6*s, tflops=2*n**3/s/1e12)

def _bare(name, variant, bs, job, before):
    "The pace of a variant"
    how = dict(VARIANTS[variant])
    step,splits = autoencoder(name, job.smoke)
    with tf32(how.pop('tf32', False)): s = pace(bare_step(step, splits, job, bs, **how), job)
    return measured(NETS[name], variant, **_beside(1e6*s, bs, bs*_flops(name, job.smoke), NETS[name], before))

def _learner(name, precision, bs, job, before):
    "The pace of the project's own loop, as a grid runs it: batches, noise and looks are in it"
    step,splits = autoencoder(name, job.smoke)
    n,flops = 5 if job.smoke else 200,bs*_flops(name, job.smoke)
    f = step.fit | dict(steps=n, evals=1, bs=bs, precision=precision, schedule='constant')
    step,loss = replace(step, fit=f),ReconLoss('mse', out_act(step.net))
    noise = dict(corrupt=corruption(f.get('corrupt')), norm_target=f.get('norm_target', False))
    def run():
        dls = stream(step, splits.train, splits.test, job.device, target='x', **noise)
        return spend(learner(step, build_autoencoder(step, splits), dls, loss), step, f['lr'])[0]['seconds']
    run()
    s = statistics.median(run() for _ in range(3))/n
    return measured(NETS[name], f'ImageLearner, {precision}', **_beside(1e6*s, bs, flops, NETS[name], before))

def throughput(job):
    "Steps of two autoencoders, at the paper's batch and at a large one"
    yield 'peak',partial(_peak, job)
    usual = dict(kohlbrenner=128, dong=64)
    graphs = [v for v,how in VARIANTS.items() if how.get('graph')]
    plain = [v for v in VARIANTS if v not in graphs]
    for name,large in product(NETS, (False, True)):
        bs = (32 if large else 8) if job.smoke else (1024 if large else usual[name])
        for v in plain: yield f'{name}, {bs}, {v}',partial(_bare, name, v, bs, job)
        for p in () if large else ('fp32', 'bf16'):
            yield f'{name}, {bs}, learner, {p}',partial(_learner, name, p, bs, job)
        for v in graphs if job.graphs else (): yield f'{name}, {bs}, {v}',partial(_bare, name, v, bs, job)

# Five small nets --------------------------------------------------------------------------------------------

SMALL,R = "five of Kohlbrenner's classifiers, a third of the width",5

def small_nets(job):
    "Five classifiers that differ by their seed, on the device, and the batch of each"
    splits,bs = _noise('small', (1, 28, 28), 256),8 if job.smoke else 128
    r = find_recipe(RECIPES.format('kohlbrenner'), 'smoke' if job.smoke else 'quick', head=dict(dropout=0.))
    steps = Plan(splits, r, ['random_default'], [100], R).steps()
    nets = [build_classifier(s, splits).to(job.device) for s in steps]
    orders = torch.stack([torch.randperm(256, generator=generator(i, 'order'))[:bs] for i in range(R)])
    return nets,(splits.train.x[orders].float()/255).to(job.device),splits.train.y[orders].to(job.device)

def _alone(nets, x, y):
    "A step of each net, one after the other"
    opts = [torch.optim.SGD(n.parameters(), lr=.1) for n in nets]
    def run():
        for net,opt,xb,yb in zip(nets, opts, x, y):
            opt.zero_grad()
            F.cross_entropy(net(xb), yb).backward()
            opt.step()
    return run,lambda: torch.stack([torch.cat([p.detach().flatten() for p in n.parameters()]) for n in nets])

def _as_one(nets, x, y):
    "A step of all nets, their weights stacked: the sum of their losses gives each its own gradient"
    weights,buffers = stack_module_state(nets)
    base = copy.deepcopy(nets[0]).to('meta')
    logits = vmap(lambda w,b,xb: functional_call(base, (w, b), (xb,)))
    opt = torch.optim.SGD(weights.values(), lr=.1)
    def run():
        opt.zero_grad()
        (len(nets)*F.cross_entropy(logits(weights, buffers, x).flatten(0, 1), y.flatten())).backward()
        opt.step()
    return run,lambda: torch.cat([w.detach().flatten(1) for w in weights.values()], 1)

WAYS = {'one by one': _alone, 'stacked': _as_one}

def _way(name, graph, job, before):
    "The pace of a step of one net"
    nets,x,y = small_nets(job)
    run,_ = WAYS[name](nets, x, y)
    s = pace(captured(run) if graph else run, job)/R
    return measured(SMALL, name + ', graph'*graph, **_beside(1e6*s, x.shape[1], None, SMALL, before))

def _same_weights(job, before):
    "How far the weights are apart after ten steps from the same start"
    end = []
    with tf32(False):
        for make in WAYS.values():
            run,weights = make(*small_nets(job))
            for _ in range(10): run()
            end.append(weights())
    apart = (end[0]-end[1]).abs().max().item()
    return measured(SMALL, 'largest difference of a weight', apart=apart, tolerance=1e-4, within=apart<=1e-4)

def stacked(job):
    "Five nets side by side against one after the other"
    for graph,name in product((False, True) if job.graphs else (False,), WAYS):
        yield f'{name}{", graph"*graph}',partial(_way, name, graph, job)
    yield 'same weights',partial(_same_weights, job)
