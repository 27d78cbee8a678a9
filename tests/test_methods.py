"Each method with each kind of encoder, on images of three sizes, grey and coloured; and numbers that must not move."
import hashlib, pytest
from aepretrain_nb.imports import *
from aepretrain_nb.data.corrupt import Gaussian, Masking
from aepretrain_nb.data.loader import image_dls
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.nets.autoencoder import Autoencoder, MirrorDecoder, TiedDecoder
from aepretrain_nb.nets.decoders import DECODERS, decoder_of
from aepretrain_nb.nets.encoder import ConvEncoder, ConvStage, Staged
from aepretrain_nb.nets.upsampling import FixedUnpool, resized
from aepretrain_nb.nets.layers import init_, started
from aepretrain_nb.nets.loss import ReconLoss
from aepretrain_nb.nets.staged import DenseEncoder, StagedAE, dense_encoder
from aepretrain_nb.nets.zoo import encoder_of, staged
from aepretrain_nb.train.callbacks import CorruptCB, SparsityCB
from aepretrain_nb.train.learner import ImageLearner, torch_opt
from aepretrain_nb.train.named_heads import HEADS, head_of
from aepretrain_nb.train.schedule import gradual, run_schedule, stacked
from aepretrain_nb.train.transfer import copy_weights

SIZES = [(8, 8), (29, 29), (68, 65)]
def gen(s=0): return torch.Generator().manual_seed(s)

def paper(c, h, w, gen=None): return staged('conv', c, h, w, gen, widths=(4, 6, 8), act='scaled_tanh', norm=False)
def timms(c, h, w, gen=None): return staged('timm:test_resnet', c, h, w, gen, depth=3)
def own(c, h, w, gen=None):
    block = lambda ni,nf: nn.Sequential(nn.Conv2d(ni,nf,3,padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return started(Staged(dict(low=block(c, 4), mid=block(4, 6), high=block(6, 8))), gen)
NETS = dict(paper=paper, timm=timms, own=own)

every_net = pytest.mark.parametrize('net', NETS)
every_size = pytest.mark.parametrize('h,w', SIZES)
every_colour = pytest.mark.parametrize('c', [1, 3])

def pictures(c, h, w, n=4):
    "Smooth images in [0,1], each with a phase of its own"
    y,x = torch.meshgrid(torch.linspace(0, 3, h), torch.linspace(0, 3, w), indexing='ij')
    phase = torch.arange(n*c).view(n, c, 1, 1)*.7
    return (torch.sin(2*x+phase)*torch.cos(y-phase)+1)/2

def built(net, decoder, c, h, w, seed=0, **kw):
    "An autoencoder as an engine would build it: one stream for encoder and decoder"
    g = gen(seed)
    enc = NETS[net](c, h, w, g)
    return Autoencoder(enc, decoder_of(decoder)(enc, c, h, w, gen=g, **kw), 'identity')

def digest(m):
    state = b''.join(k.encode()+t.numpy().tobytes() for k,t in m.state_dict().items())
    return hashlib.sha256(state).hexdigest()[:16]

def steps(ae, x, n=4, lr=.01):
    "Losses before each of `n` steps of Adam, and after the last"
    opt,losses = torch.optim.Adam(ae.parameters(), lr),[]
    for _ in range(n+1):
        loss = F.mse_loss(ae(x), x)
        losses.append(loss.item())
        opt.zero_grad(); loss.backward(); opt.step()
    return losses

WAYS = {'mirror': dict(norm=True), 'upsample': {}, 'tied': {},
    'skip': dict(every=1), 'skip with the image': dict(every=2, image=True),
    'unpool': {}, 'unpool at the centre': dict(position='center')}

@every_net
@every_size
@every_colour
@pytest.mark.parametrize('way', WAYS)
def test_a_decoder_of_every_kind(net, h, w, c, way):
    name = way.split()[0]
    if (net, name)==('timm', 'tied'):
        with pytest.raises(ValueError, match="stage 'act1' has 3 layers with filters"): built(net, name, c, h, w)
        return
    ae,x = built(net, name, c, h, w, **WAYS[way]),pictures(c, h, w)
    assert ae(x).shape==x.shape
    losses = steps(ae, x)
    assert min(losses[1:])<losses[0]

@every_net
@pytest.mark.parametrize('way', WAYS)
def test_same_seed_same_bytes(net, way):
    if (net, way)==('timm', 'tied'): return  # an error, see above
    def trained(seed):
        ae = built(net, way.split()[0], 3, 29, 29, seed, **WAYS[way])
        before = digest(ae)
        steps(ae, pictures(3, 29, 29), 2)
        return before,digest(ae)
    (a,b,other) = (trained(s) for s in (0, 0, 1))
    assert a==b and a[0]!=other[0] and a[1]!=other[1]!=a[0]

def loaders(c, h, w, n=16):
    s = ImageSet((pictures(c, h, w, n)*255).byte())
    return image_dls(s, s.take(range(8)), bs=8, target='x')

@every_net
@every_size
@pytest.mark.parametrize('method', ['sparse', 'denoising', 'masked'])
def test_penalties_and_corruption(net, h, w, method):
    "Through fastai's loop: the penalty sees the code of every encoder, the noise its images, the target is clean"
    def trained():
        ae,dls = built(net, 'mirror', 1, h, w, norm=True),loaders(1, h, w)
        cbs = dict(sparse=SparsityCB(.1), denoising=CorruptCB(Gaussian(.2)), masked=CorruptCB(Masking(.3)))
        loss,opt = ReconLoss('mse', 'identity'),torch_opt('adam')
        learn = ImageLearner(dls, ae, loss, opt, lr=.01, cbs=cbs[method], bar=False)
        with learn.no_logging():
            first = learn.validate()[0]
            learn.fit(3)
        return ae,first,learn.validate()[0]
    (a,first,last),(b,*_) = trained(),trained()
    assert last<first and digest(a)==digest(b)

@every_net
@every_size
@pytest.mark.parametrize('make', [stacked, gradual])
def test_schedules(net, h, w, make):
    dls,starts = loaders(1, h, w),[]
    def trained(seed):
        ae = StagedAE(NETS[net](1, h, w, gen(seed)), (1, h, w), 'identity', seed)
        starts.append(digest(ae))
        schedule,opt = make(ae.names[:2], 3, 2),torch_opt('adam')
        rows = run_schedule(ae, schedule, dls, None, loss='mse', lr=.01, seed=seed, every=2, opt_func=opt)
        return ae,rows
    (a,rows),(b,_),(other,_) = trained(0),trained(0),trained(1)
    assert digest(a)==digest(b)!=digest(other) and digest(a)!=starts[0]
    assert np.isfinite(rows.valid).all() and a(pictures(1, h, w), 'direct').shape==(4, 1, h, w)

def test_a_schedule_keeps_a_start_of_its_own():
    enc = timms(1, 29, 29, gen())
    before = digest(enc)
    kept = StagedAE(enc, (1, 29, 29), 'identity', keep=True)
    assert digest(kept.encoder)==before
    assert digest(StagedAE(enc, (1, 29, 29), 'identity').encoder)!=before

def test_a_schedule_ties_what_can_be_tied():
    ae = StagedAE(own(1, 29, 29), (1, 29, 29), 'identity', tied=True)
    assert ae(pictures(1, 29, 29), 'tied').shape==(4, 1, 29, 29)
    with pytest.raises(ValueError, match="stage 'act1' has"):
        StagedAE(timms(1, 29, 29), (1, 29, 29), 'identity', tied=True)

@pytest.mark.parametrize('h,w', [(68, 65), (8, 8), (31, 30)])
@every_net
@pytest.mark.parametrize('decoder', ['mirror', 'linear', 'upsample', 'skip', 'unpool'])
def test_built_for_one_size_and_used_at_another(net, decoder, h, w):
    assert built(net, decoder, 3, 29, 29).eval()(pictures(3, h, w)).shape==(4, 3, h, w)

def test_flat_codes():
    enc = dense_encoder(3, 7, 9, gen(), widths=(20, 10))
    for name in ('tied', 'mirror', 'linear', 'skip', 'unpool'):
        assert Autoencoder(enc, decoder_of(name)(enc, 3, 7, 9))(pictures(3, 7, 9)).shape==(4, 3, 7, 9)
    with pytest.raises(ValueError, match="stage 'l1' gives 20 numbers, no map"): decoder_of('upsample')(enc, 3, 7, 9)

def test_skips_count_from_the_code():
    enc = staged('conv', 1, 16, 16, widths=(2,)*5, pool=None)
    wants = lambda **kw: list(decoder_of('skip')(enc, 1, 16, 16, **kw).wants['taps'])
    assert wants()==['conv3','conv1'] and wants(every=3, image=True)==['conv2','input']
    assert wants(every=1)==['conv4','conv3','conv2','conv1']
    with pytest.raises(ValueError, match='at least 1'): wants(every=0)

def test_the_image_skip_adds_the_image():
    enc = own(1, 16, 16, gen())
    a,b = (decoder_of('skip')(enc, 1, 16, 16, gen(1), image=i) for i in (True, False))
    x = pictures(1, 16, 16)
    torch.testing.assert_close(Autoencoder(enc, a)(x)-Autoencoder(enc, b)(x), x, rtol=0, atol=1e-5)

@pytest.mark.parametrize('h', range(1, 12))
def test_copies_into_a_size_are_those_that_are_cut(h):
    z = torch.rand(2, 3, -(-h//2), 5)
    assert torch.equal(resized(z, (h, 9)), FixedUnpool(2, 'nearest')(z, (h, 9)))

@pytest.mark.parametrize('position', ['center', 'upper_left', 'nearest'])
@pytest.mark.parametrize('h,w', [(29, 7), (8, 9), (3, 3)])
def test_unpooling_after_a_pool_that_rounds_down(position, h, w):
    z = F.max_pool2d(torch.rand(2, 3, h, w), 2)
    out = FixedUnpool(2, position)(z, (h, w))
    assert out.shape==(2, 3, h, w) and torch.equal(F.max_pool2d(out, 2), z)

def test_timms_own_weights_fit_and_give_timms_own_maps():
    import timm
    torch.manual_seed(5)
    whole = timm.create_model('test_resnet', in_chans=3, num_classes=10).eval()
    enc = timms(3, 29, 29).eval()
    rows = copy_weights(whole, enc.net)
    x = pictures(3, 29, 29)
    theirs = whole.forward_intermediates(x, indices=[2], intermediates_only=True)[0]
    assert rows.copied.all() and torch.equal(enc(x), theirs)

def test_building_a_timm_net_leaves_the_global_stream():
    state = torch.get_rng_state()
    timms(1, 8, 8, gen())
    assert torch.equal(state, torch.get_rng_state())

def test_a_cut_timm_net_holds_no_more_than_its_stages():
    enc = timms(1, 29, 29, gen()).eval()
    low,x = enc.cut('layer1'),pictures(1, 29, 29)
    assert torch.equal(low(x), enc.encode(x, taps=['layer1']).taps['layer1'])
    assert {k.split('.')[1] for k in low.state_dict()}=={'conv1', 'bn1', 'layer1'}
    assert not {p.data_ptr() for p in low.parameters()} & {p.data_ptr() for p in enc.parameters()}

def test_a_copy_of_a_timm_net_is_whole():
    ae = built('timm', 'mirror', 1, 29, 29)
    twin,x = copy.deepcopy(ae),pictures(1, 29, 29)
    steps(twin, x, 1)
    assert digest(ae)==digest(built('timm', 'mirror', 1, 29, 29)) and digest(twin)!=digest(ae)

@every_net
@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('average', [False, True])
def test_heads(net, head, average):
    enc = NETS[net](3, 29, 29, gen())
    a,b,other = (head_of(head)(enc, 3, 29, 29, 5, gen(s), average=average) for s in (0, 0, 1))
    assert a(enc(pictures(3, 29, 29))).shape==(4, 5) and digest(a)==digest(b)!=digest(other)
    if average: assert a(enc(pictures(3, 68, 65))).shape==(4, 5)

ERRORS = {
    'timm:resnet18': lambda: encoder_of('resnet18'),
    'tied, mirror, linear, upsample, skip, unpool': lambda: decoder_of('miror'),
    'linear, mlp': lambda: head_of('fc'),
    "timm has no net 'resnet19'": lambda: staged('timm:resnet19', 3, 8, 8),
    'is no row of blocks': lambda: staged('timm:test_vit', 3, 160, 160),
    'does not take 3x8x8': lambda: staged('timm:convnext_atto', 3, 8, 8),
    "stage 'high' does not take 6x1x1": lambda: own(1, 8, 8)(torch.rand(1, 1, 4, 4)),
    "stage 'low' is no single convolution": lambda: MirrorDecoder(own(1, 8, 8)),
    "called 'input'": lambda: Staged(dict(input=nn.ReLU())),
    "no stage 'top' to tap: one of input, low, mid, high": lambda: own(1, 8, 8).encode(torch.rand(1, 1, 8, 8), ['top']),
    'center, upper_left, nearest': lambda: decoder_of('unpool')(own(1, 8, 8), 1, 8, 8, position='middle'),
    'give gen': lambda: decoder_of('mirror')(own(1, 8, 8), 1, 8, 8, init=dict(dist='default'))}

@pytest.mark.parametrize('say', ERRORS)
def test_errors_in_one_line(say):
    with pytest.raises(ValueError) as e: ERRORS[say]()
    assert say in str(e.value) and '\n' not in str(e.value)

# Values of the code before decoders went by shapes: initial weights to the bit, the rest up to rounding.

def three_kinds(norm):
    "A pool, a stride and neither"
    def stage(a, b, k, s, act, pool):
        return ConvStage(nn.Conv2d(a, b, k, s, k//2), act, pool, norm=nn.BatchNorm2d(b) if norm else None)
    a,b = stage(2, 5, 5, 1, 'scaled_tanh', 'max'),stage(5, 6, 3, 2, 'relu', 'stride')
    return ConvEncoder(dict(a=a, b=b, c=stage(6, 7, 3, 1, 'tanh', None)))

def three_steps(ae, x):
    "Initial weights, sum of the first output, loss of the third step of plain gradient descent"
    start,total,opt = digest(ae),ae(x).double().sum().item(),torch.optim.SGD(ae.parameters(), .1)
    for _ in range(3):
        opt.zero_grad()
        loss = F.mse_loss(ae(x), x)
        loss.backward(); opt.step()
    return start,total,loss.item()

@pytest.mark.parametrize('D,norm,start,total,loss', [
    (TiedDecoder, False, '36e73c328c456afd', 402.6536612, .1593165546),
    (TiedDecoder, True, 'a997d97025e1d1f7', 436.8114478, .1562948376),
    (MirrorDecoder, False, '426ac93a6d1c7bcc', -851.6516464, .1992565393),
    (MirrorDecoder, True, '1ee4b5e9f2228c06', -860.3298922, .1992431432)])
def test_tied_and_mirrored_as_before(D, norm, start, total, loss):
    enc,x = three_kinds(norm),torch.rand(4, 2, 29, 27, generator=gen(9))
    ae = init_(Autoencoder(enc, D(enc)), dict(dist='default'), gen(1))
    assert three_steps(ae, x)==(start, pytest.approx(total, rel=1e-5), pytest.approx(loss, rel=1e-5))

@pytest.mark.parametrize('h,w,total,loss', [
    (28, 28, 142.9321567, .1157989725), (29, 27, 143.7346929, .1145786345), (7, 65, 72.9536783, .1246258765)])
def test_upsampling_as_barletta_did(h, w, total, loss):
    g,x = gen(2),torch.rand(4, 1, h, w, generator=gen(9))
    convs = dict(conv1=nn.Conv2d(1, 8, 3, padding=1), conv2=nn.Conv2d(8, 4, 3, padding=1))
    enc = started(ConvEncoder({n: ConvStage(o, 'relu') for n,o in convs.items()}), g)
    ae = Autoencoder(enc, decoder_of('upsample')(enc, 1, h, w, g), 'identity')
    assert three_steps(ae, x)==('01f181e0d7ea850c', pytest.approx(total, rel=1e-5), pytest.approx(loss, rel=1e-5))

@pytest.mark.parametrize('net,start,make,decoder,valid', [
    ('dense', '43a4a07603c0dd10', stacked, 'chain', (40.3401108, 6.2759476)),
    ('dense', '43a4a07603c0dd10', gradual, 'tied', (40.6222649, 39.2418594)),
    ('conv', '7f7ded732dd3cf40', stacked, 'tied', (41.6565247, 44.0900040)),
    ('conv', '7f7ded732dd3cf40', gradual, 'chain', (41.4030952, 39.5285835))])
def test_schedules_as_before(net, start, make, decoder, valid):
    digits = dataset('digits').train
    dls = image_dls(digits.take(range(100)), digits.take(range(100, 140)), bs=20, target='x')
    stage = lambda a,b: ConvStage(nn.Conv2d(a, b, 3, padding=1), 'sigmoid')
    conv = ConvEncoder(dict(c1=stage(1, 4), c2=stage(4, 5)))
    ae = StagedAE(DenseEncoder(64, [9, 7]) if net=='dense' else conv, (1, 8, 8), seed=4, tied=True)
    assert digest(ae)==start
    rows = run_schedule(ae, make(ae.names, 6, 4, decoder=decoder), dls, seed=1)
    assert list(rows.valid)==pytest.approx(list(valid), rel=1e-5)
