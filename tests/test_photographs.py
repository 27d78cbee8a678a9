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
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.default import default_recipe
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import merged
from aepretrain_nb.experiment.run import judged_dl
from aepretrain_nb.train.task import task_of

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
            for i in range(n):
                Image.new('RGB', (30, 20), (80*k, 10*i, 0)).save(tmp_path/'imagenet'/part/wnid/f'{i}.JPEG', quality=100)
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
    assert (sp.name, sp.train.task, len(sp.train), len(sp.test),
        sp.train.classes)==('voc07', 'multi-label', 20, 20, VOC_CLASSES)
    for o,part in ((tvd.VOCDetection(voc, '2007', 'trainval'), sp.train),
        (tvd.VOCDetection(voc, '2007', 'test'), sp.test)):
        for i in (0, 3, 11):
            im,said = o[i]
            easy,hard = ({t['name'] for t in said['annotation']['object'] if t['difficult']==d} for d in '01')
            for mark,names in ((1, easy), (255, hard-easy)):
                assert {VOC_CLASSES[k] for k in (part.y[i]==mark).nonzero()[:,0]}==names
            want = np.asarray(im.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
            assert np.abs(part.x[i].numpy().astype(int)-want).mean()<2

@pytest.mark.parametrize('difficult,mark', [('1', 255), ('10', 1), ('01', 1), ('0', 1), ('11', 255), ('', 0)])
def test_a_class_shown_in_difficult_things_alone_is_marked(difficult, mark, tmp_path):
    f,cat = tmp_path/'a.xml','<object><name>cat</name><difficult>0</difficult></object>'
    f.write_text(f'<annotation>{cat}' + ''.join(f'<object><name>dog</name><difficult>{d}</difficult></object>'
        for d in difficult) + '</annotation>')
    y = dict(zip(VOC_CLASSES, things_shown(f).tolist()))
    assert y.pop('dog')==mark and {k: v for k,v in y.items() if v}==dict(cat=1)

def lists_of(voc, part):
    "What the devkit's lists of the classes say: 1, 0 or -1 for each image"
    folder = voc/'VOCdevkit/VOC2007/ImageSets/Main'
    return torch.tensor([[int(line.split()[1]) for line in (folder/f'{c}_{part}.txt').read_text().splitlines()]
        for c in VOC_CLASSES]).T

def by_the_devkit(out, gt, points):
    "The devkit's evaluation of one class: 0 is neither a hit nor a miss"
    gt = gt[(-out).argsort(stable=True)]
    tp,fp = (gt>0).cumsum(0).double(),(gt<0).cumsum(0).double()
    rec,prec = tp/tp[-1],tp/(tp+fp).clamp(min=1)
    if points: return 100*np.mean([prec[rec>=t/(points-1)-1e-9].max().item() for t in range(points)])
    return 100*prec[gt>0].mean().item()

def test_marks_are_those_of_the_devkits_lists(voc):
    sp,marks = VOC(voc).splits(size=16),{1: 1, -1: 0, 0: 255}
    for part,o in dict(trainval=sp.train, test=sp.test).items():
        gt = lists_of(voc, part)
        assert o.y.tolist()==[[marks[g] for g in row] for row in gt.tolist()] and (gt==0).any()
        assert o.present()==[c for c,shows in zip(VOC_CLASSES, (gt>0).any(0)) if shows]

def test_scores_are_those_of_the_devkit(voc):
    gt,tally = lists_of(voc, 'test'),task_of('multi-label').tally()
    out = torch.randn(len(gt), 20, generator=torch.Generator().manual_seed(0)) + 3*(gt==0)
    tally.add(out, VOC(voc).splits(size=16).test.y)
    for name,points in dict(map=None, map11=11).items():
        each = [by_the_devkit(out[:,c], gt[:,c], points) for c in range(20)]
        assert tally.scores()[name]==pytest.approx(np.mean(each), abs=1e-3)
        if not points: assert tally.each==pytest.approx(each, abs=1e-3)
    counted = (gt!=0).sum(0)
    assert task_of('multi-label').chance(VOC(voc).splits(size=16).test.y)['map']==pytest.approx(100*(
        (gt>0).sum(0)/counted).mean().item(), abs=1e-3)

def test_difficult_things_neither_train_nor_score_a_net(voc):
    "A net is the same, and scored the same, whatever would have been said of what does not count"
    sp = VOC(voc).splits(size=16)
    r = merged(default_recipe('smoke', 'voc07') | dict(arms=dict(random=dict(steps=['classify']))),
        dict(labels=dict(n=[20], policy='uniform'), seeds=dict(n=1), finetune=dict(steps=4, evals=1, bs=8)))
    step, = Plan(sp, r).steps()
    net,found = carry_out(step, sp)
    x,y = next(iter(judged_dl(step, sp.test)))
    with torch.no_grad(): out = net.eval()(x)
    gt = lists_of(voc, 'test')
    assert found['each']==pytest.approx([by_the_devkit(out[:,c], gt[:,c], None) for c in range(20)], abs=1e-3)
    assert math.isfinite(found['value'])
    loss = task_of('multi-label').loss()
    grads = torch.autograd.grad(loss(z := out.clone().requires_grad_(), y), z)[0]
    assert (grads[y==255]==0).all() and (grads[y!=255]!=0).all()
    assert loss(out, y)==loss(out + 5*(y==255), y)
    assert found['chance']==pytest.approx(np.mean([100*((c==1).sum()/(c!=255).sum()).item()
        for c in sp.test.y.T if (c==1).any()]), abs=1e-3)

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
    assert sp.train.y.tolist()==o.targets
    assert sp.train.classes==['n00000001 crane', 'n00000002 crane', 'n00000003 truck']
    assert len(sp.test)==6 and (sp.train.x[:,0].float().mean((1,2))-80*sp.train.y).abs().max()<3

def test_synsets_are_picked_by_a_list(imagenet):
    (imagenet/'imagenet'/'vehicles.txt').write_text('n00000003 truck\n')
    sp = ImageNet(imagenet).splits('vehicles', 4, 16)
    assert (sp.name, len(sp.train), len(sp.unlabelled), sp.train.classes, len(sp.test))==('imagenet_vehicles', 4, 4,
        ['n00000003 truck'], 2)
    (imagenet/'imagenet'/'vehicles.txt').write_text('n00000009\n')
    with pytest.raises(DataError, match="no class 'n00000009'"): ImageNet(imagenet).splits('vehicles', 4, 16)

@pytest.mark.parametrize('harm,match', [(lambda f: (f/'meta.bin').unlink(), 'no meta.bin in'),
    (lambda f: shutil.rmtree(f/'val'), 'no val in'),
    (lambda f: (f/'meta.bin').write_bytes(b'x'), 'imagenet in'),
    (lambda f: [o.unlink() for o in (f/'train'/'n00000002').iterdir()], 'imagenet in')])
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
    assert (len(sp.train), len(sp.test), len(sp.unlabelled), [len(o) for o in sp.folds])==(src.train, src.test,
        src.unlabelled, [1000]*10)
    assert sp.name=='stl10_standin' and sp.content==StandIn(real).splits().content

def test_a_part_needs_its_classes(tmp_path):
    with pytest.raises(DataError, match="no class 'ten'"): Part(tmp_path).splits('x', 'digits', ['ten'], 10)
