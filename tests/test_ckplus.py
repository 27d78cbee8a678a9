"CK+: the official layout read to the letter, faces that hold their landmarks, people on one side only"
import os, re, shutil, struct, subprocess, sys, zlib
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from aepretrain_nb.data.ckplus import (CKPlus, CK_PARTS, EMOTIONS, FACE_SIZE, draw_ckplus, face_box, read_face,
    read_landmarks, split_subjects)
from aepretrain_nb.cli import main
from aepretrain_nb.data.named import DATASETS, dataset, verify
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.labels import label_subset, split_valid
from aepretrain_nb.compare import compare
from aepretrain_nb.data.check import check_splits
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.recipe import find_recipe

pytestmark = pytest.mark.usefixtures('no_pictures')

repo = Path(__file__).resolve().parents[1]

@pytest.fixture(scope='module')
def tree(tmp_path_factory): return draw_ckplus(tmp_path_factory.mktemp('ck')/'CK+', subjects=8, films=3, frames=4)

@pytest.fixture
def copy(tree, tmp_path): return shutil.copytree(tree, tmp_path/'ckplus', ignore=shutil.ignore_patterns('*.npz'))

def people(*sets): return set().union(*(o.groups.tolist() for o in sets))

# What is in the tree

def test_the_tree_is_in_the_official_layout(tree):
    for part,end in (('cohn-kanade-images', '.png'), ('Landmarks', '_landmarks.txt'), ('Emotion', '_emotion.txt')):
        files = [f for f in (tree/part).rglob('*') if f.is_file()]
        assert len(files)==(8*2 if part=='Emotion' else 8*(4+5+6))
        assert all(re.fullmatch(r'S\d{3}_\d{3}_\d{8}'+re.escape(end), f.name) and '_'.join(f.parts[-3:-1])==f.name[:8]
            for f in files)
    f = next(tree.glob('Emotion/S005/001/*'))
    assert float(f.read_text())==1 and f.name.startswith('S005_001_00000004')
    assert len(next(tree.glob('Landmarks/S005/001/*')).read_text().splitlines())==68
    modes = {(im.size, im.mode) for p in tree.glob('cohn-kanade-images/S*/001/*_00000001.png')
        for im in [Image.open(p)]}
    assert modes=={((640,490),'L'), ((640,480),'RGB')}

def test_every_frame_and_label_is_found(tree):
    t = CKPlus(tree).frames()
    assert len(t)==120 and t.landmarks.notna().all() and t.groupby(['subject','film']).ngroups==24
    labelled = t[t.emotion.notna()]
    assert set(labelled.film)=={'001','002'} and set(t[t.emotion.isna()].film)=={'003'}
    assert (labelled.groupby(['subject','film']).emotion.nunique()==1).all()
    assert set(labelled.emotion)==set(range(1,8))
    assert (t.groupby(['subject','film']).frame.max()==t[t.left==0].set_index(['subject','film']).frame).all()

def test_the_last_three_frames_are_labelled_and_all_are_unlabelled(tree):
    sp = CKPlus(tree).splits(transductive=True)
    assert (len(sp.train)+len(sp.test), len(sp.unlabelled))==(16*3, 120)
    assert sp.train.classes==list(EMOTIONS) and sp.train.n_classes==7 and sp.skipped==0
    for o in (sp.train, sp.test, sp.unlabelled):
        assert o.shape==(1,68,65) and o.x.dtype==torch.uint8 and len(o.groups)==len(o)
    assert torch.bincount(torch.cat([sp.train.y, sp.test.y]), minlength=7).tolist()==[9,9,6,6,6,6,6]
    t = CKPlus(tree).frames()
    for o in (sp.train, sp.test):
        for g in people(o):
            want = t[(t.subject==f'S{g:03}') & (t.left<3) & t.emotion.notna()]
            faces = [read_face(r.image, read_landmarks(r.landmarks)) for r in want.itertuples()]
            assert np.array_equal(o.x[o.groups==g][:,0].numpy(), np.stack(faces))
            assert o.y[o.groups==g].tolist()==[e-1 for e in want.emotion]

def test_transductive_is_said_and_not_refused(tmp_path):
    ck = CKPlus(draw_ckplus(tmp_path/'ck', subjects=10, films=3, frames=4))
    seen = lambda sp: [w for w in check_splits(sp).warnings if 'unlabelled' in w]
    assert not seen(ck.splits())
    groups,images = seen(ck.splits(transductive=True))
    n = len(ck.splits().test)
    assert 'unlabelled and test images share 2 groups' in groups
    assert f'{n} of {n} test images are among the unlabelled images' in images

def test_frames_of_an_unlabelled_film_are_in_the_unlabelled_set_only(tree):
    ck = CKPlus(tree)
    t,sp = ck.frames(),ck.splits(transductive=True)
    rows = {bytes(o.numpy().data) for o in [*sp.train.x, *sp.test.x]}
    for f in ck.faces(t[t.film=='003']): assert f.tobytes() not in rows
    assert len(ck.splits(transductive=True, labelled_only=True).unlabelled)==8*(4+5)

def test_films_longer_than_three_frames_give_three_shorter_ones_all(tmp_path):
    sp = CKPlus(draw_ckplus(tmp_path, subjects=4, films=2, frames=2)).splits(transductive=True)
    assert (len(sp.train)+len(sp.test), len(sp.unlabelled))==(4*2, 4*(2+3))

# Faces

@pytest.mark.parametrize('seed', range(40))
def test_the_window_holds_every_landmark_and_keeps_its_proportions(seed):
    rng = np.random.default_rng(seed)
    p = rng.uniform(-50, 600, 2) + rng.uniform(0, 1, (68,2))*rng.uniform(20, 700, 2)
    l,u,r,b = face_box(p)
    assert (p>=(l,u)).all() and (p<=(r,b)).all()
    assert (r-l, b-u)==(325,340) or max(np.ptp(p, 0)+1 - (325,340))>0
    assert abs((r-l)/(b-u)-65/68)<.004
    assert (np.abs((p.min(0)+p.max(0))/2 - ((l+r)/2, (u+b)/2))<=.5).all()

def test_a_face_is_a_fifth_and_lies_where_its_landmarks_say(tmp_path):
    a = np.zeros((490,640), np.uint8); a[150:350,200:400] = 200
    Image.fromarray(a).save(tmp_path/'x.png')
    p = np.array([[200,150]]*34 + [[400,350]]*34, float)
    face = read_face(tmp_path/'x.png', p)
    assert face.shape==FACE_SIZE and face.dtype==np.uint8
    assert (face>100).sum()==40*40 and face[34,32]==200 and face[2,2]==0
    assert abs(np.argwhere(face>100).mean(0) - (33.5,32)).max()<=.5
    out = read_face(tmp_path/'x.png', p+(300,0))  # half outside: black
    assert (out[:,-20:]==0).all()

def test_colour_becomes_grey(tmp_path):
    a = np.random.default_rng(0).integers(0, 256, (480,640,3), dtype=np.uint8)
    p = np.array([[200,100]]*34 + [[400,350]]*34, float)
    Image.fromarray(a).save(tmp_path/'rgb.png'); Image.fromarray(a).convert('L').save(tmp_path/'l.png')
    assert np.array_equal(read_face(tmp_path/'rgb.png', p), read_face(tmp_path/'l.png', p))

# People

@pytest.mark.parametrize('n', [3,4,8,30,123])
@pytest.mark.parametrize('seed', range(10))
def test_people_are_dealt_out_once(n, seed):
    names = [f'S{i:03}' for i in range(n)]
    sides = split_subjects(names, seed)
    assert sorted(sum(sides, []))==names and all(sides)
    assert sides==split_subjects(reversed(names), seed)
    if n==123: assert [len(o) for o in sides]==[90,9,24]
    if n==30: assert [len(o) for o in sides]==[22,2,6]

def test_seeds_deal_otherwise():
    assert len({tuple(split_subjects([f'S{i:03}' for i in range(123)], s)[2]) for s in range(10)})==10
    with pytest.raises(DataError, match='2 subjects found, at least 3'): split_subjects(['S001','S002'])

@pytest.mark.parametrize('seed', range(8))
def test_nobody_is_on_two_sides(tree, seed):
    ck = CKPlus(tree)
    sp,tr = ck.splits(seed),ck.splits(seed, transductive=True)
    assert not people(sp.train) & people(sp.test) and not people(sp.unlabelled) & people(sp.test)
    assert people(tr.unlabelled)==people(sp.train, sp.test)
    names = split_subjects(ck.frames().subject, seed)
    inner = sp.folds[0]
    assert people(sp.train.take(inner))=={int(o[1:]) for o in names[0]} and inner.tolist()==list(range(len(inner)))
    rest = torch.arange(len(inner), len(sp.train))
    assert people(sp.train.take(rest))=={int(o[1:]) for o in names[1]}

def test_transductive_is_in_name_and_key_but_leaves_the_labels_alone(tree):
    a,b = dataset('ckplus', tree),dataset('ckplus_transductive', tree)
    assert (a.name, b.name)==('ckplus', 'ckplus_transductive')
    assert a.digest!=b.digest and a.train.digest==b.train.digest and a.test.digest==b.test.digest
    r = find_recipe('kohlbrenner', 'smoke')
    keys = [{t.key for t in plan(o, r, labels=[14], seeds=1)} for o in (a,b)]
    assert not keys[0] & keys[1]
    names = {CKPlus(tree).splits(s, t, l).name for s in (0,1) for t in (False,True) for l in (False,True)}
    assert len(names)==8 and names & set(DATASETS)=={'ckplus','ckplus_transductive'}

def test_the_file_system_does_not_choose(tree, copy, monkeypatch):
    before = CKPlus(tree).splits().digest
    walk,glob = Path.iterdir,Path.glob
    monkeypatch.setattr(Path, 'iterdir', lambda self: reversed(sorted(walk(self))))
    monkeypatch.setattr(Path, 'glob', lambda self, *a, **kw: reversed(sorted(glob(self, *a, **kw))))
    assert CKPlus(copy).splits().digest==before

@pytest.mark.parametrize('seed', range(6))
def test_validation_is_by_person(tree, seed):
    sp = CKPlus(tree).splits()
    y,g = sp.train.y,sp.train.groups
    idx = label_subset(y, 24, seed, digest=sp.train.digest)
    for tr,va in (split_valid(idx, y, seed, groups=g),
        split_valid(sp.folds[0], y, seed, 'extra', n_valid=len(y)-len(sp.folds[0]), groups=g)):
        assert len(tr) and len(va) and not people(sp.train.take(tr)) & people(sp.train.take(va))

# What copies are like

@pytest.mark.parametrize('name', ['ckplus','ckplus_transductive'])
def test_a_missing_copy_says_where_to_ask(name, tmp_path, capsys):
    with pytest.raises(DataError) as e: dataset(name, tmp_path)
    msg = str(e.value)
    assert '\n' not in msg and str(tmp_path/'ckplus') in msg
    words = ('cohn-kanade-images', 'Landmarks', 'Emotion', 'licensed', 'agreement', 'Affect Analysis Group',
        'University of Pittsburgh', 'jeffcohn.net')
    assert all(o in msg for o in words)
    assert set(verify(name, tmp_path).status)=={'missing'}
    for argv in (['data','get',name], ['compare',name,'--out',str(tmp_path/'out')]):
        assert main([*argv, '--root', str(tmp_path)])==2
        err = capsys.readouterr().err
        assert err.count('\n')==1 and 'CK+ is licensed' in err and 'jeffcohn.net' in err
    assert not list(tmp_path.iterdir())

def test_the_list_names_it(capsys):
    assert main(['data','list'])==0
    line = next(l for l in capsys.readouterr().out.splitlines() if l.startswith('ckplus '))
    assert '1x68x65' in line and 'research only, by agreement' in line and 'no download' in line

@pytest.mark.parametrize('part', CK_PARTS)
def test_one_missing_part_is_named_alone(copy, part):
    shutil.rmtree(copy/part)
    with pytest.raises(DataError, match=f'ckplus: no {part} in {re.escape(str(copy.parent/"ckplus"))};'):
        dataset('ckplus', copy.parent)
    assert verify('ckplus', copy.parent).set_index('file').status.to_dict()=={o: 'missing' if o==part else 'altered'
        for o in CK_PARTS}

def test_what_archives_leave_behind_is_tolerated(tree, copy):
    (copy/'extended-cohn-kanade-images').mkdir()
    shutil.move(copy/'cohn-kanade-images', copy/'extended-cohn-kanade-images/cohn-kanade-images')
    (copy/'Landmarks').rename(copy/'L'); (copy/'Landmarks').mkdir(); (copy/'L').rename(copy/'Landmarks/Landmarks')
    images = copy/'extended-cohn-kanade-images/cohn-kanade-images'
    junk = copy/'__MACOSX/cohn-kanade-images/S005/001/._S005_001_00000001.png'
    for f in (copy/'.DS_Store', images/'.DS_Store', images/'S005/.DS_Store', images/'S005/001/.DS_Store',
        images/'S005/001/Thumbs.db', junk,
              images/'S005/001/S005_001_00000001_thumb_6449.png', images/'S005/001/._S005_001_00000001.png',
              copy/'Emotion/S005/.DS_Store',
              copy/'Emotion/S005/001/._S005_001_00000004_emotion.txt', copy/'Landmarks/Landmarks/S005/001/.DS_Store'):
        f.parent.mkdir(parents=True, exist_ok=True); f.write_bytes(b'\0\1')
    (copy/'Emotion/S005/003').mkdir()  # films without a label have an empty folder
    assert dataset('ckplus', copy.parent).digest==CKPlus(tree).splits().digest

def test_landmarks_that_are_missing_are_counted(copy):
    t = CKPlus(copy).frames()
    gone = [t[(t.film=='001') & (t.left==1)].iloc[0], t[t.film=='003'].iloc[0],
        t[(t.film=='002') & (t.left==4)].iloc[-1]]
    for o in gone: o.landmarks.unlink()
    assert CKPlus(copy).frames().landmarks.isna().sum()==3
    with pytest.warns(UserWarning, match='ckplus_transductive: 3 of 120 frames have no landmarks and are left out'):
        sp = CKPlus(copy).splits(transductive=True)
    assert (sp.skipped, len(sp.unlabelled), len(sp.train)+len(sp.test))==(3, 117, 16*3-1)

def test_a_film_that_lost_its_end_has_no_wrong_labels(copy):
    film = sorted((copy/'cohn-kanade-images/S005/001').iterdir())
    for f in film[-2:]: f.unlink()
    sp = CKPlus(copy).splits(transductive=True)
    assert len(sp.train)+len(sp.test)==16*3-2 and len(sp.unlabelled)==118

def test_neutral_is_no_label(copy):
    next(copy.glob('Emotion/S005/001/*')).write_text('   0.0000000e+00\n')
    sp = CKPlus(copy).splits(transductive=True)
    assert len(sp.train)+len(sp.test)==15*3 and len(sp.unlabelled)==120

@pytest.mark.parametrize('part,text,msg',
    [('Emotion', '8\n', 'expected a number from 0 to 7'), ('Emotion', '', 'expected a number from 0 to 7'),
    ('Emotion', '2.5', 'expected a number from 0 to 7'), ('Landmarks', '1 2\n'*67, 'expected 68 lines of x and y'),
    ('Landmarks', 'x y\n'*68, '68 lines'),
    ('Landmarks', 'nan 1\n'*68, '68 lines'), ('cohn-kanade-images', 'no image', 'not readable as an image')])
def test_a_file_that_cannot_be_is_named(copy, part, text, msg):
    f = sorted((copy/part/'S010/001').iterdir())[-1]
    f.write_text(text)
    with pytest.raises(DataError, match=msg) as e: dataset('ckplus', copy.parent)
    assert f.name in str(e.value) and '\n' not in str(e.value)

@pytest.mark.parametrize('size', [(4096, 4097), (60_000, 60_000)])
def test_an_image_that_would_fill_the_memory_is_named_before_it_is_decoded(tmp_path, size):
    "A kilobyte that says it is gigabytes"
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind+data))
    f = tmp_path/'bomb.png'
    f.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', *size, 8, 0, 0, 0, 0)) +
        chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b''))
    with pytest.raises(DataError, match='bomb.png') as e: read_face(f, np.ones((68, 2)))
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('far', [1e9, -1e9, 1e300])
def test_landmarks_beyond_reason_are_named(copy, far):
    t = CKPlus(copy).frames().iloc[0]
    with pytest.raises(DataError, match='far outside'): read_face(t.image, read_landmarks(t.landmarks)+far)

def test_a_truncated_image_is_named(copy):
    f = sorted((copy/'cohn-kanade-images/S010/001').iterdir())[0]
    f.write_bytes(f.read_bytes()[:800])
    with pytest.raises(DataError, match=f'{f.name}: not readable as an image'): dataset('ckplus', copy.parent)

def test_no_label_on_a_side_is_said(copy):
    for d in (copy/'Emotion').iterdir(): shutil.rmtree(d); d.mkdir()
    with pytest.raises(DataError, match='ckplus: no labelled film of a training subject'):
        dataset('ckplus', copy.parent)
    test = split_subjects(CKPlus(copy).frames().subject)[2]
    for f in draw_ckplus(copy.parent/'again', subjects=8, films=3).glob('Emotion/*/*/*'):
        if f.parts[-3] not in test:
            (to := copy/f.relative_to(copy.parent/'again')).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f, to)
    with pytest.raises(DataError, match='no labelled film of a test subject'): dataset('ckplus', copy)

# The faces are kept

def test_faces_are_kept_and_made_again_when_a_file_changes(copy, monkeypatch):
    import aepretrain_nb.data.ckplus as m
    calls,real = [],m.read_face
    monkeypatch.setattr(m, 'read_face', lambda *a: calls.append(a) or real(*a))
    first = dataset('ckplus_transductive', copy.parent).digest
    assert len(calls)==120 and (copy/'ckplus_faces.npz').exists() and not list(copy.glob('.*'))
    assert dataset('ckplus_transductive', copy.parent).digest==first and len(calls)==120
    f = sorted((copy/'cohn-kanade-images/S010/001').iterdir())[0]
    Image.new('L', (640,490), 77).save(f)
    assert dataset('ckplus_transductive', copy.parent).digest!=first and len(calls)==240
    (copy/'ckplus_faces.npz').write_bytes(b'PK\3\4 not an archive')
    dataset('ckplus_transductive', copy.parent)
    assert len(calls)==360

def test_a_copy_that_cannot_be_written_is_read(copy, monkeypatch):
    monkeypatch.setattr(np, 'savez', lambda *a, **kw: (_ for _ in ()).throw(PermissionError(13, 'no')))
    assert len(dataset('ckplus', copy.parent).train) and not (copy/'ckplus_faces.npz').exists()

@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='reads /proc')
@pytest.mark.slow
def test_memory_holds_faces_not_frames(copy):
    "120 frames take 38 MB as grey bytes; reading them may take a few at a time"
    code = f'''
import aepretrain_nb.data.ckplus as m
from pathlib import Path
def kb(): return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1])
ck = m.CKPlus({str(copy)!r}); t = ck.frames(); m.read_face(t.image[0], m.read_landmarks(t.landmarks[0]))
before = kb(); x = ck.faces(t); print((kb()-before)*1.024/1000)'''
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, cwd=repo).stdout
    assert float(out)<8, out

# End to end

@pytest.mark.parametrize('name', ['ckplus', pytest.param('ckplus_transductive', marks=pytest.mark.slow)])
def test_compare_by_name(tmp_path, name):
    tree,arms = draw_ckplus(tmp_path/'CK+', subjects=10, films=3, frames=4),('pretrained', 'random_paper')
    res = compare(name, arms, labels=[28], seeds=2, recipe='kohlbrenner', setting='smoke', root=tree, valid='within',
        progress=False)
    assert len(res.rows)==4 and not len(res.missing) and set(res.rows.data)=={name}
    assert set(res.rows.n_unlabelled.dropna())=={len(dataset(name, tree).unlabelled)}
    assert set(res.rows.n_train+res.rows.n_valid)=={28}
