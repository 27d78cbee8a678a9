"Macro-layers at odd sizes, on any VGG, in any layout; losses by slow formulas; steps that leave a classifier alone."
import pytest
from aepretrain_nb.imports import *
from PIL import Image
from torchvision import models
from aepretrain_nb.answers.ledger import settle
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment import finetune, work
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.cost import batches_of
from aepretrain_nb.experiment.fitted import fitted
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.recipe import check_recipe, find_recipe
from aepretrain_nb.experiment.seen import labelled
from aepretrain_nb.experiment.step import chain
from aepretrain_nb.nets.encoder import Staged, conv_encoder
from aepretrain_nb.nets.macro import LevelLoss, MacroDecoder, macro_decoder, macro_encoder, macro_layers, vgg_encoder
from aepretrain_nb.experiment.joint import two_streams
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.nets.inversion import ConvsDecoder, level_errors
from aepretrain_nb.train.transfer import at_rest
from aepretrain_nb.papers.zhang import (JUDGED, POSITIONS, STUDIES, by_macro, equal_compute, observations, recipe,
    reconstructed, variant_steps)
from aepretrain_nb.papers.zhang_claims import CLAIMS

pytestmark = pytest.mark.usefixtures('no_pictures')

PLACES = ['switches', 'center', 'upper_left', 'nearest']
def gen(s=0): return torch.Generator().manual_seed(s)

def coded(enc, dec, x): return enc.encode(x, **dec.wants)

@pytest.mark.parametrize('position', PLACES)
@pytest.mark.parametrize('losses', JUDGED)
@pytest.mark.parametrize('norm', [False, True])
@pytest.mark.parametrize('c,h,w', [(1, 8, 8), (3, 29, 31), (3, 68, 65)])
def test_every_size(position, losses, norm, c, h, w):
    enc = vgg_encoder(c, h, w, gen(), widths=(4, 6), norm=norm)
    dec = macro_decoder(enc, c, h, w, gen(1), position=position, losses=losses, norm=norm)
    code = coded(enc, dec, torch.rand(2, c, h, w))
    recon = dec(code)
    assert {n: r.shape for n,r in recon.items()}=={n: code.taps[n].shape for n in recon}
    dec.loss(recon, code.taps).backward()
    grads = {n: p.grad for n,p in dec.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in grads.values())

@pytest.mark.parametrize('position', PLACES)
def test_channels_last_stays(position):
    enc = vgg_encoder(3, 29, 31, gen(), widths=(4, 6)).to(memory_format=torch.channels_last)
    dec = macro_decoder(enc, 3, 29, 31, gen(1), position=position).to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 29, 31).to(memory_format=torch.channels_last)
    kept = []
    def last(o): return o.is_contiguous(memory_format=torch.channels_last)
    for up in dec.ups.values(): up.unpool.register_forward_hook(lambda m, i, o: kept.append(last(o)))
    recon = dec(coded(enc, dec, x))
    assert kept==[True, True]
    assert all(map(last, recon.values()))

@pytest.mark.parametrize('position', PLACES)
def test_layouts_agree(position):
    enc = vgg_encoder(3, 13, 15, gen(), widths=(4, 6)).eval()
    dec = macro_decoder(enc, 3, 13, 15, gen(1), position=position)
    x = torch.rand(2, 3, 13, 15)
    plain = dec(coded(enc, dec, x))['input']
    for m in (enc, dec): m.to(memory_format=torch.channels_last)
    last = dec(coded(enc, dec, x.to(memory_format=torch.channels_last)))['input']
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('position', PLACES)
def test_autocast(position):
    enc = vgg_encoder(3, 13, 15, gen(), widths=(4, 6))
    dec = macro_decoder(enc, 3, 13, 15, gen(1), position=position)
    x = torch.rand(4, 3, 13, 15)
    def loss():
        code = coded(enc, dec, x)
        return dec.loss(dec(code), code.taps)
    full = loss()
    with torch.autocast('cpu', torch.bfloat16): half = loss()
    half.backward()
    assert half.dtype==torch.float32 and abs(half-full)<.05*full

def test_center_is_the_lower_right():
    "A convolution that does nothing shows where a value goes"
    enc = macro_layers(nn.Sequential(*[m for _ in range(2) for m in (nn.Conv2d(1, 1, 1), nn.ReLU(), nn.MaxPool2d(2))]))
    up = MacroDecoder(enc, 'center').ups['macro1']
    with torch.no_grad(): up.layers[0].weight.fill_(1), up.layers[0].bias.zero_()
    assert up(torch.full((1, 1, 1, 1), 5.), (2, 2)).flatten().tolist()==[0, 0, 0, 5]

def test_libraries():
    "The same macro-layers from both libraries, and the published names of weights"
    small = dict(torchvision=dict(init_weights=False), timm=dict(mlp_ratio=.01)) # what is cut off costs most time
    ours,timms = (macro_encoder(3, 64, 64, gen(), of=f'{o}:vgg11_bn', **kw) for o,kw in small.items())
    whole = nn.ModuleDict(dict(features=models.vgg.make_layers(models.vgg.cfgs['A'], batch_norm=True)))
    ours.net.load_state_dict(whole.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad(): assert torch.equal(ours.eval()(x), whole.features.eval()(x))
    convs = [[m.out_channels for m in s if isinstance(m, nn.Conv2d)] for s in ours.stages.values()]
    assert convs==[[64], [128], [256, 256], [512, 512], [512, 512]]
    assert [k.removeprefix('net.') for k in timms.state_dict()]==list(whole.state_dict())
    cut = macro_encoder(3, 32, 32, gen(), of='timm:vgg11_bn', depth=3)
    assert list(cut.stages)==['macro1', 'macro2', 'macro3'] and cut(torch.rand(1, 3, 32, 32)).shape==(1, 256, 4, 4)

def test_the_authors_decoder():
    "Channels of VGG-16's decoder, as recon-dec/vggnet has them"
    enc = macro_layers(nn.Sequential(*models.vgg.make_layers(models.vgg.cfgs['D'])))
    dec = MacroDecoder(enc)
    def channels(n): return [m.out_channels for m in dec.ups[n].layers if isinstance(m, nn.ConvTranspose2d)]
    published = dict(macro5=[512]*3, macro4=[512, 512, 256], macro3=[256, 256, 128], macro2=[128, 64], macro1=[64, 3])
    assert {n: channels(n) for n in dec.ups}==published
    ends = [type(dec.ups[n].layers[-1]) for n in dec.ups]
    assert issubclass(ends[0], nn.ConvTranspose2d) and ends[1:]==[nn.ReLU]*4

def row(pool, **kw): return nn.Sequential(nn.Conv2d(1, 2, 3, **kw), pool, nn.Conv2d(2, 2, 3, **kw), pool)

@pytest.mark.parametrize('make,words', [
    (lambda: macro_layers(row(nn.MaxPool2d(3, 2))), 'macro1 ends in a pool whose blocks overlap'),
    (lambda: macro_layers(row(nn.MaxPool2d(2), stride=2)), 'macro1 has a convolution with stride'),
    (lambda: macro_encoder(3, 64, 64, of='timm:test_resnet'), 'no row of convolutions and max-pools'),
    (lambda: MacroDecoder(Staged(dict(a=nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))))), "take an encoder of"),
    (lambda: MacroDecoder(conv_encoder(1, 8, 8)), "stage 'conv1' is no macro-layer"),
    (lambda: MacroDecoder(vgg_encoder(1, 8, 8, widths=(4, 4)), position='middle'), "unknown position 'middle'"),
    (lambda: MacroDecoder(vgg_encoder(1, 8, 8, widths=(4, 4)), losses='last'), "unknown losses 'last'"),
    (lambda: LevelLoss('odd'), "unknown weights 'odd'")])
def test_what_cannot_be(make, words):
    with pytest.raises(ValueError, match=words) as e: make()
    assert '\n' not in str(e.value)

def test_losses_by_hand():
    def drawn(s):
        return dict(macro1=torch.rand(5, 4, 3, 3, generator=gen(s)),
            input=torch.rand(5, 1, 6, 6, generator=gen(s+9)))
    r,t = drawn(0),drawn(1)
    def slow(n, w): return w*sum(((r[n][i]-t[n][i])**2).sum() for i in range(5))/10
    torch.testing.assert_close(LevelLoss('final')(r, t), slow('input', 1e-4)+slow('macro1', 1e-10))
    torch.testing.assert_close(LevelLoss('first_upload')(r, t), slow('input', 1e-4)+slow('macro1', 2e-5))
    for fixed,w in ((True, 1e-5), (False, 1e-4)): # SAE-first and SWWAE-first
        torch.testing.assert_close(LevelLoss('first_upload', fixed=fixed)(dict(input=r['input']), t), slow('input', w))
    even = sum(((r[n]-t[n])**2).mean()/((t[n]-t[n].mean())**2).mean() for n in r)/2
    torch.testing.assert_close(LevelLoss()(r, t), even)

@pytest.mark.parametrize('losses', JUDGED)
def test_targets_are_moved_unless_detached(losses):
    "The gradient of the lowest filters differs by what the targets say; the image is none of them"
    enc,x = vgg_encoder(1, 8, 8, gen(), widths=(4, 6)).eval(),torch.rand(4, 1, 8, 8, generator=gen(2))
    def grad(detach):
        dec = macro_decoder(enc, 1, 8, 8, gen(1), losses=losses, detach_targets=detach)
        enc.zero_grad()
        code = coded(enc, dec, x)
        dec.loss(dec(code), code.taps).backward()
        return enc.stages.macro1[0].weight.grad.clone()
    assert torch.equal(grad(False), grad(True))==(losses=='first')

# Steps

digits = dataset('digits')

@pytest.fixture(scope='module')
def ran():
    "Carries out the steps of an arm, each once for all tests: their kinds, the nets, and what was measured"
    known = {}
    def found(step):
        if step.key not in known:
            known[step.key] = carry_out(step, digits, [(found(o.step)[1].state_dict(), o.names) for o in step.start])
        return step.do,*known[step.key]
    def run(steps, reading='fair', **kw):
        check_recipe(r := recipe('smoke', reading, arms=dict(own=dict(steps=steps)), **kw))
        return [found(step) for step in chain(plan(digits, r, labels=[100], seeds=1)[0])]
    return run

def own(net): return {k: t for k,t in net.state_dict().items() if not k.startswith('decoder.')}
def same(a, b): return all(torch.equal(t, own(b)[k]) for k,t in own(a).items())

@pytest.mark.parametrize('kind', POSITIONS)
@pytest.mark.parametrize('losses', JUDGED)
def test_a_frozen_classifier_stays(ran, kind, losses):
    (_,first,res),*decoded,(_,last,_) = ran(variant_steps(kind, losses), joint=dict(weight=.1))
    assert all(same(first, net) and o['valid']==res['valid'] and 'value' not in o for _,net,o in decoded)
    assert not same(first, last)
    assert any('running_mean' in k for k in own(first))

FURTHER = recipe('smoke')['arms']['further']['steps']

@pytest.mark.parametrize('kind', POSITIONS)
def test_without_a_price_it_is_the_control(ran, kind):
    "At a price of zero a decoder moves nothing, so the variant ends where the control of equal steps does"
    free = ran(variant_steps(kind, 'all'), joint=dict(weight=0.))[-1]
    control = ran(FURTHER, joint=dict(weight=0.))[-1]
    assert same(free[1], control[1]) and free[2]['value']==control[2]['value']

def test_one_first_step(ran):
    "All arms of a seed begin with the same bytes; that which ends with them has a key of its own"
    steps = plan(digits, recipe('smoke'), labels=[100], seeds=2)
    firsts = {(o.arm, o.seeds['head']): chain(o)[0].key for o in steps}
    assert len({k for (a,s),k in firsts.items() if s==0 and a!='classifier'})==1
    alone,on = ran(recipe('smoke')['arms']['classifier']['steps']),ran(FURTHER, joint=dict(weight=1.))
    assert same(alone[0][1], on[0][1])

@pytest.mark.parametrize('weights,found', [(None, 'even'), ('first_upload', 'first_upload'), ('final', 'final')])
def test_weights_of_an_upload(weights, found):
    last = recipe('smoke', weights=weights)['arms']['SAE-all']['steps'][-1]['decoder']
    assert last.get('weights', 'even')==found

def test_as_written_runs(ran):
    r = recipe('smoke', 'as_written')
    assert 'further' not in r['arms'] and not r['encoder']['norm']
    found = ran(r['arms']['SWWAE-first']['steps'], reading='as_written')
    assert [o[0] for o in found]==['classify', 'decode', 'decode', 'augment']
    assert all(math.isfinite(o[2]['valid_loss']) for o in found)

def test_unlabelled_images(ran):
    "Two streams: reconstruction of images without labels moves the net elsewhere"
    one,two = (ran(variant_steps('SAE', 'all'), joint=dict(weight=1., unlabelled=o))[-1] for o in (False, True))
    assert not same(one[1], two[1]) and math.isfinite(two[2]['value'])

def test_bf16(ran):
    assert math.isfinite(ran(variant_steps('SWWAE', 'all'), joint=dict(weight=1., precision='bf16'))[-1][2]['value'])

def test_prices_are_chosen_on_validation(ran):
    res = ran(variant_steps('SAE', 'layerwise'), joint=dict(weight=[.1, 10.]))[-1][2]
    alone = {w: ran(variant_steps('SAE', 'layerwise'), joint=dict(weight=w))[-1][2] for w in (.1, 10.)}
    w = res['columns']['weight']
    assert res['valid']==max(o['valid'] for o in alone.values()) and res['value']==alone[w]['value']

def test_each_price_is_a_training():
    one,two = (plan(digits, recipe('smoke', joint=dict(weight=w)), ['SAE-all'], [100], 1)[0] for w in (1., [.1, 1.]))
    assert batches_of(two, digits)==2*batches_of(one, digits)==2*recipe('smoke')['joint']['steps']

def test_equal_prices_are_one_choice():
    "A price, or a rate, that is listed twice is trained once"
    one,two = (plan(digits, recipe('smoke', joint=dict(weight=w, lr=lr)), ['SAE-all'], [100], 1)[0]
        for w,lr in ((1., .001), ([1, 1.], [.001, .001])))
    assert batches_of(two, digits)==batches_of(one, digits)==recipe('smoke')['joint']['steps']

def test_a_price_given_twice_is_tried_once(ran):
    res = ran(variant_steps('SAE', 'layerwise'), joint=dict(weight=[.3, .3]))[-1][2]
    assert [o['weight'] for o in res['tuning']]==[.3] and res['columns']['weight']==.3

@pytest.mark.parametrize('weight,lr,tried', [(.1, .002, 1), ([.1, 10.], .002, 2), ([.1, 10.], [.002, .01], 4)])
def test_test_images_are_looked_at_once_whatever_was_tried(ran, monkeypatch, weight, lr, tried):
    looks,real = [],finetune._tested
    monkeypatch.setattr(finetune, '_tested', lambda *a: looks.append(a) or real(*a))
    done = ran(variant_steps('SAE', 'layerwise'), joint=dict(weight=weight, lr=lr))
    assert [o[0].do for o in looks].count('augment')==1 and len(done[-1][2]['tuning'])==tried

@pytest.mark.parametrize('change,words', [(dict(losses='first'), 'decoder.losses differs by arm'),
    (dict(position='nearest'), 'decoder.position differs by arm.*place=nearest'),
    (dict(weights='final'), 'decoder.weights differs by arm.*weights=first_upload')])
@pytest.mark.parametrize('study', STUDIES)
def test_what_arms_would_undo_is_refused(change, words, study):
    with pytest.raises(ExperimentError, match=words) as e: find_recipe('zhang', 'smoke', study=study, decoder=change)
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('place', PLACES[1:])
def test_a_place_moves_the_sae_alone(place):
    arms = find_recipe('zhang', 'smoke', place=place)['arms']
    seen = {a: {s['decoder']['position'] for s in o['steps'] if s['decoder']} for a,o in arms.items() if 'SAE' in a
        or 'SWW' in a}
    assert seen=={a: {'switches' if a.startswith('SWWAE') else place} for a in seen}

@pytest.mark.parametrize('what', ['study', 'place', 'setting', 'reading'])
def test_unknown_words(what):
    with pytest.raises(ExperimentError, match=f"unknown {what} 'odd'"):
        find_recipe('zhang', **{'setting': 'smoke', what: 'odd'})

# Inversion

def test_decoders_before_the_pool_start_from_the_values_there():
    "Filters that undo the convolutions get all back: nothing of the pool is in between"
    conv = nn.Conv2d(1, 1, 1, bias=False)
    enc = macro_layers(nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(),
        nn.MaxPool2d(2)))
    dec = ConvsDecoder(enc)
    with torch.no_grad():
        for p in (*enc.parameters(), *dec.parameters()): p.fill_(1.)
        for up in dec.ups.values(): up.layers[0].bias.zero_()
    x = torch.rand(3, 1, 8, 8, generator=gen())
    assert max(level_errors(enc, dec, x).values())<1e-9

@pytest.mark.parametrize('norm', [False, True])
@pytest.mark.parametrize('c,h,w', [(1, 8, 8), (3, 29, 31)])
def test_decoders_before_the_pool_at_any_size(norm, c, h, w):
    enc = vgg_encoder(c, h, w, gen(), widths=(4, 6), norm=norm)
    dec = ConvsDecoder(enc, norm)
    code = coded(enc, dec, torch.rand(2, c, h, w))
    recon = dec(code, enc)
    assert {n: r.shape for n,r in recon.items()}=={n: code.taps[n].shape for n in recon}
    dec.loss(recon, code.taps).backward()
    assert all(p.grad is not None for p in dec.parameters())

@pytest.fixture(scope='module')
def inverted(tmp_path_factory):
    "The study of inversion on the digits, and its folder"
    folder = tmp_path_factory.mktemp('inverted')
    r = find_recipe('zhang', 'smoke', study='inversion', pretrain=dict(steps=60))
    return compare(digits, recipe=r, seeds=1, store=folder/'s', progress=False),folder/'s'

def test_rows_of_inversion(inverted):
    "What a row says of a decoder is what its net does"
    res,folder = inverted
    assert res.rows.value.nunique()==1
    own = fitted(folder, 'SAE')
    mean,sd = own.step.data['norm']
    found = level_errors(own.net.encoder, own.net.decoder, (digits.test.x/255-mean)/sd)
    row = res.rows[res.rows.arm=='SAE'].iloc[0]
    assert [row[f'lost_{n}'] for n in found]==pytest.approx([100*v for v in found.values()], rel=1e-3)
    assert row.image_macro1==row.lost_macro1 and row.image_macro2>row.image_macro1

def test_observations(inverted):
    rows = inverted[0].rows
    t = by_macro(rows)
    assert len(t)==6 and t[t.arm=='convs'].image.isna().all()
    lost = {a: t[t.arm==a].lost.mean() for a in ('convs', 'SWWAE', 'SAE')}
    seen = observations(rows).lost
    assert seen.tolist()==pytest.approx([lost['convs'], lost['SWWAE']-lost['convs'], lost['SAE']-lost['convs']])
    assert not len(by_macro(rows.drop(columns=[c for c in rows if c.startswith('lost_')])))

def test_pictures_of_every_macro_layer(inverted):
    seen = reconstructed(inverted[1], digits, 4)
    assert list(seen)==['image', 'SWWAE 1', 'SWWAE 2', 'SAE 1', 'SAE 2']
    assert all(o.shape==(4, 1, 8, 8) and 0<=o.min() and o.max()<=1 for o in seen.values())
    assert torch.allclose(seen['image'], digits.test.x[:4]/255, atol=1e-6)

# Studies

def test_unlabelled_arms_differ_in_what_they_reconstruct_alone():
    arms = find_recipe('zhang', 'quick', study='semi')['arms']
    free,own = (arms[a]['steps'] for a in ('SWWAE-all-unlabelled', 'SWWAE-all'))
    parts = [('pretrain', 'decode'), ('refit', 'decode'), ('joint', 'augment')]
    for (part,do),a,b in zip(parts, free[1:], own[1:]):
        assert a[part]==dict(unlabelled=True) and {**a, part: {}}==b and a['do']==do
    assert arms['compute_unlabelled']['steps'][1]['joint']['steps']==equal_compute(400, 400, unlabelled=True)==1867

def test_a_newer_version_of_a_recipe_takes_the_place_of_an_older_one(monkeypatch):
    "Arm by arm: what the newer version has not run stays"
    monkeypatch.syspath_prepend(Path(__file__).parents[1]/'tools')
    from record import newest
    rows = pd.DataFrame(dict(recipe='zhang', data='cifar10', arm=['a', 'a', 'b', 'reported'], labels=[1, 1, 1, 1],
        value=[1, 2, 3, 4],
        recipe_version=[1, 3, 1, np.nan]))
    assert newest(rows).value.tolist()==[2, 3, 4]

def test_joint_steps_and_their_controls_end_where_their_rate_does():
    ends = {s.fit['keep'] for s in plan(digits, recipe('smoke'), ['SWWAE-all', 'further', 'compute'], seeds=1)}
    assert ends=={'last'}

def test_unlabelled_images_are_cut_and_mirrored_as_labelled_ones_are():
    step, = plan(digits, recipe(study='semi', images=dict(augment=dict(size=6, flip=True))), ['SWWAE-all-unlabelled'],
        labels=[100], seeds=1)
    (x,free),_ = two_streams(step, digits, *(digits.train.take(o)
        for o in labelled(step, digits)[:2])).train.one_batch()
    assert x.shape[1:]==free.shape[1:]==(1, 6, 6)

@pytest.mark.parametrize('study', STUDIES)
def test_studies(study): check_recipe(find_recipe('zhang', 'quick', study=study))

def test_images_are_mirrored_where_that_means_the_same():
    seen = {d: find_recipe('zhang', 'quick', data=d)['images']['augment'].get('flip') for d in ('cifar10', 'mnist')}
    assert seen==dict(cifar10=True, mnist=None)

def test_training_images_are_scored(ran):
    "Whole, dropout off; the likeliest answer and the five likeliest"
    steps = variant_steps('SAE', 'all')
    _,net,res = ran(steps, joint=dict(weight=1.))[-1]
    step = plan(digits, recipe('smoke', arms=dict(own=dict(steps=steps))), labels=[100], seeds=1)[0]
    own,(mean,sd) = digits.train.take(labelled(step, digits)[0]),step.data['norm']
    with at_rest(net): order = net((own.x/255-mean)/sd)['logits'].argsort(1, descending=True)
    found = {n: 100*(order[:, :n]==own.y[:, None]).any(1).double().mean().item() for n in (1, 5)}
    assert (res['train'], res['columns']['train_top5'])==pytest.approx((found[1], found[5]), abs=1e-3)

def test_five_classes_have_no_top5(tmp_path):
    y = torch.arange(40)%5
    few = Splits('few', *(ImageSet(digits.train.x[:40], y, list('abcde'), layout='nchw') for _ in range(2)))
    r = find_recipe('zhang', 'smoke')
    with pytest.raises(ExperimentError, match="score 'top5' takes more than five classes: few has 5"):
        compare(few, ['classifier'], 20, 1, recipe=r, store=tmp_path/'s', score='top5', progress=False)
    assert not (tmp_path/'s').exists()

# Claims

SIX = [f'{k}-{o}' for k in POSITIONS for o in JUDGED]
SIGN = dict(holds=1, **{'does not hold': -1})

def made_rows(sign):
    "Recorded rows in which every claim holds (1) or none does (-1), far beyond their noise"
    rng,out = np.random.default_rng(0),[]
    def run(arm, seed, gain, data='cifar10', labels=4000, **more):
        seeds = dict(subset_seed=seed, encoder_seed=seed, head_seed=seed, subset=f'{data}{labels}-{seed}')
        who = dict(data=data, kind='fit', arm=arm, labels=labels, reading='fair', setting='quick', unit='%')
        base,noise = 50+seed/10,rng.normal(0, .01, 12)
        own = dict(value=base+sign*gain, top5=base+20+sign*gain, train=base+30+sign*more.pop('train', gain))
        own = {k: v+e for (k,v),e in zip(own.items(), noise)}
        more = {k: v+e for (k,v),e in zip(more.items(), noise[3:])}
        out.append(who | seeds | own | more)
    gains = {f'{k}-{o}': 20 + 2*(k=='SWWAE') + dict(first=0, layerwise=3, all=6)[o] for k in POSITIONS for o in JUDGED}
    trains = {f'{k}-{o}': 20 - 4*(o=='all') for k in POSITIONS for o in JUDGED}
    little,much = (3, 40) if sign>0 else (30, 5)
    for s in range(6):
        for arm,g in gains.items(): run(arm, s, g, train=trains[arm])
        for arm in ('further', 'compute', 'classifier'): run(arm, s, 0)
        for arm,g in {'SWWAE-all': 10, 'further': 0, 'compute_unlabelled': 0, 'SWWAE-all-unlabelled': 30}.items():
            run(arm, s, g, labels=500)
        run('compute_unlabelled', s, 0)
        run('SWWAE-all-unlabelled', s, gains['SWWAE-all']+5)
        for arm,g in {'SWWAE-all': 10, 'further': 0, 'classifier': 0}.items(): run(arm, s, g, data='cifar100')
        levels = [f'macro{i}' for i in range(1, 5)]
        lost = dict(convs=little, SWWAE=little+1 if sign>0 else much+40, SAE=little+much)
        for arm,v in lost.items():
            image = {f'image_{n}': 5+sign*i if arm=='SAE' else (2 if sign>0 else 60) for i,n in enumerate(levels)}
            run(arm, s, 0, **{f'lost_{n}': v for n in levels}, **(image if arm!='convs' else {}))
    return pd.DataFrame(out)

POOLS = 'pooling-loses-much','pooling-loses-more' # differences of errors that are upper bounds
UPPER = {'holds': POOLS, 'does not hold': (*POOLS, 'convolutions-lose-little', 'what-where-reconstructs')}

@pytest.mark.parametrize('outcome', SIGN)
def test_claims_are_settled_by_what_the_rows_say(outcome):
    "A low error of a decoder shows that little is lost; a high one is too short to show that much is"
    book = settle(CLAIMS, made_rows(SIGN[outcome]))
    expected = {c.name: outcome for c in CLAIMS} | dict.fromkeys(UPPER[outcome], 'too short')
    assert dict(zip(book.claim, book.outcome))==expected

def test_claims_without_rows_give_the_command():
    book = settle(CLAIMS, pd.DataFrame())
    assert set(book.outcome)=={'not run here'} and book.command.str.startswith('aepretrain compare cifar').all()
    assert set(book.reported)>={'no such control', 'minor', '+1.66 points'}

def test_a_missing_control_settles_nothing():
    rows = made_rows(1)
    book = settle(CLAIMS, rows[rows.arm!='further']).set_index('claim').outcome
    assert book['decoder-beats-further-steps']=='not run here' and book['decoder-lowers-error']=='holds'

@pytest.mark.parametrize('setting', ['smoke', 'digits', 'quick', 'wide', 'paper'])
@pytest.mark.parametrize('reading', ['fair', 'as_written'])
def test_settings(setting, reading):
    check_recipe(find_recipe('zhang', setting, reading=reading))

def test_what_a_comparison_keeps_is_the_net_that_was_scored(tmp_path):
    arms,r = ['SWWAE-layerwise', 'further'],find_recipe('zhang', 'smoke', joint=dict(weight=.1))
    res = compare(digits, arms, recipe=r, seeds=1, store=tmp_path/'s', progress=False)
    kept = fitted(tmp_path/'s', 'SWWAE-layerwise')
    right = kept.logits(digits.test).argmax(1)==digits.test.y
    assert list(res.rows.arm)==arms and 100*right.double().mean().item()==pytest.approx(res.rows.value[0], abs=.01)

def test_a_classifier_that_ends_an_arm_is_not_trained_again(tmp_path, monkeypatch):
    "Its row, its weights and its temperature are those of a classifier that nothing goes on from"
    ran = []
    def counted(step, *args):
        ran.append(step.do)
        return carry_out(step, *args)
    monkeypatch.setattr(work, 'carry_out', counted)
    how = dict(recipe=recipe('smoke'), seeds=1, keep='all', progress=False)
    both = compare('digits', ['classifier', 'further'], store=tmp_path/'both', **how)
    assert ran==['classify']*2  # the first, and its further steps
    alone = compare('digits', ['classifier'], store=tmp_path/'alone', **how)
    one,other = (r.rows[r.rows.arm.eq('classifier')].drop(columns=['seconds', 'images_s']) for r in (both, alone))
    pd.testing.assert_frame_equal(one[sorted(one)].reset_index(drop=True), other[sorted(other)].reset_index(drop=True),
        check_dtype=False)
    mine,theirs = (fitted(tmp_path/k, 'classifier') for k in ('both', 'alone'))
    assert mine.said==theirs.said and mine.said['valid_loss']>0
    assert all(torch.equal(v, theirs.net.state_dict()[k]) for k,v in mine.net.state_dict().items())
    assert both.curves[both.curves.arm.eq('classifier')].reset_index(drop=True).equals(alone.curves)

SHORT = [f'--set={k}={v}' for k,v in {'encoder.depth': 2, 'finetune.steps': 2, 'pretrain.steps': 1, 'refit.steps': 1,
    'joint.steps': 1,
    'joint.weight': .1}.items()]

@pytest.mark.slow
@pytest.mark.parametrize('arms,asked', [('SWWAE-all,further', ['--recipe', 'zhang', *SHORT]),
    ('joint', ['--method', 'joint',
    '--set', 'encoder.depth=2', '--set', 'joint.steps=2', '--set', 'joint.lr=.001'])])
def test_photographs_of_ones_own_with_a_vgg_of_timm(tmp_path, arms, asked):
    "From files to rows: decoders on a net of the library, and what is told of it"
    pytest.importorskip('timm')
    gen = np.random.default_rng(0)
    for name,at in dict(dark=40, light=200).items():
        (tmp_path/'own'/name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(gen.normal(at, 20, (16, 16, 3)), 0, 255).astype('uint8')
            Image.fromarray(pixels).save(tmp_path/'own'/name/f'{i}.png')
    line = ['compare', str(tmp_path/'own'), '--setting', 'smoke', '--encoder', 'vgg11_bn', '--labels', '10', '--seeds',
        '1']
    line += ['--arms', arms, *asked]
    assert main([*line, '--out', str(tmp_path/'out')])==0
    assert ','.join(read_results(tmp_path/'out').rows.arm)==arms
