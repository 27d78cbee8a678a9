"Official sets of photographs on small generated trees: VOC 2007 and 2012, ImageNet, parts by class, STL-10's stand-in."
from aepretrain_nb.imports import *
import shutil, pytest
from PIL import Image
from torchvision import datasets as tvd
from aepretrain_nb.cli import main
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.classes import ANIMALS, VEHICLES, Part, StandIn, of_classes, read_list
from aepretrain_nb.data.imagenet import ImageNet, class_folder
from aepretrain_nb.data.named import DATASETS, dataset, verify
from aepretrain_nb.data.photographs import read_photographs
from aepretrain_nb.data.voc import VOC, VOC_CLASSES, draw_voc, things_shown

OWN = [n for n,s in DATASETS.items() if isinstance(s.reader, str) and 'ckplus' not in n]
real = Path(os.environ.get('AEPRETRAIN_DATA', 'data'))

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv('AEPRETRAIN_CACHE', str(tmp_path/'cache'))

@pytest.fixture(scope='module')
def voc(tmp_path_factory): return draw_voc(tmp_path_factory.mktemp('voc'), 20)

@pytest.fixture
def imagenet(tmp_path):
    wnids = {f'n{i:08}': (name,) for i,name in ((1, 'crane'), (2, 'crane'), (3, 'truck'))}
    for part,n in dict(train=5, val=2).items():
        for k,wnid in enumerate(wnids):
            (tmp_path/'imagenet'/part/wnid).mkdir(parents=True)
            for i in range(n): Image.new('RGB', (30, 20), (80*k, 10*i, 0)).save(tmp_path/'imagenet'/part/wnid/f'{i}.JPEG', quality=100)
    torch.save((wnids, []), tmp_path/'imagenet'/'meta.bin')
    return tmp_path

@pytest.mark.parametrize('name', OWN)
def test_what_is_missing_says_where_it_belongs_in_one_line(name, tmp_path, capsys):
    with pytest.raises(DataError) as e: dataset(name, tmp_path)
    assert '\n' not in str(e.value) and str(tmp_path) in str(e.value)
    assert set(verify(name, tmp_path).status)=={'missing'}
    assert main(['data', 'get', name, '--root', str(tmp_path)])==2 and capsys.readouterr().err.count('\n')==1

# VOC

def test_voc07_is_what_torchvision_reads(voc):
    sp = VOC(voc).splits(size=32)
    assert (sp.name, sp.train.task, len(sp.train), len(sp.test), sp.train.classes)==('voc07', 'multi-label', 20, 20, VOC_CLASSES)
    for o,part in ((tvd.VOCDetection(voc, '2007', 'trainval'), sp.train), (tvd.VOCDetection(voc, '2007', 'test'), sp.test)):
        for i in (0, 3, 11):
            im,said = o[i]
            easy = {t['name'] for t in said['annotation']['object'] if t['difficult']=='0'}
            assert {VOC_CLASSES[k] for k in part.y[i].nonzero()[:,0]}==easy
            want = np.asarray(im.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
            assert np.abs(part.x[i].numpy().astype(int)-want).mean()<2

def test_difficult_things_do_not_count(tmp_path):
    f = tmp_path/'a.xml'
    f.write_text('<annotation><object><name>dog</name><difficult>1</difficult></object></annotation>')
    assert not things_shown(f).any()
    f.write_text('<annotation><object><name>dog</name><difficult>1</difficult></object><object><name>dog</name><difficult>0</difficult></object></annotation>')
    assert things_shown(f).nonzero()[:,0].tolist()==[VOC_CLASSES.index('dog')]

def test_voc12_has_masks_and_what_does_not_count(voc):
    sp = VOC(voc).splits('2012', 90)
    assert (sp.name, sp.train.task, sp.train.classes[0], sp.train.n_classes)==('voc12', 'segment', 'background', 21)
    o = tvd.VOCSegmentation(voc, '2012', 'train')
    want = np.asarray(o[3][1])
    inner = sp.train.y[3].numpy()[5:85]
    assert np.array_equal(inner, want) and (sp.train.y[3][:5]==255).all() and (want==255).any()
    assert len(sp.test)==20 and sp.digest!=VOC(voc).splits('2012', 64).digest

def test_a_broken_voc_is_named(voc, tmp_path):
    root = shutil.copytree(voc, tmp_path/'v')
    home = root/'VOCdevkit'
    (home/'VOC2007/JPEGImages/2007_000002.jpg').unlink()
    with pytest.raises(DataError, match='2007_000002.jpg'): VOC(root).splits(size=16)
    (home/'VOC2012/SegmentationClass/2012_100001.png').write_bytes(b'')
    with pytest.raises(DataError, match='2012_100001.png: an empty file'): VOC(root).splits('2012', 16)
    (home/'VOC2007/ImageSets/Main/test.txt').unlink()
    with pytest.raises(DataError, match='ImageSets/Main/test.txt in'): VOC(root)._read('2007', 'Main', 'test')
    assert VOC(root).verify().status.tolist()==['altered', 'missing', 'altered', 'altered']

# ImageNet

def test_imagenet_is_what_torchvision_lists(imagenet):
    sp = ImageNet(imagenet).splits(size=16)
    o = tvd.ImageNet(imagenet/'imagenet', 'train')
    assert sp.train.y.tolist()==o.targets and sp.train.classes==['n00000001 crane', 'n00000002 crane', 'n00000003 truck']
    assert len(sp.test)==6 and (sp.train.x[:,0].float().mean((1,2))-80*sp.train.y).abs().max()<3

def test_synsets_are_picked_by_a_list(imagenet):
    (imagenet/'imagenet'/'vehicles.txt').write_text('n00000003 truck\n')
    sp = ImageNet(imagenet).splits('vehicles', 4, 16)
    assert (sp.name, len(sp.train), len(sp.unlabelled), sp.train.classes, len(sp.test))==('imagenet_vehicles', 4, 4, ['n00000003 truck'], 2)
    (imagenet/'imagenet'/'vehicles.txt').write_text('n00000009\n')
    with pytest.raises(DataError, match="no class 'n00000009'"): ImageNet(imagenet).splits('vehicles', 4, 16)

@pytest.mark.parametrize('harm,match', [(lambda f: (f/'meta.bin').unlink(), 'no meta.bin in'), (lambda f: shutil.rmtree(f/'val'), 'no val in'),
    (lambda f: (f/'meta.bin').write_bytes(b'x'), 'imagenet in'), (lambda f: [o.unlink() for o in (f/'train'/'n00000002').iterdir()], 'imagenet in')])
def test_a_broken_imagenet_ends_in_one_line(imagenet, harm, match):
    harm(imagenet/'imagenet')
    with pytest.raises(DataError, match=match) as e: ImageNet(imagenet).splits(size=16)
    assert '\n' not in str(e.value)

def test_a_folder_of_classes_serves_by_a_file(imagenet):
    (imagenet/'list.txt').write_text('n00000001\nn00000003\n')
    o = class_folder(imagenet/'imagenet'/'train', imagenet/'list.txt', 6, 16)
    assert torch.bincount(o.y).tolist()==[3, 3] and o.unlabelled().y is None and o.classes==['n00000001', 'n00000003']

def test_photographs_come_in_the_order_of_the_list_and_from_the_cache(imagenet):
    names = [f'train/n0000000{k}/{i}.JPEG' for k,i in ((3, 0), (1, 4), (2, 2))]
    x = read_photographs(imagenet/'imagenet', names, 8)
    assert [round(v) for v in x[:,0].mean((1,2))]==pytest.approx([160, 0, 80], abs=3)
    assert np.array_equal(x, read_photographs(imagenet/'imagenet', names, 8)) and isinstance(x, np.memmap)

# Parts

def test_parts_are_nested_and_in_proportion():
    y = torch.arange(1000)%10
    a,b = (set(of_classes(y, [1, 2, 5], n).tolist()) for n in (30, 90))
    assert a<b and len(b)==90 and {int(y[i]) for i in b}=={1, 2, 5}
    assert of_classes(y, [4]).tolist()==list(range(4, 1000, 10))

def test_a_list_of_classes_that_is_none(tmp_path):
    (tmp_path/'empty.txt').write_text('\n')
    (tmp_path/'bytes.txt').write_bytes(b'\xff\xfe\x00')
    for f in ('gone', 'empty', 'bytes'):
        with pytest.raises(DataError) as e: read_list(tmp_path/f'{f}.txt')
        assert '\n' not in str(e.value) and f in str(e.value)

@pytest.mark.skipif(not (real/'cifar-10-batches-py').is_dir(), reason='no CIFAR-10')
def test_animals_vehicles_and_the_stand_in_of_cifar10():
    for name,words in dict(cifar10_animals=ANIMALS, cifar10_vehicles=VEHICLES).items():
        sp,src = dataset(name, real),DATASETS[name]
        assert (len(sp.train), len(sp.test), len(sp.unlabelled))==(src.train, src.test, src.unlabelled)
        assert {sp.train.classes[i] for i in sp.train.y.unique()}==set(words) and sp.as_loaded()
    sp,src = dataset('stl10_standin', real),DATASETS['stl10_standin']
    assert (len(sp.train), len(sp.test), len(sp.unlabelled), [len(o) for o in sp.folds])==(src.train, src.test, src.unlabelled, [1000]*10)
    assert sp.name=='stl10_standin' and sp.content==StandIn(real).splits().content

def test_a_part_needs_its_classes(tmp_path):
    with pytest.raises(DataError, match="no class 'ten'"): Part(tmp_path).splits('x', 'digits', ['ten'], 10)
