"A classifier as a convolution: torchvision's VGG-16, weights from a file, images of any size."
import itertools
import pytest
from aepretrain_nb.imports import *
from PIL import Image
from torchvision import models, transforms
from aepretrain_nb.experiment.build import fill
from aepretrain_nb.nets.macro import macro_encoder, vgg_encoder
from aepretrain_nb.train.named_heads import linear_head, mlp_head
from aepretrain_nb.train.schemes import Convolutional, rescaled, scheme_errors
from aepretrain_nb.train.transfer import Classifier, read_weights

def gen(s=0): return torch.Generator().manual_seed(s)

@pytest.fixture(scope='module')
def vgg():
    "torchvision's VGG-16, with ten classes and weights that nobody trained"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.vgg16(weights=None, init_weights=False, num_classes=10).eval()

@pytest.fixture(scope='module')
def ours(vgg, tmp_path_factory):
    "Its macro-layers, filled from a local file, under its own classifier"
    file = tmp_path_factory.mktemp('vgg')/'vgg16.pth'
    torch.save(vgg.features.state_dict(prefix='features.'), file)
    net = Classifier(macro_encoder(3, 224, 224, of='torchvision:vgg16'), nn.Sequential(nn.Flatten(), vgg.classifier))
    fill(net, read_weights(file)[0])
    return net.eval()

def logits(net, x):
    with torch.no_grad(): return net(x)

def test_vgg16_from_a_file_is_torchvisions(vgg, ours):
    x = torch.rand(1, 3, 224, 224, generator=gen())
    assert ours.encoder(x).shape==(1, 512, 7, 7)
    torch.testing.assert_close(logits(ours, x), logits(vgg, x), atol=1e-5, rtol=1e-5)

def test_vgg16_as_a_convolution(vgg, ours):
    "One place on an image of crop size; elsewhere the mean over windows of its last map"
    slides = Convolutional(ours, (7, 7))
    x = torch.rand(1, 3, 256, 320, generator=gen(1))
    crop = x[:, :, :224, :224]
    torch.testing.assert_close(logits(slides, crop), logits(ours, crop), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        z = ours.encoder(x)
        windows = [ours.head(z[:, :, i:i+7, j:j+7]) for i,j in itertools.product(range(2), range(4))]
    assert z.shape[2:]==(8, 10)
    torch.testing.assert_close(logits(slides, x), torch.stack(windows).mean(0), atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('make', [linear_head, partial(mlp_head, hidden=12, dropout=.5)])
@pytest.mark.parametrize('norm', [False, True])
@pytest.mark.parametrize('side', [16, 19])
def test_crop_size_gives_the_same(make, norm, side):
    enc = vgg_encoder(3, side, side, gen(), widths=(4, 6), norm=norm)
    net = Classifier(enc, make(enc, 3, side, side, 7, gen(1))).eval()
    x = torch.rand(5, 3, side, side, generator=gen(2))
    torch.testing.assert_close(logits(Convolutional(net, (side//4, side//4)), x), logits(net, x), atol=1e-5, rtol=1e-5)

def test_weights_are_shared():
    enc = vgg_encoder(3, 16, 16, gen(), widths=(4, 6))
    net = Classifier(enc, linear_head(enc, 3, 16, 16, 7, gen(1))).eval()
    slides,x = Convolutional(net, (4, 4)),torch.rand(1, 3, 16, 16)
    with torch.no_grad(): net.head[-1].weight.zero_()
    assert torch.equal(logits(slides, x)[0], net.head[-1].bias)

@pytest.mark.parametrize('head,words',
    [(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 'begins with AdaptiveAvgPool2d'),
    (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)), 'has a BatchNorm1d')])
def test_what_is_no_convolution(head, words):
    with pytest.raises(ValueError, match=words): Convolutional(Classifier(nn.Identity(), head), (2, 2))

@pytest.fixture
def pictures(tmp_path):
    rng,files = np.random.default_rng(0),[tmp_path/f'{i}.png' for i in range(5)]
    for f,hw in zip(files, ((40, 61), (70, 33), (50, 50), (24, 31), (31, 24))):
        Image.fromarray(rng.integers(0, 256, (*hw, 3), dtype='uint8')).save(f)
    return files

@pytest.mark.parametrize('edge', [20, 24, 37])
def test_the_shorter_edge_as_torchvision_has_it(pictures, edge):
    theirs = transforms.Compose([transforms.Resize(edge), transforms.PILToTensor()])
    for f in pictures: assert torch.equal(rescaled(f, edge), theirs(Image.open(f)))

def test_errors_of_both_schemes(pictures):
    "By hand: the window in the centre, and all windows of the last map"
    enc = vgg_encoder(3, 16, 16, gen(), widths=(4, 8))
    net,y = Classifier(enc, linear_head(enc, 3, 16, 16, 7, gen(1))).eval(),[0, 1, 2, 3, 4]
    centre = transforms.CenterCrop(16)
    seen = [(rescaled(f, 20)/255-.4)/.2 for f in pictures]
    told = torch.stack([logits(net, centre(o)[None])[0] for o in seen])
    slid = torch.stack([logits(Convolutional(net, (4, 4)), o[None])[0] for o in seen])
    found = scheme_errors(net, pictures, y, 16, edge=20, norm=(.4, .2))
    for scheme,out in dict(crop=told, convolution=slid).items():
        for top in (1, 5):
            hits = [c in o.topk(top).indices for o,c in zip(out, y)]
            assert found.loc[scheme, f'top{top}']==pytest.approx(100-100*np.mean(hits), abs=1e-3)
