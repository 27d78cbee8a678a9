"Arms that begin with the classifier of a file, in place of training one."
import shutil
import pytest
from aepretrain_nb.imports import *
from torchvision.models.vgg import cfgs, make_layers
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.build import built
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.recipe import check_recipe
from aepretrain_nb.experiment.step import chain
from aepretrain_nb.papers.zhang import recipe
from aepretrain_nb.train.transfer import read_weights

digits = dataset('digits')
ARMS = ['SWWAE-layerwise', 'further', 'classifier']

@pytest.fixture(scope='module')
def first(tmp_path_factory):
    "A classifier of the recipe's own net"
    res = compare(digits, ['classifier'], recipe=recipe('smoke'), seeds=1, store=tmp_path_factory.mktemp('a')/'s',
        progress=False)
    return res,res.store.kept()[0][2]

@pytest.fixture(scope='module')
def begun(first, tmp_path_factory):
    how = dict(recipe=recipe('smoke', classifier=first[1], joint=dict(weight=.1)), seeds=2)
    return compare(digits, ARMS, **how, store=tmp_path_factory.mktemp('b')/'s', progress=False)

def test_all_arms_begin_with_the_file_and_the_control_is_the_file(first, begun):
    res,_ = first
    firsts = {chain(s)[0].twin.key for s in begun.steps if s.seeds['head']==0}
    assert len(firsts)==1 and all(chain(s)[0].do=='load' for s in begun.steps)
    alone = begun.rows[begun.rows.arm=='classifier']
    assert set(alone.value)=={res.rows.value[0]} and set(alone.steps)=={0} and set(begun.rows.encoder)=={'file'}
    assert (begun.rows[begun.rows.arm=='further'].value!=res.rows.value[0]).any()

def test_decoders_leave_the_bytes_of_the_file(first, begun):
    file = read_weights(first[1])[0]
    decoded = next(s for s in chain(begun.steps[0]) if s.do=='decode')
    state = begun.store.net(decoded, digits).state_dict()
    assert file and all(torch.equal(state[k], v) for k,v in file.items())

def test_a_file_is_known_by_what_is_in_it(first, begun, tmp_path):
    moved = tmp_path/'moved.safetensors'
    shutil.copy(first[1], moved)
    there = recipe('smoke', classifier=moved, joint=dict(weight=.1))
    assert {s.key for s in plan(digits, there, ARMS, seeds=2)}=={s.key for s in begun.steps}

def test_a_folder_is_read_without_the_file(first, tmp_path):
    file = tmp_path/'here.safetensors'
    shutil.copy(first[1], file)
    res = compare(digits, ['classifier'], recipe=recipe('smoke', classifier=file), seeds=1, store=tmp_path/'s',
        progress=False)
    file.unlink()
    assert read_results(tmp_path/'s').rows.value.tolist()==res.rows.value.tolist()

@pytest.mark.parametrize('make,words', [(lambda f: None, 'no weight file'),
    (lambda f: f.write_bytes(b'x'), 'not a safetensors file'),
    (lambda f: torch.save(dict(w=torch.ones(2)), f.with_suffix('.pth')), None)])
def test_what_is_no_classifier_is_one_line_and_nothing_is_written(tmp_path, capsys, make, words):
    f = tmp_path/'c.safetensors'
    make(f)
    f = f if words else f.with_suffix('.pth')
    code = main(['compare', 'digits', '--recipe', 'zhang', '--setting', 'smoke', '--seeds', '1', '--set',
        f'classifier={f}',
        '--out', str(tmp_path/'out')])
    said = capsys.readouterr().err.strip().splitlines()
    assert code==2 and len(said)==1 and (words or 'encoder') in said[0] and not (tmp_path/'out').exists()

def published(width=16):
    """torchvision's VGG-11 on images of 32 pixels, with narrow layers on top; its average pool keeps maps of its own
    size"""
    torch.manual_seed(0)
    hidden = [o for n_in in (512, width) for o in (nn.Linear(n_in, width), nn.ReLU(), nn.Dropout())]
    top = nn.Sequential(*hidden, nn.Linear(width, 10))
    return nn.Sequential(OrderedDict(features=make_layers(cfgs['A']), flatten=nn.Flatten(), classifier=top)).eval()

def test_torchvisions_weights_are_its_net(tmp_path):
    "Each tensor finds its place: the same answers as torchvision's own net, at every macro-layer's end and on top"
    net,f = published(),tmp_path/'vgg11.pth'
    torch.save(net.state_dict(), f)
    own = dict(encoder=dict(of='torchvision:vgg11'), head=dict(hidden=[16, 16]), images=dict(augment=None))
    r = recipe('paper', classifier=f, **own)
    check_recipe(r)
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    images = ImageSet(x, torch.arange(4), [*'abcdefghij'])
    few = Splits('few', images, images)
    step = chain(plan(few, r, ['classifier'], [4], 1)[0])[0]
    ours = built(step, few, [(read_weights(f)[0], step.start[0].names)]).eval()
    with torch.no_grad(): assert torch.equal(ours(x), net(x))
