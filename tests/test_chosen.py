"""What a person asks of a recipe by name: an encoder, a method, weights from elsewhere; and the default recipe, whose
every arm trains."""
import inspect, json, shutil
from urllib.error import URLError
import pytest, torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from aepretrain_nb.again import again
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.augment import Augment
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.build import build_classifier
from aepretrain_nb.experiment.carry import carry_out, rehearse
from aepretrain_nb.experiment.chosen import chosen, published
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.methods import METHODS, encoder_for
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import check_recipe, find_recipe, merged
from aepretrain_nb.nets.zoo import encoder_name
from aepretrain_nb.experiment.run import learner, spend, stream
from aepretrain_nb.train.transfer import save_encoder

import timm # after ours, which see that torchvision can be imported
from torchvision import models

pytestmark = pytest.mark.usefixtures('no_pictures')

digits = dataset('digits')
shape = digits.train.shape
default = find_recipe('default', 'smoke', 'digits')
SHORT = dict(pretrain=dict(steps=4, evals=2, bs=16), finetune=dict(steps=4, evals=2, bs=16), seeds=dict(n=1),
    labels=dict(n=[40]))

# Every method with every small encoder

ENCODERS = dict(residual=dict(make='residual', width=4, pool='max'), conv=dict(make='conv', widths=[4, 8]),
    timm=dict(make='test_resnet', depth=3), torchvision=dict(make='torchvision:mnasnet0_5', depth=1))
REFUSED = {(m, e) for m in ('tied', 'what-where') for e in ENCODERS} - {('tied', 'conv'), ('what-where', 'conv'),
    ('what-where', 'residual')}

@pytest.mark.parametrize('encoder', [*list(ENCODERS)[:3], pytest.param('torchvision', marks=pytest.mark.slow)])
@pytest.mark.parametrize('method', METHODS)
def test_every_method_goes_with_every_encoder_or_says_in_one_line_why_not(method, encoder):
    "One batch of every step of every arm; what is refused names the method before anything is built from it"
    if (method, encoder) in REFUSED:
        with pytest.raises(ExperimentError, match=f'^method {method}: [^\n]+$'):
            chosen(default, shape, ENCODERS[encoder], method)
        return
    r = merged(chosen(default, shape, ENCODERS[encoder], method), SHORT)
    check_recipe(r)
    plan = Plan(digits, r)
    rehearse(plan.steps(), digits)
    assert len(plan.steps())==3 and len({s.key for s in plan.steps()})==3

def test_a_level_at_a_time_runs_to_its_end_and_trains_what_the_classifier_starts_from():
    r = merged(chosen(default, shape, 'conv', 'gradual'), SHORT)
    last = Plan(digits, r, arms=['pretrained']).steps()[0]
    phases,weights = [],()
    for step in last.parents[0].parents + last.parents:
        net,out = carry_out(step, digits, weights)
        phases.append(step.fit['phase']['top'])
        weights = [(net.state_dict(), {'': ''})]
    assert phases==list(encoder_for(r, shape).stages)[-2:] and out['valid']>0
    filled = build_classifier(last, digits, [(net.state_dict(), None)])
    for k,v in net.encoder.state_dict().items(): assert torch.equal(filled.encoder.state_dict()[k], v), k

def test_the_help_names_every_method():
    said = inspect.getsource(compare).partition('method=None, #')[2].partition('\n')[0]
    assert [m for m in METHODS if m not in said.replace(',', ' ').split()]==[]

# Encoders by name

def key_of(encoder): return Plan(digits, merged(chosen(default, shape, encoder), SHORT)).steps()[0].key

def test_a_result_does_not_depend_on_how_its_encoder_was_typed():
    assert key_of('resnet10t')==key_of('timm:resnet10t')==key_of(dict(make='resnet10t'))!=key_of('torchvision:resnet18')
    assert encoder_name('alexnet')=='torchvision:alexnet' and encoder_name('my.nets:small')=='my.nets:small'

def test_a_papers_net_has_the_size_of_the_setting():
    r = chosen(default, shape, 'kohlbrenner')
    assert r['encoder']==find_recipe('kohlbrenner', 'smoke')['encoder'] and r['decoder']['make']=='linear'
    assert chosen(default, shape, dict(make='kohlbrenner', width=.1))['encoder']['width']==.1

WRONG = [('--encoder resnet_18', "unknown encoder 'resnet_18'; did you mean 'resnet18'"),
    ('--encoder timm:resnet19', "timm has no net 'resnet19'"),
    ('--encoder torchvision:resnet_18', "torchvision has no net 'resnet_18'; did you mean 'resnet18'"),
    ('--encoder no.such:net', 'cannot be imported'),
    ('--encoder vit_tiny_patch16_224', 'vit_tiny_patch16_224'), ('--encoder kohlbrener', "did you mean 'kohlbrenner'"),
    ('--encoder resnet18 --set encoder.dept=2', "did you mean 'depth'"),
    ('--method mask', "unknown method 'mask'; did you mean 'masked'"),
    ('--weights nowhere.safetensors', 'no weight file nowhere.safetensors'),
    ('--pretrained', 'choose one of timm'), ('--encoder botnet50ts_256 --pretrained', 'published no weights')]

@pytest.mark.parametrize('words,say', WRONG)
def test_what_is_misspelt_is_said_in_one_line_and_nothing_is_written(words, say, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(f'compare digits --recipe kohlbrenner --setting smoke {words}'.split())==2
    err = capsys.readouterr().err.strip()
    assert say in err and '\n' not in err and not list(tmp_path.iterdir())

# Weights from elsewhere

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "name -> a file of a small ResNet for grey images, as timm, torchvision, someone's training loop and we write it"
    folder = tmp_path_factory.mktemp('weights')
    out = {n: folder/n for n in ('timm.safetensors', 'torchvision.pth', 'loop.pt', 'ours.safetensors')}
    net = timm.create_model('resnet18', in_chans=1, num_classes=7)
    save_file(net.state_dict(), out['timm.safetensors'])
    other = models.resnet18()
    other.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    torch.save(other.state_dict(), out['torchvision.pth'])
    torch.save(dict(state_dict={f'module.backbone.{k}': v for k,v in net.state_dict().items()}), out['loop.pt'])
    save_encoder(out['ours.safetensors'], encoder_for(chosen(default, shape, 'resnet18'), shape), {})
    return out

@pytest.mark.slow
def test_files_of_any_origin_are_arms_that_start_from_them(files, tmp_path):
    r = merged(chosen(default, shape, 'resnet18'), SHORT | dict(finetune=dict(steps=1, evals=1, bs=16)))
    res = compare(digits, recipe=r, arms='random', weights=list(files.values()), store=tmp_path/'s', progress=False)
    assert list(res.rows.arm)==['random', *(f'file:{f.stem}' for f in files.values())]
    assert res.rows.value.notna().all()
    assert res.rows.query("arm=='file:timm'").lr.item()==res.rows.query("arm=='file:loop'").lr.item()
    assert res.rows.query("arm=='file:timm'").value.item()==res.rows.query("arm=='file:loop'").value.item()

@pytest.mark.slow
def test_two_files_of_one_stem_are_two_arms(files, tmp_path):
    twin = tmp_path/'timm.safetensors'
    save_file(timm.create_model('resnet18', in_chans=1).state_dict(), twin)
    r = merged(chosen(default, shape, 'resnet18'), SHORT | dict(finetune=dict(steps=1, evals=1, bs=16)))
    res = compare(digits, recipe=r, arms='random', weights=[files['timm.safetensors'], twin], progress=False)
    assert res.rows.arm.str.startswith('file:timm-').sum()==2 and res.rows.arm.is_unique

@pytest.mark.slow
def test_weights_of_another_net_are_refused_before_anything_is_written(files, tmp_path):
    for encoder,say in (('resnet34', 'is not in the source'), ('resnet10t', 'it is of another net')):
        with pytest.raises(ValueError, match=f'^file:timm: .*{say}') as e:
            compare(digits, recipe=merged(default, SHORT), encoder=encoder, arms='random',
                weights=files['timm.safetensors'], store=tmp_path/'s')
        assert '\n' not in str(e.value) and not (tmp_path/'s').exists()

def test_a_deeper_net_of_the_same_blocks_is_no_source(tmp_path):
    f = tmp_path/'deep.safetensors'
    save_file(timm.create_model('resnet34', in_chans=1).state_dict(), f)
    with pytest.raises(ValueError, match='it is of another net'):
        compare(digits, recipe=merged(default, SHORT), encoder='resnet18', arms='random', weights=f)

@pytest.fixture
def hub(tmp_path, monkeypatch):
    "An empty cache of the hub, and no network: what is asked of it is kept in a list"
    from huggingface_hub import constants
    asked = []
    def refused(request, timeout):
        asked.append(request.full_url)
        raise URLError('Name or service not known')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path/'hub'))
    monkeypatch.setattr('aepretrain_nb.experiment.chosen.urlopen', refused)
    return asked

def test_without_a_network_one_line_says_what_was_wanted(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = 'compare digits --recipe kohlbrenner --setting smoke --encoder test_resnet --pretrained --root here'
    assert main(line.split())==2
    said,error = capsys.readouterr().err.strip().splitlines()
    at = 'https://huggingface.co/timm/test_resnet.r160_in1k'
    assert said==f'weights of test_resnet come from the network: {at}, about 2 MB'
    assert 'could not be fetched: this needs the network' in error and 'Name or service not known' in error
    assert hub==['https://huggingface.co/timm/test_resnet.r160_in1k'] and not list(tmp_path.iterdir())

def test_what_the_hub_has_in_its_cache_takes_no_network_and_is_fetched_once(hub, tmp_path):
    snapshot = tmp_path/'hub'/'models--timm--test_resnet.r160_in1k'
    for o in ('refs', 'snapshots/one'): (snapshot/o).mkdir(parents=True)
    (snapshot/'refs'/'main').write_text('one')
    net = timm.create_model('test_resnet')
    save_file(net.state_dict(), snapshot/'snapshots'/'one'/'model.safetensors')
    res = compare(digits, recipe=merged(default, SHORT), encoder='test_resnet', arms='random', pretrained=True,
        root=tmp_path, progress=False)
    assert list(res.rows.arm)==['random', 'file:test_resnet.r160_in1k-1'] and hub==[]
    f = published(chosen(default, shape, 'test_resnet'), 1, tmp_path)
    kept = load_file(f)
    torch.testing.assert_close(kept['conv1.0.weight'], net.state_dict()['conv1.0.weight'].sum(1, keepdim=True))
    shutil.rmtree(tmp_path/'hub')
    assert published(chosen(default, shape, 'test_resnet'), 1, tmp_path)==f and hub==[]

# The default recipe

def pictures(n=600, side=16):
    "Grey pictures of ten kinds of cloth, 16x16: stripes of two widths in five directions, under noise"
    gen = generator('pictures')
    y,(i,j) = torch.arange(n)%10,torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij')
    angle,rate,phase = (y%5)*torch.pi/5,torch.where(y<5, .6, 1.4),torch.rand(n, 1, 1, generator=gen)*6.3
    along = angle.cos()[:,None,None]*i + angle.sin()[:,None,None]*j
    x = 110+80*(rate[:,None,None]*along+phase).sin()+60*torch.rand(n, side, side, generator=gen)
    return ImageSet(x.byte(), y)

@pytest.mark.parametrize('data', ['digits', pytest.param('pictures', marks=pytest.mark.slow)])
def test_no_arm_of_the_default_recipe_is_at_chance(data):
    own = digits if data=='digits' else Splits('pictures', pictures().take(range(400)),
        pictures().take(range(400, 600)))
    res = compare(own, recipe='default', setting='smoke', labels=[100, 300], seeds=1, progress=False)
    low = res.rows[res.rows.value<res.rows.chance+8]
    assert list(res.rows.arm.unique())==['pretrained', 'random',
        'frozen_random'] and low.empty, low[['arm', 'labels', 'value']].to_string()
    assert json.loads(json.dumps(res.steps[0].data['norm']))==res.steps[0].data['norm']

def test_digits_do_not_flip_and_own_images_do_unless_told():
    flips = {d: find_recipe('default', 'smoke', d)['images']['augment'].get('flip', False)
        for d in ('digits', 'mnist', 'fashion_mnist', 'mine')}
    assert flips==dict(digits=False, mnist=False, fashion_mnist=True, mine=True)
    told = find_recipe('default', 'smoke', 'mine', images=dict(augment=dict(crop=2)))
    assert told['images']['augment']==dict(crop=2)

@pytest.mark.slow
def test_every_arm_seeks_its_rate():
    r = merged(find_recipe('default', 'digits', 'digits'), SHORT)
    res = compare(digits, recipe=r, progress=False)
    assert set(res.tuning.arm)=={'pretrained', 'random', 'frozen_random'} and res.tuning.groupby('arm').size().min()>=2

def test_an_autoencoder_ends_when_it_stops_improving():
    own = Splits('blank', ImageSet(torch.full((60, 1, 8, 8), 9, dtype=torch.uint8), torch.arange(60)%2),
        ImageSet(torch.full((20, 1, 8, 8), 9, dtype=torch.uint8), torch.arange(20)%2))
    r = merged(default, dict(pretrain=dict(steps=400, evals=40, patience=2, least_gain=.9)))
    step = Plan(own, r, arms='pretrained', labels=[20], seeds=1).steps()[0].parents[0]
    _,res = carry_out(step, own)
    assert res['steps']<400 and len(res['curve'])==len(res['losses'])<40

def test_one_cycle_rises_to_its_rate_and_falls():
    step = Plan(digits, merged(default, SHORT | dict(finetune=dict(steps=40, evals=2, lr=.01))), arms='random',
        labels=[40]).steps()[0]
    learn = learner(step, build_classifier(step, digits),
        stream(step, digits.train.take(range(40)), digits.train.take(range(10))), F.cross_entropy)
    spend(learn, step, .01)
    lrs = learn.recorder.lrs
    assert len(lrs)==40 and max(lrs)==pytest.approx(.01, rel=.02) and lrs[0]<.001 and lrs[-1]<.001
    assert 8<=lrs.index(max(lrs))<=12

def test_one_cycle_wants_a_momentum():
    with pytest.raises(ExperimentError,
        match="finetune.schedule is 'one_cycle', which moves a momentum: adagrad has none"):
        check_recipe(merged(default, dict(finetune=dict(opt='adagrad', weight_decay=None))))

@pytest.mark.parametrize('crop', [1.5, -.1, True, '4'])
def test_a_crop_is_pixels_or_a_share(crop):
    with pytest.raises(DataError, match='whole pixels, 0 or more, or a share below 1'): Augment(crop=crop)

@pytest.mark.parametrize('data', ['digits', 'fashion_mnist'])
def test_the_command_that_makes_a_folder_again_says_no_more_than_was_asked(data):
    r = find_recipe('default', 'smoke', data, finetune=dict(steps=7))
    lines,_ = again(r, data, [dict(labels=[40])])
    assert lines==f'aepretrain compare {data} --recipe default --setting smoke --set finetune.steps=7 --labels 40'
