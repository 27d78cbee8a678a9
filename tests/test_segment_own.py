"""Folders of images and masks as people have them: layouts, numbers, sizes, parts, what is refused; compared and looked
at from the command line"""
import importlib
import numpy as np, pandas as pd, pytest, torch
from pathlib import Path
from types import SimpleNamespace
from hypothesis import given, settings, strategies as st
from PIL import Image
from aepretrain_nb.answers.results import Results
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.asked import look_at, named_or_own
from aepretrain_nb.data.decode import RESIZES, to_size
from aepretrain_nb.data.masks import mask_from_size, mask_to_size, read_mask, read_masked
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.experiment.alone import for_pretraining
from aepretrain_nb.experiment.fitted import fitted
from aepretrain_nb.experiment.for_masks import segment_recipe
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.methods import METHODS
from aepretrain_nb.experiment.recipe import pick_arms
from aepretrain_nb.experiment.run import judged_dl

@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch): monkeypatch.setenv('AEPRETRAIN_CACHE', str(tmp_path_factory.mktemp('cache')))

def scene(i, h=12, w=16):
    "An image with a bright square on a dark ground, and its mask"
    r = np.random.default_rng(i)
    y = np.zeros((h,w), 'uint8')
    top,left = r.integers(0, h-5),r.integers(0, w-5)
    y[top:top+5, left:left+5] = 1
    return np.clip(r.normal(60, 20, (h,w,3)) + 130*y[...,None], 0, 255).astype('uint8'),y

def save(a, path, palette=None, **kw):
    path.parent.mkdir(parents=True, exist_ok=True)
    im = Image.fromarray(a)
    if palette: im.putpalette(palette)
    im.save(path, **kw)

def folder(root, n=10, masks=None, image='images/{}.png', mask='masks/{}.png', change=lambda y, i: y):
    "A folder of `n` images, the first of which have masks"
    for i in range(n):
        x,y = scene(i)
        save(x, root/image.format(i))
        if i<(n if masks is None else masks): save(change(y, i), root/mask.format(i))
    return root

def why(own): return dict(zip(own.account.skipped.name, own.account.skipped.why))
def says(f, *words):
    with pytest.raises(DataError) as e: f()
    assert '\n' not in str(e.value)
    for w in words: assert w in str(e.value), str(e.value)

# Layouts

LAYOUTS = [('images/{}.png','masks/{}.png'), ('img/{}.png','labels/{}_mask.png'),
    ('Images/{}.png','Annotations/{}.PNG'), ('JPEGImages/{}.png','SegmentationClass/{}.png'),
    ('{}.png','masks/{}.png'), ('images/a/{}.png','masks/a/{}.png'), ('images/{}.png','labels/{}_P.png')]

@pytest.mark.parametrize('image,mask', LAYOUTS)
def test_layouts_without_parts(tmp_path, image, mask):
    own = read_masked(folder(tmp_path, image=image, mask=mask))
    assert own.account.parts==dict(train=8, test=2) and not len(own.account.skipped)
    assert any('test images were drawn' in o for o in own.account.notes)

@pytest.mark.parametrize('image,mask', [('{p}/images/{{}}.png','{p}/masks/{{}}.png'),
    ('images/{p}/{{}}.png','masks/{p}/{{}}.png'), ('{p}/{{}}.png','{p}annot/{{}}.png'),
    ('{p}_images/{{}}.png','{p}_labels/{{}}.png'), ('images/{p}/{{}}.png','masks/{{}}.png')])
def test_layouts_with_parts(tmp_path, image, mask):
    for k,(p,n) in enumerate(dict(train=6, val=3, test=4).items()):
        for i in range(10*k, 10*k+n):
            x,y = scene(i)
            save(x, tmp_path/image.format(p=p).format(i))
            save(y, tmp_path/mask.format(p=p).format(i))
    own = read_masked(tmp_path)
    assert own.account.parts==dict(train=9, test=4)
    assert any('the 3 images of the validation part train' in o for o in own.account.notes)
    y = dict(zip(own.given.table.name, own.masks))
    assert np.array_equal(y[image.format(p='test').format(20)], scene(20)[1])

def test_same_names_in_two_parts_stay_apart(tmp_path):
    for p,i in (('train',0), ('train',1), ('test',0)):
        x,y = scene(i + 5*(p=='test'))
        save(x, tmp_path/p/f'{i}.png'); save(y, tmp_path/f'{p}annot'/f'{i}.png')
    own = read_masked(tmp_path)
    at = list(own.given.table.name).index('test/0.png')
    assert np.array_equal(own.masks[at], scene(5)[1])

def test_a_draw_stays_what_it_was(tmp_path):
    def test_part(): return set(read_masked(tmp_path).account.table.query("part=='test'").name)
    folder(tmp_path, 10)
    first = test_part()
    folder(tmp_path, 20)
    assert first<test_part() and len(test_part())==4

# What is no pair

def test_every_file_that_is_left_over_is_named(tmp_path):
    folder(tmp_path, 12, 8)
    save(scene(0)[1], tmp_path/'masks'/'99.png')
    save(scene(0)[0], tmp_path/'depth'/'0.png')
    save(scene(0)[1][:5], tmp_path/'masks'/'0.png')
    save(scene(0)[0], tmp_path/'masks'/'1.png')
    save(np.full((12,16), 255, 'uint8'), tmp_path/'masks'/'2.png')
    (tmp_path/'masks'/'3.png').write_bytes((tmp_path/'masks'/'4.png').read_bytes()[:50])
    (tmp_path/'masks'/'notes.txt').write_text('x')
    own = read_masked(tmp_path)
    said = why(own)
    assert said['masks/99.png']=='a mask without an image'
    assert said['depth/0.png']=='in a folder neither of images nor of masks'
    assert said['masks/0.png']=='a mask of 5x16 for an image of 12x16'
    assert said['masks/1.png'].startswith('a picture in colours')
    assert said['masks/2.png']=='a mask in which no pixel counts' and said['masks/3.png']
    assert "ending '.txt'" in said['masks/notes.txt']
    assert own.account.parts==dict(train=3, test=1, unlabelled=8) and len(own.splits().unlabelled)==11
    says(lambda: read_masked(tmp_path, strict=True), 'files cannot be taken')

@pytest.mark.parametrize('make,words', [(lambda p: folder(p, 6, 0), 'holds no masks'),
    (lambda p: folder(p, 3, image='masks/x{}.png'), 'holds no images'),
    (lambda p: folder(p, change=lambda y, i: np.stack([y*200, y, y], -1)),
    'a picture in colours: classes are numbers from 0'),
    (lambda p: folder(p, change=lambda y, i: y*0), 'nothing to tell apart'),
    (lambda p: folder(p, change=lambda y, i: y*(100 + i%2)), 'number the classes 0, 1, 2'),
    (lambda p: folder(p, mask='masks/{}.jpg'), 'JPEG alters'), (lambda p: p/'none', 'from a folder'),
    (lambda p: folder(p, image='test/images/{}.png', mask='test/masks/{}.png'), 'no image to train on has a mask')])
def test_refusals(tmp_path, make, words): says(lambda: read_masked(make(tmp_path)).splits(), words)

def test_masks_that_nobody_asked_for_are_noticed(tmp_path):
    says(lambda: named_or_own(folder(tmp_path)), 'say task segment')
    assert named_or_own(tmp_path, task='classify').train.classes==['images', 'masks']
    says(lambda: named_or_own(tmp_path, task='segmnt'), "did you mean 'segment'?")
    says(lambda: named_or_own('digits', task='segment'), 'for images of your own')
    says(lambda: named_or_own(tmp_path, task='classify', ignored=3), 'ignored speaks of masks')

# Numbers

@pytest.mark.parametrize('form', ['palette', 'grey', 'rgb', 'la', 'bit', 'deep'])
def test_forms_of_a_mask(tmp_path, form):
    y = scene(0)[1]
    forms = dict(palette=lambda: save(y, tmp_path/'a.png', [0,0,0,255,0,0]), grey=lambda: save(y, tmp_path/'a.png'),
        rgb=lambda: save(np.stack([y]*3, -1), tmp_path/'a.png'),
        la=lambda: save(np.stack([y, y*0+255], -1), tmp_path/'a.png'),
        bit=lambda: Image.fromarray(y*255).convert('1').save(tmp_path/'a.png'),
        deep=lambda: save(y.astype('uint16'), tmp_path/'a.png'))
    forms[form]()
    assert np.array_equal(read_mask(tmp_path/'a.png'), y)

def test_numbers_above_a_byte_are_refused(tmp_path):
    save(scene(0)[1].astype('uint16')*1000, tmp_path/'a.png')
    says(lambda: read_mask(tmp_path/'a.png'), 'numbers from 0 to 1000')

def test_black_and_white_is_ground_and_foreground(tmp_path):
    own = read_masked(folder(tmp_path, change=lambda y, i: y*255))
    assert set(np.unique(own.masks))=={0,1} and any('255 is taken for the foreground' in o for o in own.account.notes)

def test_names_and_what_does_not_count(tmp_path):
    folder(tmp_path, change=lambda y, i: np.where(np.arange(16)<2, 2, y).astype('uint8'))
    assert read_masked(tmp_path).splits().train.classes==['0','1','2']
    (tmp_path/'codes.txt').write_text('ground\nsquare\nVoid\n')
    own = read_masked(tmp_path, ignored='Void')
    assert own.splits().train.classes==['ground','square'] and set(np.unique(own.masks))<={0,1,255}
    assert (own.masks[...,:2]==255).all() and 'codes.txt' not in why(own)
    assert np.array_equal(read_masked(tmp_path, ignored=2).masks, own.masks)
    assert '12.5 % of all do not' in own.account.text() and list(own.account.classes.index)==['ground','square']
    says(lambda: read_masked(tmp_path, ignored='Viod'), "did you mean 'Void'?")
    (tmp_path/'codes.txt').write_text('ground\nsquare\n')
    says(lambda: read_masked(tmp_path), 'masks hold the number 2, and 2 classes are named', 'ignored=2')
    says(lambda: read_masked(tmp_path, ignored=300), 'a number up to 255')
    (tmp_path/'codes.txt').write_text('none\nsquare\nVoid\n')
    assert list(read_masked(tmp_path).account.classes.index)==['none','square','Void']
    (tmp_path/'codes.txt').write_text('ground\nground\n')
    says(lambda: read_masked(tmp_path), "'ground' twice")

@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.sampled_from(RESIZES))
def test_a_mask_is_cut_as_its_image(h, w, H, W, how):
    y = np.random.default_rng(h*w).integers(0, 3, (h,w)).astype('uint8')
    m = mask_to_size(y, (H,W), how)
    assert m.shape==(H,W) and set(np.unique(m))<=set(np.unique(y)) | ({255} if how=='pad' else set())
    flat = to_size(np.full((1,h,w), 200, 'uint8'), (H,W), how)[0]
    assert np.array_equal(flat==0, m==255)  # bars of the image are what does not count

@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.sampled_from(RESIZES))
def test_a_mask_comes_back(h, w, k, how):
    y = np.random.default_rng(h*w).integers(0, 3, (h,w)).astype('uint8')
    large = np.kron(y, np.ones((k,k), 'uint8'))
    back = mask_from_size(mask_to_size(large, (h,w), how), large.shape, how)
    assert np.array_equal(back, large)  # nearest pixels of whole blocks lose nothing
    wide = mask_from_size(mask_to_size(large, (9,9), how), large.shape, how)
    assert wide.shape==large.shape and set(np.unique(wide))<=set(np.unique(large)) | ({255} if how=='crop' else set())

def test_images_and_masks_move_together(tmp_path):
    splits = read_masked(folder(tmp_path), size=(8,12)).splits()
    assert splits.train.shape==(3,8,12) and splits.train.y.shape==(8,8,12)
    light = splits.train.x.float().mean(1)
    assert light[splits.train.y==1].mean()>light[splits.train.y==0].mean()+80

def test_large_images_keep_their_shape(tmp_path):
    for i in range(6):
        x,y = (np.kron(o, np.ones((20,20) + (1,)*(o.ndim-2), 'uint8')) for o in scene(i))
        save(x, tmp_path/'images'/f'{i}.jpg'); save(y, tmp_path/'masks'/f'{i}.png')
    assert read_masked(tmp_path).account.shape==(3, 96, 128)

# In memory

X,Y = (np.stack(o) for o in zip(*map(scene, range(12))))
X = X.transpose(0, 3, 1, 2)

@pytest.mark.parametrize('data,parts', [(lambda: (X, Y), dict(train=10, test=2)),
    (lambda: dict(x_train=X[:8], y_train=Y[:8], x_test=X[8:], y_test=Y[8:]), dict(train=8, test=4)),
    (lambda: dict(train=(X[:8], Y[:8]), test=(torch.from_numpy(X[8:]), torch.from_numpy(Y[8:]).long()),
    unlabelled=X[:3]+1), dict(train=8, test=4, unlabelled=3)),
    (lambda: (X, np.where(np.arange(12)[:,None,None]<6, -1, Y.astype(int))), dict(train=5, test=1, unlabelled=6))])
def test_arrays(data, parts): assert read_masked(data()).account.parts==parts

def test_a_file_of_arrays(tmp_path):
    np.savez(tmp_path/'a.npz', images=X, masks=Y, y=Y, classes=['ground','square'])
    own = read_masked(tmp_path/'a.npz')
    assert own.splits().train.classes==['ground','square'] and own.account.asked[-2:]==['--task','segment']

@pytest.mark.parametrize('data,words', [(lambda: (X, Y[:,1:]), 'for images of shape'),
    (lambda: (X, Y/2), 'whole numbers'), (lambda: (X, Y.astype(int)*300), 'up to 300'), (lambda: X, 'gives no masks'),
    (lambda: dict(x=X, y=Y, classes=['a','a']), "'a' is named twice")])
def test_arrays_that_do_not_fit(data, words): says(lambda: read_masked(data()), words)

# Asked

SMALL = ['--task', 'segment', '--setting', 'smoke', '--seeds', '1']

def test_a_comparison_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path/'squares', 24, 18)
    assert main(['compare', 'squares', *SMALL, '--arms', 'both,neither', '--labels', 'all', '--out', 'o'])==0
    said = capsys.readouterr()
    rows = pd.read_csv('o/results.csv')
    assert list(rows.arm)==['both','neither'] and set(rows.labels)=={14} and set(rows.metric)=={'miou'}
    assert set(rows.encoder)=={'pretrained','random'}
    assert 'mean IoU' in said.out and 'squares/images' not in said.out and '14 train, 4 test, 6 unlabelled' in said.err
    assert (tmp_path/'o'/'report.html').exists()
    res = read_results('o')
    assert res.about['command']==('aepretrain compare squares --task segment --recipe segment --setting smoke '
        '--arms both,neither --labels all --seeds 1')
    assert main(['predict', 'o', 'squares/images', '-o', 'drawn.csv'])==0 and '24 masks: ' in capsys.readouterr().out
    new = fitted('o').read('squares/images')
    assert np.array_equal(np.stack([read_mask(tmp_path/'drawn'/n) for n in new.table.file]),
        fitted('o').masks(new.images))
    files = {o: o.read_bytes() for o in Path('squares/images').iterdir()}
    assert main(['predict', 'o', 'squares/images', '-o', 'squares/images'])==2
    assert 'is one of the images' in capsys.readouterr().err
    assert {o: o.read_bytes() for o in Path('squares/images').iterdir()}==files
    for n in ('0.png', '0.jpg'): save(scene(0)[0], tmp_path/'twice'/n)
    assert main(['predict', 'o', 'twice', '-o', 'shared'])==2
    assert '0.png would be the mask of several images' in capsys.readouterr().err and not Path('shared').exists()
    assert main(['export', 'o', '-o', 'net'])==main(['embed', 'o', 'squares/images', '-o', 'f.npz'])==0
    assert pick_arms(segment_recipe(), 'file:net/model.safetensors')['file:model']['steps']==['segment']
    again = compare('squares', ['both', 'neither'], 'all', task='segment', setting='smoke', seeds=1, store='o',
        progress=False)
    pd.testing.assert_series_equal(again.rows.seconds, rows.seconds)  # nothing was done again

def test_python_asks_the_same():
    res = compare((X, Y), task='segment', setting='smoke', arms='neither', labels='all', seeds=1, progress=False)
    assert res.rows.labels.tolist()==[10] and res.score.title=='mean IoU'
    with pytest.raises(DataError, match='for images of your own'): compare('digits', task='segment')
    with pytest.raises(ExperimentError, match='no class of an image: masks'): fitted(res.store.path).predict(X[:2])

def test_a_look(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path/'squares', 10, 8)
    assert main(['look', 'squares', '--task', 'segment', '--size', '8x12', '--out', 'a.png'])==0
    said = capsys.readouterr().out
    assert '3 channels of 8x12' in said and 'pixels that count: 0 ' in said and (tmp_path/'a.png').stat().st_size>1000
    assert look_at((X, Y), task='segment').account.warnings==[]
    with pytest.raises(DataError, match='for images of your own'): look_at('digits', task='segment')

@pytest.mark.parametrize('args,words', [(['--task', 'segment', '--ignored', 'x'], 'ignored is'),
    (['--task', 'segment', '--labels', '99'], '99 labels asked for'), (['--task', 'draw'], 'invalid choice'),
    (['--task', 'segment', '--columns', 'file=a'], 'columns are those of a table'),
    (['--task', 'segment', '--size', '4x'], 'HEIGHTxWIDTH'), ([], 'say task segment')])
def test_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, args, words):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path/'squares', 10)
    assert main(['compare', 'squares', '--setting', 'smoke', *args])==2
    said = capsys.readouterr().err.strip().splitlines()
    assert words in said[-1] and [o.name for o in tmp_path.iterdir()]==['squares']

def test_large_images_are_judged_a_few_at_a_time():
    def most(h, w): return judged_dl(SimpleNamespace(data={}), ImageSet(torch.zeros(3, 1, h, w)), target='x').bs
    assert (most(96, 96), most(144, 192), most(2000, 2000))==(1000, 37, 1)

@pytest.mark.slow
def test_the_guide_is_recorded(tmp_path, monkeypatch):
    "Streets as SegNet has them: 11 does not count, parts lie side by side"
    for p,at in dict(train=range(12), val=range(12, 15), test=range(15, 20)).items():
        for i in at:
            x,y = scene(i)
            y[0] = 11
            save(x, tmp_path/'CamVid'/p/f'{i}.png'); save(y, tmp_path/'CamVid'/f'{p}annot'/f'{i}.png')
    small = ['--setting', 'smoke', '--seeds', '2', '--labels', 'all', '--size', '12x16']
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1]/'tools')
    tool = importlib.import_module('camvid')
    assert tool.record(tmp_path/'CamVid', tmp_path/'store', small, tmp_path)==0
    res = Results.read(tmp_path/'camvid.csv')
    assert (res.metric, res.labels, res.arms, res.told('n_test'))==('miou', [15], ['both','encoder','neither'], 5)
    assert len(res.encoders)==4
    assert '--ignored Void' in res.told('command') and '11 classes' in res.told('images')
    assert set(res.verdict().table.control)=={'encoder','neither'}

# What a reading of the whole found

@pytest.mark.parametrize('how', RESIZES)
def test_masks_of_0_and_255_are_those_of_0_and_1(tmp_path, how):
    "The bars that pad an image are 255, too, and no foreground"
    one,two = folder(tmp_path/'one'),folder(tmp_path/'two', change=lambda y, i: y*255)
    a,b = (read_masked(o, size=(16,16), resize=how) for o in (one, two))
    assert np.array_equal(a.masks, b.masks)
    assert (a.masks==255).any()==(how=='pad')

def windowed(**augment):
    "A segmenter that is judged on a window, and its images"
    x,y = (np.stack(o) for o in zip(*(scene(i, 24, 24) for i in range(10))))
    splits = read_masked((x.transpose(0, 3, 1, 2), y)).splits()
    recipe = segment_recipe('smoke', images=dict(augment=augment))
    return splits,compare(splits, ['neither'], 4, 1, recipe, progress=False, keep='all')

@pytest.mark.parametrize('augment', [dict(size=16), dict(size=16, resized=[.5, 1])])
def test_masks_are_put_where_the_net_looked(augment):
    "The middle is cut, and 255 stands around it; or the whole image was brought to a size, and comes back"
    splits,res = windowed(**augment)
    fit = fitted(res.folder)
    masks = torch.from_numpy(fit.masks(splits.test))
    x = next(iter(judged_dl(fit.step, splits.test.unlabelled(), target='x')))[0]
    with torch.no_grad(): seen = fit.net(x).argmax(1)
    assert x.shape[2:]==(16,16) and masks.shape==(len(splits.test), 24, 24)
    if 'resized' in augment:
        back = torch.nn.functional.interpolate(seen[None].float(), (24,24), mode='nearest-exact')[0]
    else: back = torch.nn.functional.pad(seen, (4,4,4,4), value=255)
    assert torch.equal(masks.long(), back.long())

def test_hand_drawn_masks_are_never_drawn_over(tmp_path):
    home = folder(tmp_path/'own', masks=6)
    splits = read_masked(home).splits()
    store = tmp_path/'results'
    compare(splits, ['neither'], 4, 1, segment_recipe('smoke'), store=store, progress=False, keep='all')
    before = {f: f.read_bytes() for f in (home/'masks').iterdir()}
    assert main(['predict', str(store), str(home/'images'), '-o', str(home/'masks')])==2
    assert {f: f.read_bytes() for f in (home/'masks').iterdir()}==before
    # again over its own
    for _ in range(2): assert main(['predict', str(store), str(home), '-o', str(tmp_path/'drawn')])==0
    assert len(list((tmp_path/'drawn').rglob('*.png')))==10 # of images alone, not of their masks

def test_an_encoder_is_pretrained_on_images_not_on_masks(tmp_path):
    home = folder(tmp_path/'own', n=20, masks=15)
    splits = for_pretraining(home)
    own = read_masked(home)
    kept = own.account.table.part.isin(['train', 'unlabelled'])
    assert len(splits.train)==kept.sum()==17 # three are drawn for the test, as a comparison of masks draws them
    assert np.array_equal(np.asarray(splits.train.x), np.asarray(own.given.x)[kept.to_numpy()])

@pytest.mark.parametrize('method', METHODS)
def test_a_method_segments_or_says_which_do(tmp_path, capsys, method):
    root = folder(tmp_path/'shapes')
    line = ['compare', str(root), '--task', 'segment', '--method', method, '--setting', 'smoke', '--labels', '6']
    code = main([*line, '--seeds', '1', '--dry-run', '--out', str(tmp_path/'o')])
    said = capsys.readouterr().err.strip().splitlines()[-1:]
    if method in ('plain', 'denoising', 'skips', 'sparse'): assert code==0
    elif method in ('tied', 'what-where'): assert code==2
    else: assert (code, 'choose among plain, denoising, skips, sparse' in said[0])==(2, True)
