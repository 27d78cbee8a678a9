"A folder as people have it, of generated images: `make(folder)` writes it; bars, odd files and link loops."
import csv, os
from pathlib import Path
import numpy as np
from PIL import Image

def bars(n, k=3, size=32, seed=0):
    "Class = place and colour of a bright bar, plus noise; (n,3,size,size) and classes"
    r = np.random.default_rng(seed)
    y = np.arange(n)%k
    x = r.normal(90, 25, (n,3,size,size))
    for i,o in enumerate(y): x[i, o%3, :, (o*size)//k:((o+1)*size)//k] += 110
    return np.clip(x, 0, 255).astype('uint8'), y

X,Y = bars(60)

def im(i): return Image.fromarray(X[i].transpose(1,2,0))

def put(image, path, **kw):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **kw)

def parts(folder):
    "Training and test images in folders of classes (test has no b, but a d), and unlabelled ones"
    for i in range(42):
        part = 'train' if i<30 else 'test'
        if part=='train' or Y[i]!=1: put(im(i), folder/part/'abc'[Y[i]]/f'{i:03}.jpg', quality=90)
    put(im(50), folder/'test'/'d'/'050.jpg')
    for i in range(42, 60): put(im(i), folder/'unlabelled'/f'{i:03}.png')

def modes(a):
    "An image in every mode, in the folder `a`"
    put(Image.fromarray(np.linspace(0, 65535, 1024).reshape(32,32).astype('uint16')), a/'grey16.png')
    put(Image.fromarray(np.random.default_rng(0).random((32,32)).astype('float32')), a/'float32.tif')
    for mode,name in (('L','grey8.png'), ('RGBA','rgba.png'), ('CMYK','cmyk.jpg'), ('1','onebit.png')):
        put(im(3).convert(mode), a/name)
    put(im(3).convert('P', palette=Image.Palette.ADAPTIVE), a/'palette.gif')
    for name in ('größe 1.JPG', 'UPPER.PNG'): put(im(3), a/name)
    put(im(3).resize((9,31)), a/'odd.png')
    put(im(3).resize((1,1)), a/'one_pixel.png')

def odd(folder):
    "What is no image, or should not be one"
    a,b,c = (folder/'train'/o for o in 'abc')
    raw = (a/'000.jpg').read_bytes()
    (a/'truncated.jpg').write_bytes(raw[:len(raw)//2])
    (a/'zero.jpg').write_bytes(b'')
    put(im(1), folder/'train'/'.ipynb_checkpoints'/'x-checkpoint.jpg')
    for name,data in {'.DS_Store': b'\0\0\0\1Bud1', 'Thumbs.db': b'\xd0\xcf\x11\xe0', '._000.jpg': b'\0\5\x16\7',
        'notes.txt': b'x'}.items():
        (a/name).write_bytes(data)
    put(im(4), b/'sub'/'nested.jpg')
    (folder/'train'/'empty').mkdir()
    for to,name in (('..','loop'), ('/nonexistent.jpg','dangling.jpg'), ('../a/000.jpg','link_to_other_class.jpg')):
        os.symlink(to, c/name)

LABELS = [['unlabelled/042.png','a'], ['unlabelled/043.png',' b'], ['unlabelled/044.png',''],
    ['unlabelled/999.png','c'], ['unlabelled/045.png','a'],
    ['unlabelled/045.png','c'], ['../../etc/passwd','a'], ['UNLABELLED/046.PNG','b']]

def table(path, rows, header=('file','label')):
    with open(path, 'w', newline='', encoding='utf-8') as f: csv.writer(f).writerows([header, *rows])
    return path

def make(folder):
    folder = Path(folder)
    parts(folder)
    modes(folder/'train'/'a')
    odd(folder)
    table(folder/'labels.csv', LABELS)
    np.save(folder/'six_channels.npy', np.random.default_rng(0).integers(0, 256, (20,32,32,6), dtype='uint8'))
    return folder
