"""What a hostile reading of nets and training found: half precision on stale weights, losses that undid each other,
borders that no arm had seen, images blurred by the size of others."""
import numpy as np, pytest, torch
from PIL import Image
from torch import nn
from aepretrain_nb.compare import compare
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.augment import Augment
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.own import read_own
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import check_recipe, find_recipe
from aepretrain_nb.experiment.chosen import chosen
from aepretrain_nb.nets.allconv import all_conv_encoder
from aepretrain_nb.nets.decoders import LinearDecoder
from aepretrain_nb.nets.encoder import ConvEncoder, ConvStage
from aepretrain_nb.nets.staged import StagedAE

digits = dataset('digits')

def tiny(**kw):
    "The default recipe of the digits, cut to a few steps"
    own = dict(encoder=dict(width=4), pretrain=dict(steps=30, evals=2),
        finetune=dict(lr=.01, seek='all', first_lr=None, steps=60, evals=3))
    return find_recipe('default', 'digits', 'digits',
        **own | {part: own.get(part, {}) | section for part,section in kw.items()})

def done(recipe, arm='random', i=-1, labels=100):
    "(net, results) of a step of an arm"
    step = Plan(digits, recipe, [arm], [labels], [0]).steps()[0]
    return carry_out(step if i==-1 else step.parents[0], digits)

# Half precision

def test_half_precision_learns_what_single_precision_learns():
    "A cache of weights in half precision, kept through the fit, trained every step on the weights of the first"
    full,half = (done(tiny(finetune=dict(precision=p)))[1] for p in ('fp32', 'bf16'))
    assert full['value']>50 and abs(half['value']-full['value'])<5
    full,half = (done(tiny(pretrain=dict(precision=p)), 'pretrained', 0)[1] for p in ('fp32', 'bf16'))
    assert half['mse']==pytest.approx(full['mse'], rel=.05)

# Losses

HIDDEN = dict(masked=True, norm_target=True, corrupt=dict(kind='patches', p=.5, space='normalised'))

def weights(**pretrain):
    net,_ = done(tiny(images=dict(norm='train'), pretrain=HIDDEN | pretrain), 'pretrained', 0)
    return torch.cat([p.detach().flatten() for p in net.parameters()])

def test_a_price_on_the_code_counts_beside_a_masked_loss():
    one,two = weights(),weights(sparsity=1.)
    assert not torch.equal(one, two)

def test_a_masked_loss_is_summed_where_that_is_asked():
    one,two = weights(clip=1.),weights(clip=1., reduction='sum_pixels')
    assert not torch.equal(one, two)

@pytest.mark.parametrize('change,match', [
    (dict(pretrain=dict(masked=True, corrupt=dict(kind='patches', p=.5))), 'black ones are black before'),
    (dict(finetune=dict(momentum=.5, opt='sgd', schedule='one_cycle')), 'leave momentum out'),
    (dict(finetune=dict(sparsity=.1)), 'finetune.sparsity would change nothing'),
    (dict(finetune=dict(masked=True)), 'finetune.masked would change nothing')])
def test_what_would_be_ignored_is_refused(change, match):
    with pytest.raises(ExperimentError, match=match): check_recipe(tiny(**change))

def test_a_joint_training_takes_what_it_reads():
    "Its section is finetune: a price, noise, and a price on the code"
    r = chosen(tiny(), digits.train.shape, method='joint')
    for own in (dict(weight=[.1, 1.]), dict(corrupt=dict(kind='masking', p=.1)), dict(sparsity=.1)):
        changed = r | dict(finetune=r['finetune'] | own)
        check_recipe(changed)
        assert np.isfinite(done(changed, 'joint')[1]['value'])

# Borders and sizes

@pytest.mark.parametrize('how', [dict(stride=4, crop=2), dict(size=12, crop=2)])
def test_a_net_is_judged_on_the_borders_that_it_was_trained_on(how):
    x = torch.rand(4, 1, 8, 8)+.1
    a = Augment(pad='reflect', **how)
    assert (a(x)[0]!=0).all() and (a.evaluation()(x)[0]!=0).all()
    assert (Augment(**how).evaluation()(x)[0]==0).any()

@pytest.mark.parametrize('flip', [1, 0, 'yes'])
def test_flip_is_true_or_false(flip):
    with pytest.raises(DataError, match='flip is'): Augment(flip=flip)

def stripes(side): return Image.fromarray(np.where(np.arange(side)//4%2, 255, 0).astype('uint8')[None].repeat(side, 0))

def test_images_that_are_larger_than_most_are_as_sharp():
    "A list of images comes to the size of most; larger ones went through 64x64"
    own = read_own(dict(train=([stripes(96)]*6 + [stripes(128)]*4, list('ab')*5)), cache=False)
    spread = own.given.x.reshape(10, -1).std(1)
    assert own.given.x.shape[2:]==(96,96) and spread[6:].min()>.5*spread[:6].max()
    large = read_own(dict(train=([stripes(128)]*6, list('ab')*3)), cache=False).given.x
    direct = read_own(dict(train=([stripes(128)]*6, list('ab')*3)), size=64, cache=False).given.x
    assert np.array_equal(large, direct)

# Nets

def test_one_layer_leads_back_through_stages_without_padding():
    for h,w in ((28,28), (29,31), (30,30)):
        stages = {n: ConvStage(nn.Conv2d(*c, 5), 'relu', 'max', 2) for n,c in dict(a=(1,4), b=(4,6)).items()}
        ae = StagedAE(ConvEncoder(stages), (1,h,w))
        assert ae(torch.rand(2, 1, h, w), 'direct').shape==(2,1,h,w)

def test_advice_on_sizes_holds():
    with pytest.raises(ValueError) as e: all_conv_encoder(1, 33, 32, layers='8 8/2 8/2', exact=True)
    for crop,size in ((0, (33,29)), (2, (37,33))):
        assert Augment(stride=4, crop=crop).out_size(33, 32)==size and f'{size[0]}x{size[1]}' in str(e.value)

def test_a_linear_decoder_reads_the_whole_code():
    enc = ConvEncoder(dict(a=ConvStage(nn.Conv2d(1, 3, 3, (4,1), 1), 'relu', 'stride')))
    dec,x = LinearDecoder(enc, (1,16,16)),torch.rand(2, 1, 16, 16)
    code = enc.encode(x)
    z = code.z.detach().requires_grad_()
    dec(code._replace(z=z)).sum().backward()
    assert z.shape[2:]==(4,16) and (z.grad.abs().sum((0, 1))>0).all()
