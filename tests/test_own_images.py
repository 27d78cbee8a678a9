"""Images as people have them: every mode and odd file, tables, arrays, data sets; what is drawn stays drawn, what
changed is decoded, and the command line says it"""
import argparse, os, shutil, struct, zlib
from pathlib import Path
import numpy as np, pandas as pd, pytest, tifffile, torch
from hypothesis import example, given, settings, strategies as st
from PIL import Image
from torch.utils.data import Subset, TensorDataset
from aepretrain_nb.cli import main
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.check import check_groups
from aepretrain_nb.data.decode import decode
from aepretrain_nb.data.listing import list_csv, list_folder
from aepretrain_nb.data.own import own_images, read_own
from aepretrain_nb.data.parts import draw_test
from aepretrain_nb.experiment.work import keep_splits, read_splits
from aepretrain_nb.imports import torchvision
from own_files import LABELS, X, Y, bars, im, make, put, table

@pytest.fixture(scope='module')
def files(tmp_path_factory): return make(tmp_path_factory.mktemp('cases')/'files')

@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    "A cache of its own for each test"
    folder = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('AEPRETRAIN_CACHE', str(folder))
    return folder

@pytest.fixture
def pets(tmp_path):
    "Ten images of each of three classes, and a copy to change"
    for i in range(30): put(im(i), tmp_path/'pets'/'abc'[Y[i]]/f'{i:02}.png')
    return tmp_path/'pets'

def why(account): return dict(zip(account.skipped.name, account.skipped.why))
def says(f, *words):
    with pytest.raises(DataError) as e: f()
    assert '\n' not in str(e.value)
    for w in words: assert w in str(e.value), str(e.value)

# A folder as people have it

def test_a_folder_with_everything_in_it(files):
    own = read_own(files)
    a,skipped = own.account,why(own.account)
    assert a.parts==dict(train=42, test=9, unlabelled=18) and a.shape==(3,32,32) and a.hidden==4
    assert a.classes.to_dict()==dict(train=dict(a=21, b=11, c=10, d=0), test=dict(a=4, b=0, c=4, d=1))
    assert skipped['train/a/truncated.jpg']=='truncated' and skipped['train/a/zero.jpg']=='an empty file'
    assert skipped['train/c/dangling.jpg']=='a link that leads nowhere' and 'is listed' in skipped['train/c/loop']
    assert skipped['train/c/link_to_other_class.jpg']=='a link to train/a/000.jpg, which is listed' and len(skipped)==8
    assert a.modes['I;16']==a.modes['CMYK']==a.modes['F']==1 and a.sizes[31,9]==a.sizes[1,1]==1
    assert {'train/a/größe 1.JPG', 'train/a/UPPER.PNG', 'train/b/sub/nested.jpg'}<=set(a.table.name)
    assert a.copies.values.tolist()==[['train/a/rgba.png', 'train', 'train/a/UPPER.PNG', 'train', True]]
    assert a.notes[0]=='no image in train/empty' and '1 images of 16 bits' in a.notes[1] and len(a.notes)==2
    assert 'class d, but no training image' in own.warnings()[0]

def test_strict_names_what_is_skipped(files):
    says(lambda: own_images(files, strict=True), '8 files cannot be taken', 'labels.csv', 'and 3 more')
    says(lambda: own_images(files/'test'/'..'/'train'/'a', strict=True), 'notes.txt')

def test_a_class_that_only_test_has_is_one_line_and_nothing_is_written(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['compare', str(files)])==2
    said = capsys.readouterr().err.splitlines()
    assert 'read      69 images, 8 skipped' in '\n'.join(said) and 'class d, but no training image' in said[-1]
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('name,mean', [('grey16.png', 127.5),
    ('float32.tif', 255*np.random.default_rng(0).random((32,32)).mean()), ('grey8.png', None), ('rgba.png', None),
    ('palette.gif', None), ('UPPER.PNG', None)])
def test_modes_keep_their_light(files, name, mean):
    a = decode(files/'train'/'a'/name, (32,32))
    want = np.asarray(im(3).convert('L')).mean() if name=='grey8.png' else X[3].mean()
    assert a.shape==(3,32,32) and a.dtype=='uint8' and abs(a.mean()-(mean or want))<2

def test_sixteen_bits_floats_and_planes_stay_what_they_are(tmp_path):
    deep = np.linspace(0, 65535, 1024).reshape(32,32).astype('uint16')
    for i in range(4): put(Image.fromarray(np.roll(deep, i)), tmp_path/'deep'/'ab'[i%2]/f'{i}.png')
    for i in range(4):
        (tmp_path/'six'/'ab'[i%2]).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path/'six'/'ab'[i%2]/f'{i}.TIFF', np.stack([deep//(i+1+j) for j in range(6)]),
            planarconfig='separate')
        (tmp_path/'unit'/'ab'[i%2]).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path/'unit'/'ab'[i%2]/f'{i}.tif', (deep/65535/(i+1)).astype('float32'))
    kinds = {o: read_own(tmp_path/o) for o in ('deep','six','unit')}
    assert {k: (o.given.x.dtype.name, o.account.shape[0]) for k,o in kinds.items()}==dict(deep=('uint16',1),
        six=('uint16',6), unit=('float32',1))
    assert kinds['deep'].account.high==65535 and kinds['unit'].account.high==1
    assert np.asarray(read_own(tmp_path/'six', size=16).given.x).shape==(4,6,16,16)

@pytest.mark.parametrize('turn', range(1, 9))
def test_a_camera_that_was_turned(tmp_path, turn):
    upright = Image.fromarray(np.kron(np.arange(6, dtype='uint8').reshape(2,3)*40, np.ones((8,8), 'uint8')))
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[turn]  # what Pillow's `transpose` undoes
    exif = Image.Exif()
    exif[0x0112] = turn
    put(upright if back is None else upright.transpose(back), tmp_path/'a.png', exif=exif)
    assert np.array_equal(decode(tmp_path/'a.png', (16,24), 1)[0], np.asarray(upright))

def bomb(path, n=100_000):
    "A PNG whose header promises n x n pixels"
    def chunk(kind, data): return struct.pack('>I', len(data))+kind+data+struct.pack('>I', zlib.crc32(kind+data))
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', n, n, 8, 0, 0, 0, 0))
    path.write_bytes(b'\x89PNG\r\n\x1a\n'+head+chunk(b'IDAT', zlib.compress(b'\0'*1000))+chunk(b'IEND', b''))

def test_images_that_are_none_cost_a_reason(pets):
    bomb(pets/'a'/'bomb.png')
    (pets/'b'/'text.jpg').write_text('no image')
    os.mkfifo(pets/'c'/'pipe.png')
    skipped = why(read_own(pets).account)
    assert 'more than' in skipped['a/bomb.png'] and skipped['b/text.jpg']=='no image that can be read'
    assert skipped['c/pipe.png']=='no file that can be read'

def test_a_folder_goes_by_its_own_name_whatever_links_to_it(pets):
    os.symlink('a', pets/'0_link_to_a')
    os.symlink('..', pets/'c'/'up')
    assert list_folder(pets).files.label.value_counts().to_dict()==dict(a=10, b=10, c=10)

@pytest.mark.parametrize('make,words', [(lambda p: p, 'holds no image'), (lambda p: p/'none', 'no folder or file'),
    (lambda p: table(p/'a.zip', []), 'neither a folder nor'),
    (lambda p: table(p/'a.csv', []), 'names no image'),
    (lambda p: table(p/'a.csv', [['x.png','a']]), 'names no image that is there')])
def test_nothing_to_read(tmp_path, make, words): says(lambda: own_images(make(tmp_path)), words)

def test_parts_in_other_words(tmp_path):
    for part,n in dict(Training=12, val=6).items():
        for i in range(n): put(im(i), tmp_path/part/'abc'[i%3]/f'{i}.png')
    put(im(40), tmp_path/'stray'/'a.png')
    own = read_own(tmp_path)
    assert own.account.parts==dict(train=12, test=6) and 'validation part are the test' in own.account.notes[0]
    assert 'is none of the parts' in why(own.account)['stray/a.png']

@pytest.mark.parametrize('kw,words', [(dict(size=0), 'from 1 to 4096'), (dict(size=12.5), 'from 1 to 4096'),
    (dict(size=(8,8,8)), 'from 1 to 4096'), (dict(resize='fill'), 'none of crop, pad, squash'),
    (dict(channels=0), 'a number from 1'), (dict(channels=2), 'among images of 2 channels'),
    (dict(test=0), 'between 0 and 1'), (dict(test='x'), 'between 0 and 1')])
def test_words_that_no_image_can_obey(pets, kw, words): says(lambda: own_images(pets, **kw), words)

@pytest.mark.parametrize('strings', ['auto', 'python'])  # with a pyarrow, or without one
def test_names_that_cannot_be_printed(pets, tmp_path, capsys, strings):
    for name in (b'\xff\xfe.png', b'new\nline.png'): shutil.copy(pets/'a'/'00.png', os.fsencode(pets/'a')+b'/'+name)
    with pd.option_context('mode.string_storage', strings):
        assert main(['compare', str(pets), '--size', '8', '--setting', 'smoke', '--arms', 'random', '--seeds', '1',
            '--out', str(tmp_path/'o')])==0
    said = (tmp_path/'o'/'account.txt').read_text(encoding='utf-8')
    assert 'a/new\\nline.png = a/00.png' in said and '\\udcff' in said

def test_one_folder_too_many(pets):
    own = read_own(pets.parent)
    assert any('one class, pets, with folders a, b, c' in o for o in own.account.notes)
    assert 'all labels are pets' in own.warnings()[0]

# Tables

def test_a_table_says_by_line_what_is_wrong_with_it(files, tmp_path):
    says(lambda: own_images(files/'labels.csv'), "line 7: unlabelled/045.png has label 'c' here and 'a' in line 6",
        "line 8: '../../etc/passwd' is no file in",
        'line 5: it is not there', 'line 9: it is not there; there is unlabelled/046.png')
    good = table(files/'good.csv', [o for i,o in enumerate(LABELS) if i not in (5, 6)])
    a = read_own(good).account
    good.unlink()
    assert a.table.label.tolist()[-1] is None and a.parts['unlabelled']==1 and len(a.table)==4
    assert 'blanks around 1 labels are left out (line 3)' in a.notes
    assert why(a)['unlabelled/999.png']=='line 5: it is not there'

def test_split_and_group_of_a_table(pets):
    rows = [[f'{"abc"[Y[i]]}/{i:02}.png', 'abc'[Y[i]], 'test' if i>=24 else 'train', f'scan {i//6}'] for i in range(30)]
    s = own_images(table(pets/'own.csv', rows, ('path','kind','split','group')), columns=dict(label='kind'))
    assert (len(s.train), len(s.test))==(24,6) and s.train.groups.unique().numel()==4
    assert not torch.isin(s.test.groups, s.train.groups).any()
    drawn = own_images(table(pets/'own.csv', [[f,l,'',g] for f,l,_,g in rows], ('file','label','split','group')))
    assert (len(drawn.train), len(drawn.test))==(24,6) and not torch.isin(drawn.test.groups, drawn.train.groups).any()

def test_patients_stay_on_one_side_unless_told_otherwise(pets):
    def rows(split): return [[f'{"abc"[Y[i]]}/{i:02}.png', 'abc'[Y[i]], split(i), f'p{i//6}'] for i in range(30)]
    def sets(split, **kw):
        return own_images(table(pets/'own.csv', rows(split), ('file','label','split','Patient')), **kw)
    drawn = sets(lambda i: '')
    assert len(drawn.test)==6 and not torch.isin(drawn.test.groups, drawn.train.groups).any()
    across = lambda i: 'test' if i%5==0 else 'train'
    says(lambda: check_groups(sets(across)), 'training and test images share 5 groups', 'group= for none')
    alone = sets(across, columns=dict(group=''))
    assert alone.train.groups is None and len(alone.test)==6

def test_the_command_line_may_name_no_column():
    from aepretrain_nb.cli import OWN_IMAGES
    assert OWN_IMAGES['columns']('label=kind,group=')==dict(label='kind', group='')
    with pytest.raises(argparse.ArgumentTypeError, match='is not a list such as'):
        OWN_IMAGES['columns']('label=')

@pytest.mark.parametrize('path', ['../out.png', '/etc/passwd', '..\\out.png', 'a/../../out.png', '', '.', 'a\0.png'])
def test_paths_that_leave_the_folder(pets, path):
    frame = pd.DataFrame(dict(file=['a/00.png', path], label=['a','b']))
    says(lambda: own_images(frame, root=pets), 'row 1: ')

words = st.text(st.sampled_from('ab/.\\,;"\' \n\tüA0')|st.characters(exclude_categories=['Cs']), max_size=8)
@settings(max_examples=60, deadline=None)
@example([('../x', ''), ('0\r', '')], 'file;label', False)
@given(st.lists(st.tuples(st.sampled_from(['a/00.png','A/00.PNG','b/01.png','../x','a'])|words, words), max_size=6),
    st.sampled_from(['file,label','file;label','label\tfile','file','\ufefffile,label,split']), st.booleans())
def test_any_table_is_a_listing_or_one_line(tmp_path_factory, rows, header, raw):
    folder = tmp_path_factory.mktemp('fuzz')
    for name in ('a/00.png', 'b/01.png'): put(im(0), folder/name)
    if raw: (folder/'x.csv').write_text('\n'.join([header, *map(','.join, rows)]), encoding='utf-8')
    else: table(folder/'x.csv', rows, header.split(','))
    try: got = list_csv(folder/'x.csv')
    except DataError as e: assert str(e).count('\n')==0 or any('\n' in o for r in rows for o in r)
    else:
        assert set(got.files.name)<={'a/00.png','b/01.png'} and got.files.name.is_unique
        assert not got.files.label.eq('').any()
    shutil.rmtree(folder)

# Arrays and data sets

def test_arrays_in_all_forms_are_the_same(tmp_path):
    words = ['abc'[i] for i in Y]
    np.savez(tmp_path/'own.npz', images=X, labels=np.array(words))
    np.savez(tmp_path/'med.npz', train_images=X[:40].transpose(0,2,3,1), train_labels=Y[:40,None], val_images=X[40:50],
        val_labels=Y[40:50,None], test_images=X[50:], test_labels=Y[50:,None])
    pairs = [(im(i), int(Y[i])) for i in range(60)]
    forms = [(X, Y), (torch.from_numpy(X), torch.from_numpy(Y)), dict(x=X, y=Y), tmp_path/'own.npz',
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), pairs, ([o for o,_ in pairs], Y.tolist())]
    all_of = [own_images(o) for o in forms]
    assert len({s.train.digest for s in all_of})==1 and {len(s.test) for s in all_of}=={12}
    assert all_of[3].train.classes==list('abc')
    med = own_images(tmp_path/'med.npz')
    assert (len(med.train), len(med.test))==(50,10) and torch.equal(med.test.x, torch.from_numpy(X[50:]))
    assert len(med.account.notes)==2

def test_channels_last_is_said(files):
    a = read_own(files/'six_channels.npy').account
    assert a.shape==(6,32,32) and 'was taken as 6 channels of 32x32' in a.notes[0] and a.parts==dict(unlabelled=20)
    says(lambda: own_images(files/'six_channels.npy'), 'no image to train on has a label')

def test_unlabelled_arrays_come_on_top():
    s = own_images(dict(x=X[:40], y=np.where(np.arange(40)<30, Y[:40], -1), x_unlabelled=X[40:]))
    assert (len(s.train), len(s.test), len(s.unlabelled))==(24,6,54) and torch.equal(s.unlabelled.x[:24], s.train.x)

@pytest.mark.parametrize('data,words', [((X.astype('float32'), Y), 'write x/255'),
    ((X, Y[:9]), 'labels of shape (9,) for 60 images'), (dict(y=Y), 'no images among y'),
    ((X, Y/2), 'neither a word nor a whole number'), (np.full((4,3,8,8), np.nan, 'float32'), 'NaN'),
    ((X.astype('int64'), Y), 'got int64'), ([1, 2], 'a int is no image'),
    (dict(train=(X,Y), tset=(X,Y)), "'tset' is none of the parts"), ((X, ['a']*60), 'all labels are a'),
    (None, 'no images')])
def test_arrays_that_are_refused(data, words): says(lambda: own_images(data), words)

def test_a_file_that_runs_code_is_refused(tmp_path):
    np.save(tmp_path/'a.npy', np.array([dict()], dtype=object), allow_pickle=True)
    says(lambda: own_images(tmp_path/'a.npy'), 'cannot be read as a file of NumPy')

def test_data_sets_of_torchvision_and_fastai(pets):
    from fastai.vision.all import ImageDataLoaders
    folder = torchvision.datasets.ImageFolder(pets)
    by_path,by_set = own_images(pets),own_images(folder)
    assert by_path.train.digest==by_set.train.digest and by_path.test.digest==by_set.test.digest
    two = own_images(dict(train=Subset(folder, range(0, 30, 2)), test=Subset(folder, range(1, 30, 2))))
    assert (len(two.train), len(two.test))==(15,15) and two.train.classes==list('abc')
    dls = ImageDataLoaders.from_folder(pets, valid_pct=.3, seed=0, num_workers=0)
    fast = own_images(dls)
    assert (len(fast.train), len(fast.test))==(21,9) and fast.train.classes==list('abc')
    fake = own_images(torchvision.datasets.FakeData(20, (3,100,120), 2), size=(20,24), channels=1)
    assert fake.train.shape==(1,20,24) and fake.train.classes==['0','1']

# Draws

@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from('abcd'), st.integers(1, 40), min_size=1), st.sampled_from([.1,.2,.5]),
    st.integers(0, 3), st.integers(0, 30))
def test_a_draw_is_stratified_and_stays(counts, share, seed, more):
    units = {f'{c}/{i}': [c] for c,n in counts.items() for i in range(n)}
    sides = draw_test(units, share, seed)
    for c,n in counts.items():
        k = sum(s=='test' for u,s in sides.items() if u[0]==c)
        assert k==min(n-1, max(1, round(share*n)))
    grown = draw_test(units | {f'a/new {i}': ['a'] for i in range(more)}, share, seed, sides)
    assert {u: grown[u] for u in sides}==sides

@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from('abc'), min_size=1, max_size=6), min_size=2, max_size=12), st.integers(0, 3))
def test_groups_stay_whole_and_every_class_can_be_learnt(groups, seed):
    sides = draw_test(dict(enumerate(groups)), .25, seed)
    train,test = ({c for g,labels in enumerate(groups) for c in labels if sides[g]==s} for s in ('train','test'))
    assert test<=train=={c for o in groups for c in o}

def test_files_that_come_later_move_nobody(pets, cache):
    side = lambda s: dict(zip(s.account.table.name, s.account.table.part))
    before = own_images(pets)
    for i in range(30, 60): put(im(i), pets/'abc'[Y[i]]/f'0{i}.png')
    after = own_images(pets)
    assert {n: side(after)[n] for n in side(before)}==side(before) and after.account.classes.test.tolist()==[4,4,4]
    assert any('drawn by name' in o for o in after.account.notes) and 'earlier draw' in after.account.notes[-1]

def test_a_copy_of_a_training_image_does_not_test(pets):
    names = read_own(pets).account.table
    test = names[names.part=='test'].name.iloc[0]
    train = names[(names.part=='train') & (names.label==test[0])].name.iloc[0]
    shutil.copy(pets/train, pets/test)
    a = read_own(pets).account
    assert 'a copy of an image that trains' in why(a)[test] and a.parts==dict(train=24, test=5) and not len(a.copies)

# The cache

def test_what_changed_is_decoded_and_the_rest_is_not(pets, cache, monkeypatch):
    from aepretrain_nb.data import decoded
    seen,real = [],decode
    monkeypatch.setattr(decoded, 'decode', lambda path, **how: seen.append(Path(path).name) or real(path, **how))
    first = own_images(pets)
    assert len(seen)==30 and own_images(pets).digest==first.digest and len(seen)==30
    stat = (pets/'a'/'00.png').stat()
    new = im(59).convert('L').convert('RGB')
    new.save(pets/'a'/'00.png')
    os.truncate(pets/'a'/'00.png', stat.st_size) if (pets/'a'/'00.png').stat().st_size>stat.st_size else None
    os.utime(pets/'a'/'00.png', ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (pets/'b'/'01.png').unlink()
    put(im(40), pets/'b'/'new.png')
    own_images(pets)
    assert sorted(seen[30:])==['00.png','new.png']
    shutil.rmtree(cache)
    fresh = own_images(pets)
    assert fresh.digest==own_images(pets).digest==own_images(pets, cache=False).digest

def test_what_is_no_image_among_others_is_one_by_itself(tmp_path):
    deep = np.arange(1024, dtype='uint16').reshape(32,32)
    for i in range(6):
        (tmp_path/'ab'[i%2]).mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path/'ab'[i%2]/f'{i}.tif', np.stack([deep*(i+1)]*6), planarconfig='separate')
    for i in range(2): put(im(i), tmp_path/'ab'[i]/f'photo {i}.png')
    for _ in range(2):
        six,three = read_own(tmp_path).account,read_own(tmp_path, channels=3).account
        assert (six.shape[0], len(six.table), three.shape[0], len(three.table))==(6,6,3,2)
        assert why(six)['a/photo 0.png']=='mode RGB among images of 6 channels'
        assert why(three)['a/0.tif']=='6 channels among images of 3'

@pytest.mark.parametrize('harm', ['cut', 'gone', 'other'])
def test_a_broken_cache_is_made_again(pets, cache, harm):
    want = own_images(pets).digest
    for f in [*cache.rglob('*.json'), *cache.rglob('*.pixels')]:
        if harm=='gone': f.unlink()
        elif f.suffix=='.json': f.write_text('{"rows": [' if harm=='cut' else '[1]')
    assert own_images(pets).digest==want

def test_workers_get_the_images_once(files, tmp_path):
    s = own_images(files)
    keep_splits(s, tmp_path/'kept')
    back = read_splits(tmp_path/'kept')
    images = (len(s.unlabelled)+len(s.test))*s.train.x[0].numel()
    assert back.digest==s.digest and back.train.x.data_ptr()==back.unlabelled.x.data_ptr()
    assert (tmp_path/'kept').stat().st_size<1.05*images+4096

# The command line

SMALL = '--size 16 --setting smoke --arms random --seeds 1 --labels 12'.split()

def test_from_a_folder_to_a_report(pets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pets = pets.rename(tmp_path/'digits')
    assert main(['compare', './digits', *SMALL])==0
    got = capsys.readouterr()
    assert got.err.startswith('digits\nread      30 images') and '6 test images of own_digits' in got.out
    out = tmp_path/'aepretrain-own_digits-smoke'
    assert (out/'account.txt').read_text(encoding='utf-8').startswith('digits\nread      30 images')
    says(lambda: own_images(out), 'holds results of a comparison')
    assert main(['report', str(out)])==0
    told = (out/'report.html').read_text(encoding='utf-8')
    assert 'aepretrain compare ./digits --size 16x16 --recipe default --setting smoke' in told
    (pets/'a'/'00.png').unlink()
    assert main(['compare', './digits', *SMALL])==2 and 'the data differ' in capsys.readouterr().err

def test_sizes_of_a_recipe_that_a_small_set_has_not(pets, tmp_path, capsys):
    assert main(['compare', str(pets), '--size', '16', '--setting', 'smoke', '--arms', 'random', '--seeds', '1',
        '--out', str(tmp_path/'out')])==0
    assert set(pd.read_csv(tmp_path/'out'/'results.csv').labels)=={24}

def test_look_says_it_and_draws_it(files, tmp_path, capsys):
    assert main(['look', str(files), '--size', '24x32', '--resize', 'pad', '--channels', '1', '--out',
        str(tmp_path/'a.png')])==0
    said = capsys.readouterr().out
    for words in ('69 images, 8 skipped', '1 channel of 24x32, uint8, resize: pad', 'truncated',
        'warning: this cannot be compared'):
        assert words in said
    assert Image.open(tmp_path/'a.png').width>300

@pytest.mark.parametrize('argv,words', [('look nothere', "unknown data set 'nothere'"),
    ('look {}/none/', 'there is no folder or file'), ('compare nothere', 'nor is there a folder or file of that name'),
    ('look {} --size 0', "'0' is neither a number of pixels"),
    ('look {} --resize stretch', 'invalid choice'), ('compare {} --test 1.5', 'a share of the images between 0 and 1'),
    ('look {} --columns kind', 'is not a list such as file=path'),
    ('compare digits --size 8', 'for images of your own, not for digits'),
    ('look {}/a/00.png', 'is neither a folder nor'), ('look {}/labels.csv', 'no folder or file')])
def test_wrong_words_are_one_line(pets, tmp_path, monkeypatch, capsys, argv, words):
    monkeypatch.chdir(tmp_path)
    assert main(argv.format(pets).split())==2
    err = capsys.readouterr().err
    assert words in err and err.count('\n')==1 and [o.name for o in tmp_path.iterdir()]==['pets']
