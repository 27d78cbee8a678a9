"What a hostile reading of the data floor found: each of these was once wrong, lost or ended in a traceback."
import errno, os, subprocess, sys
import numpy as np, pytest, tifffile, torch
from PIL import Image, ImageDraw

from aepretrain_nb.cli import main
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.augment import Augment
from aepretrain_nb.data.check import check_sizes
from aepretrain_nb.data.corrupt import corruption
from aepretrain_nb.data.decode import decode, header
from aepretrain_nb.data.imagenet import class_folder
from aepretrain_nb.data.listing import list_csv, list_folder
from aepretrain_nb.data.masks import read_masked
from aepretrain_nb.data.own import read_own
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.fitted import read_images

from torchvision.datasets import ImageFolder # after ours, which see that torchvision can be imported

rng = np.random.default_rng(0)
def noise(*shape): return rng.integers(0, 256, shape, 'uint8')

def put(folder, n=8, classes='ab'):
    "`n` images in a folder for each class"
    for c in classes:
        (folder/c).mkdir(parents=True, exist_ok=True)
        for i in range(n): Image.fromarray(noise(16, 16, 3)).save(folder/c/f'{c}{i:02}.png')
    return folder

def test_masks_that_were_resized_smoothly_are_refused(tmp_path):
    "Their greys became 255 classes, and the disc itself did not count"
    for i in range(6):
        for k in ('images', 'masks'): (tmp_path/k).mkdir(exist_ok=True)
        Image.fromarray(noise(64, 64, 3)).save(tmp_path/'images'/f'{i}.png')
        big = Image.new('L', (500, 500))
        ImageDraw.Draw(big).ellipse([50+i*7, 60, 350+i*5, 400], fill=255)
        big.resize((64, 64), Image.Resampling.BILINEAR).save(tmp_path/'masks'/f'{i}.png')
    with pytest.raises(DataError, match='resized smoothly'): read_masked(tmp_path)

def test_a_read_error_that_passes_is_forgotten(tmp_path, monkeypatch):
    home,once = put(tmp_path/'home'),Image.open
    def fails(f, *a, **kw):
        if 'a03' in str(f): raise OSError(errno.EIO, 'Input/output error')
        return once(f, *a, **kw)
    with monkeypatch.context() as m:
        m.setattr(Image, 'open', fails)
        seen = read_own(home, cache=tmp_path/'cache')
    assert seen.account.skipped.name.tolist()==['a/a03.png'] and 'Input/output' in seen.account.skipped.why.item()
    assert not len(read_own(home, cache=tmp_path/'cache').account.skipped)

def test_a_read_error_while_pixels_are_decoded_is_forgotten_too(tmp_path, monkeypatch):
    from aepretrain_nb.data import decoded
    home,whole = put(tmp_path/'home'),decoded.decode
    def fails(path, **kw):
        if 'b05' in str(path): raise decoded.PassingError('Input/output error')
        return whole(path, **kw)
    with monkeypatch.context() as m:
        m.setattr(decoded, 'decode', fails)
        assert len(read_own(home, cache=tmp_path/'cache').account.skipped)==1
    for _ in range(2): assert not len(read_own(home, cache=tmp_path/'cache').account.skipped)

def linked(path, to):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)

def test_links_in_parts_count_where_their_targets_are_not_used(tmp_path):
    put(tmp_path/'images', 10)
    for f in sorted((tmp_path/'images').rglob('*.png')):
        part = 'train' if int(f.stem[1:])<7 else 'test'
        linked(tmp_path/part/f.parent.name/f.name, f)
    seen = list_folder(tmp_path).files
    assert seen.part.value_counts().to_dict()==dict(train=14, test=6) and set(seen.label)=={*'ab'}

def test_linked_folders_of_classes_in_parts_count(tmp_path):
    "They were read as classes raw and raw2"
    for raw,part,n in (('raw', 'train', 10), ('raw2', 'test', 4)):
        put(tmp_path/raw, n)
        for c in 'ab': linked(tmp_path/part/c, tmp_path/raw/c)
    seen = list_folder(tmp_path).files
    assert seen.part.value_counts().to_dict()==dict(train=20, test=8) and set(seen.label)=={*'ab'}

def test_a_link_with_a_class_goes_before_a_file_without(tmp_path):
    "All labels were lost"
    put(tmp_path/'unlabelled', 10)
    for f in sorted((tmp_path/'unlabelled').rglob('*.png')):
        if int(f.stem[1:])<7: linked(tmp_path/f.parent.name/f.name, f)
    seen = list_folder(tmp_path).files
    assert seen.part.eq('unlabelled').sum()==6 and seen.label.notna().sum()==14

def test_masks_in_memory_know_what_does_not_count():
    x,m = torch.from_numpy(noise(12, 3, 16, 16)),torch.from_numpy(noise(12, 16, 16)%3)
    m[:,:2] = 255
    assert ImageSet(x, m).n_classes==3
    whole = ImageSet(x, (m==1).float())
    assert whole.n_classes==2 and not whole.y.is_floating_point()
    with pytest.raises(DataError, match='0.6 .* is no whole number'): ImageSet(x, (m==1)*.6)
    with pytest.raises(DataError, match='0..2, or be 255, found 0..3'): ImageSet(x, m.where(m!=255, 3), list('abc'))
    with pytest.raises(DataError, match='0..1, or be 255, found -1..1'): ImageSet(x, (m==1).long()*2-1)

@pytest.mark.parametrize('kind', ['uint8', 'uint16'])
def test_a_stack_of_pages_is_one_image_of_many_channels(tmp_path, kind):
    tifffile.imwrite(tmp_path/'a.tif', noise(5, 16, 16).astype(kind))
    assert header(tmp_path/'a.tif').channels==5

@pytest.mark.parametrize('kind', ['uint8', 'uint16'])
def test_what_is_dark_is_dark_whichever_end_a_tiff_calls_white(tmp_path, kind):
    grey = np.repeat(np.array([0, 85, 255], kind), 8)[None].repeat(8, 0)*(257 if kind=='uint16' else 1)
    for how in ('minisblack', 'miniswhite'): tifffile.imwrite(tmp_path/f'{how}.tif', grey.astype(kind), photometric=how)
    black,white = (decode(tmp_path/f'{k}.tif', (8, 24), 1, kind) for k in ('minisblack', 'miniswhite'))
    assert (black==np.iinfo(kind).max-white).all()

def test_a_data_set_that_renames_its_labels_is_no_folder(tmp_path):
    put(tmp_path, classes=('cat', 'dog', 'oak'))
    with pytest.raises(DataError, match='target_transform'):
        read_own(ImageFolder(tmp_path, target_transform=lambda y: int(y==2)))

def test_a_hidden_folder_is_no_class(tmp_path):
    put(tmp_path, 4)
    put(tmp_path, 1, ['.ipynb_checkpoints'])
    (tmp_path/'a'/'._a00.png').write_bytes(b'\0')
    seen = class_folder(tmp_path, size=16)
    assert (seen.classes, len(seen))==(['a', 'b'], 8)

def test_names_of_one_number_have_one_order():
    "It went by the seed of Python's hashes"
    x,script = noise(20, 3, 8,
        8).tolist(),'from aepretrain_nb.data.own import _in_order; print(_in_order(["01", "1", "2"]))'
    def order(seed):
        return subprocess.run([sys.executable, '-c', script], env=os.environ | dict(PYTHONHASHSEED=str(seed)),
            capture_output=True, text=True).stdout
    assert read_own((np.array(x, 'uint8'), ['01', '1']*10)).splits().train.classes==['01', '1']
    assert {order(s) for s in (0, 3)}=={"['01', '1', '2']\n"}

def test_labels_that_count_as_none_are_counted():
    seen = read_own(dict(x=noise(21, 3, 8, 8), y=np.arange(21)%3-1))
    assert 'labels of -1 count as none: 7' in str(seen.account)

def test_a_class_of_unlabelled_rows_alone_is_none(tmp_path):
    put(tmp_path, 14, 'abc')
    def row(c, i): return f'{c}/{c}{i:02}.png,{c},{"unlabelled" if c=="c" else "test" if i>9 else "train"}'
    rows = [row(c, i) for c in 'abc' for i in range(14)]
    (tmp_path/'all.csv').write_text('\n'.join(['file,label,split', *rows]))
    assert read_own(tmp_path/'all.csv').splits().train.classes==['a', 'b']

def test_names_that_are_no_text_are_written_down(tmp_path, capsys):
    "Everything was trained, and then nothing was said"
    put(tmp_path/'d', 12)
    Image.fromarray(noise(16, 16, 3)).save(os.fsencode(tmp_path/'d')+b'/loose\xff.png', 'PNG')
    (tmp_path/'d'/os.fsdecode(b'emp\xfety')).mkdir()
    short = '--setting smoke --labels 10 --seeds 1 --set pretrain.steps=2 --set finetune.steps=2'.split()
    assert main(['compare', str(tmp_path/'d'), *short, '--out', str(tmp_path/'o')])==0
    assert '\\udcff' in (tmp_path/'o'/'account.txt').read_text() and 'udcff' in capsys.readouterr().err

@pytest.mark.parametrize('kind', ['float32', 'uint16'])
def test_eight_bits_are_known_to_a_classifier_of_deeper_ones(tmp_path, kind):
    own = noise(16, 16, 3)
    Image.fromarray(own).save(tmp_path/'a.png')
    x = read_images(tmp_path/'a.png', (3, 16, 16), kind).images.x
    top = 1 if kind=='float32' else 65535
    assert np.allclose(x[0].numpy().astype('float64').transpose(1, 2, 0)/top, own/255, atol=1e-6)

def test_a_folder_is_listed_once_for_all_names_that_are_not_there(tmp_path, monkeypatch):
    "It was listed for each of them"
    listed,once = [],os.listdir
    put(tmp_path, 4)
    (tmp_path/'x.csv').write_text('\n'.join(['file,label', *(f'a/a{i:05},a' for i in range(500))]))
    monkeypatch.setattr(os, 'listdir', lambda p: listed.append(p) or once(p))
    with pytest.raises(DataError, match='no image that is there'): list_csv(tmp_path/'x.csv')
    assert 0<len(listed)<=2

def test_names_of_classes_are_a_list(tmp_path, capsys):
    np.savez(tmp_path/'a.npz', x=noise(20, 3, 8, 8), y=np.arange(20)%2, classes=2)
    assert main(['look', str(tmp_path/'a.npz')])==2 and 'a name for each class' in capsys.readouterr().err
    np.savez(tmp_path/'b.npz', x=noise(20, 3, 8, 8), y=[b'a', b'\xff']*10)
    assert main(['look', str(tmp_path/'b.npz')])==2 and 'no text in UTF-8' in capsys.readouterr().err

@pytest.mark.parametrize('what', [dict(resized=['a', 'b']), dict(ratio=['a', 1])])
def test_a_pair_is_one_of_numbers(what):
    with pytest.raises(DataError, match='give .least, most.'): Augment(**what)

@pytest.mark.parametrize('ending', ['png', 'webp', 'jpg'])
def test_broken_metadata_spoil_no_pixels(tmp_path, ending):
    Image.fromarray(noise(16, 16, 3)).save(tmp_path/f'a.{ending}', exif=b'Exif\0\0garbage!'*3)
    assert decode(tmp_path/f'a.{ending}', (16, 16)).shape==(3, 16, 16)

def test_two_parts_of_floats_go_together():
    x = noise(20, 3, 8, 8)
    whole = dict(x_train=x/255, y_train=np.arange(20)%2, x_test=np.zeros((4, 3, 16, 16)), y_test=np.arange(4)%2)
    assert read_own(whole).splits().test.x.dtype==torch.float32

def test_a_class_without_labels_is_looked_for_in_every_draw():
    y = torch.tensor([0]*216+[1]*24)
    sets = [ImageSet(torch.zeros(240, 1, 4, 4, dtype=torch.uint8), y) for _ in range(2)]
    said = check_sizes(Splits('few', *sets), 8, range(10), policy='uniform')
    assert len(said)==1 and 'in ' in said[0] and 'of 10 draws' in said[0]

@pytest.mark.parametrize('config,words', [
    (dict(kind='blocks', n=1, size=2.5), 'size is 2.5: give a whole number'),
    (dict(kind='blocks', n=1.5, size=2), 'n is 1.5: give a whole number'),
    (dict(kind='masking', p='a'), "p is 'a': give a number from 0 to 1")])
def test_corruption_takes_the_numbers_that_it_can_use(config, words):
    with pytest.raises(ValueError, match=words): corruption(config)
