"""What a GPU gives here within some minutes: `make gpu`, or `python benchmarks/gpu.py --minutes 8 --out gpu`.

Parts, each in a process of its own: `parity` (a small grid here and on the processor), `throughput` (steps of two autoencoders against the card's
bf16 peak), `stacked` (five small nets as one), `kohlbrenner` and `dong` (grids at the papers' widths). What has finished is kept in --work, and the same
command goes on from there; one that starts with an empty --work takes up the state.zip in --out. A part that fails says why, and the next one begins.
Without a GPU everything runs at smoke size. Nothing is fetched.

--out holds rows.csv (what was measured), grid.csv (rows of the grids, as in results/), summary.json and state.zip (what the next call goes on from).

For a machine with nothing but PyTorch and the usual packages: `--pack gpu.pyz` writes this script, the package, the images (MNIST, and 20,000 of
CIFAR-10) and the wheels of --wheels into one file, which is run as `python gpu.pyz --minutes 8`. What is missing there is installed from the wheels,
without a network, into a folder of its own. They come from

    pip download --no-deps --only-binary=:all: -d wheels fastai fastcore fastprogress fasttransform fastdownload plum-dispatch beartype \\
        python-fasthtml starlette itsdangerous python-multipart cloudpickle tifffile -c constraints.txt

(with --python-version 3.12 where that machine runs another Python); torch, torchvision, timm, scipy, pandas, scikit-learn, matplotlib and safetensors
have to be there.
"""
import argparse, csv, importlib.util, io, json, math, os, re, subprocess, sys, time, zipfile
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PARTS = 'parity', 'throughput', 'stacked', 'kohlbrenner', 'dong'
NEEDED = 'torch', 'torchvision', 'fastai', 'fastcore', 'timm', 'scipy', 'pandas', 'sklearn', 'matplotlib', 'safetensors', 'tifffile', 'filelock'
MOST = 15.5e6  # bytes of the state that --out holds

# What is carried ------------------------------------------------------------------------------------------------------------------

SETS = dict(mnist=(60_000, 10_000), cifar10=(16_000, 4_000))  # the first images of each part, so that all of it stays below 60 MB

def mosaic(
    x # (n,c,h,w) bytes
): # (rows of images, columns of images, c) bytes
    "Images side by side in a square, which is filled up with black ones."
    n,c,h,w = x.shape
    side = math.ceil(math.sqrt(n))
    every = x.new_zeros(side*side, c, h, w)
    every[:n] = x
    return every.view(side, side, c, h, w).permute(0, 3, 1, 4, 2).reshape(side*h, side*w, c)

def taken_apart(
    picture, # from `mosaic`
    n:int, # images
    shape # (c,h,w)
): # (n,c,h,w) bytes
    "The images of a mosaic."
    c,h,w = shape
    side = picture.shape[0]//h
    return picture.view(side, h, side, w, -1).permute(0, 2, 4, 1, 3).reshape(side*side, -1, h, w)[:n, :c].contiguous()

def carried(
    z:zipfile.ZipFile, # the pack
    name:str # of a data set
):
    "Put the first images of a data set into a pack, as pictures that lose nothing."
    from PIL import Image
    from aepretrain_nb.data.named import dataset
    splits,words = dataset(name),{}
    for part,n in zip(('train', 'test'), SETS[name]):
        images,f = getattr(splits, part),io.BytesIO()
        a = mosaic(images.x[:n]).numpy()
        Image.fromarray(a[..., 0] if a.shape[2]==1 else a).save(f, 'webp', lossless=True, quality=50)
        z.writestr(zipfile.ZipInfo(f'data/{name}/{part}.webp'), f.getvalue())
        words[part] = images.y[:n].tolist()
    whole = len(splits.train)==SETS[name][0]
    words |= dict(name=name if whole else f'{name}_part', classes=splits.train.classes, shape=splits.train.shape)
    z.writestr(f'data/{name}/words.json', json.dumps(words))

def unpacked(
    folder:Path # of one data set in a pack
): # `Splits`
    "The images of a pack."
    import numpy as np, torch
    from PIL import Image
    from aepretrain_nb.data.sets import ImageSet
    from aepretrain_nb.data.splits import Splits
    words = json.loads((folder/'words.json').read_text(encoding='utf-8'))
    def part(k):
        picture = torch.from_numpy(np.array(Image.open(folder/f'{k}.webp').convert('RGB')))
        x = taken_apart(picture, len(words[k]), words['shape'])
        return ImageSet(x, torch.tensor(words[k]), words['classes'], name=words['name'])
    return Splits(words['name'], part('train'), part('test'))

START = '''"Unpack beside this file, and run what was packed."
import os, sys, zipfile
from pathlib import Path
here = Path(sys.argv[0]).resolve()
to = here.with_name(here.stem+'.unpacked')
zipfile.ZipFile(here).extractall(to)
os.execv(sys.executable, [sys.executable, str(to/'benchmarks'/'gpu.py'), *sys.argv[1:]])
'''

def pack(
    file:Path, # to write
    wheels:Path # a folder, or None
):
    "Write one file that runs this script elsewhere."
    from aepretrain_nb.experiment.work import revision
    package = [f for f in sorted((ROOT/'aepretrain_nb').rglob('*')) if f.is_file() and '__pycache__' not in f.parts]
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('__main__.py', START)
        z.writestr('revision.txt', revision())
        for f in [*package, *sorted(HERE.glob('gpu*.py'))]: z.write(f, f.relative_to(ROOT))
        for name in SETS: carried(z, name)
        for f in sorted(wheels.glob('*.whl')) if wheels else (): z.write(f, f'wheels/{f.name}')
    print(f'{file}: {file.stat().st_size/1e6:.1f} MB; run it with: python {file.name} --minutes 8')

# What has to be there -------------------------------------------------------------------------------------------------------------

def plain(name): return re.sub(r'[-_.]+', '-', name).lower()

def add_wheels(
    wheels:Path, # a folder
    site:Path # where to install to
):
    "Install what is missing from wheels, and nothing that is there; later calls find it."
    sys.path += [str(ROOT), str(site)]
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH'), str(site)]))
    there = {plain(d.metadata['Name'] or '') for d in distributions()}
    new = [str(f) for f in sorted(wheels.glob('*.whl')) if plain(f.name.partition('-')[0]) not in there]
    how = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-index', '--no-deps', '--no-compile', '--target', str(site)]
    if new: subprocess.run([sys.executable, *how, *new], check=True)
    importlib.invalidate_caches()

def missing()->list: # names
    "What cannot be imported here."
    return [o for o in NEEDED if not importlib.util.find_spec(o)]

# State and results ------------------------------------------------------------------------------------------------------------------

def found(work:Path)->dict: # part -> name -> dict of state, why, seconds, rows, grid
    "What the parts have written down."
    return {f.stem: json.loads(f.read_text(encoding='utf-8')) for f in sorted((work/'parts').glob('[!.]*.json'))}

LOCAL = {'site', 'data', 'copies', 'claims', 'parity_cpu', 'parity_here'}  # folders that the next call does without

def keep_state(
    work:Path, # what is to be kept
    file:Path # zip
)->list: # names of files that found no room
    "Zip what the next call goes on from: first what is small, then weights as long as there is room."
    files = [f for f in work.rglob('*') if f.is_file() and not LOCAL & {*f.relative_to(work).parts}]
    left,size = [],0
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as z:
        for f in sorted(files, key=lambda f: (f.suffix=='.safetensors', f.stat().st_size)):
            name,n = f.relative_to(work).as_posix(),f.stat().st_size
            if f.suffix=='.safetensors' and size+n>MOST: left.append(name)
            else: z.write(f, name)
            size = file.stat().st_size + (0 if name in left else n)
    return left

def write_csv(file, rows):
    "Rows as CSV: the columns of all of them, in the order in which they come up"
    columns = list(dict.fromkeys(k for r in rows for k in r))
    with file.open('w', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, columns, lineterminator='\n')
        w.writeheader()
        w.writerows(rows)

def write_out(
    out:Path, # folder
    work:Path, # from where
    ended:dict, # part -> how its process ended, where not well
    seconds:float # this call took
)->dict: # the summary
    "Write the rows, the summary and the state; nothing above 16 MB."
    parts,about = found(work),work/'about.json'
    every = [(p, k, t) for p,o in parts.items() for k,t in o.items()]
    write_csv(out/'rows.csv', [dict(part=p) | r for p,_,t in every for r in t['rows']])
    write_csv(out/'grid.csv', [r for _,_,t in every for r in t['grid']])
    tasks = {p: {k: {a: v for a,v in t.items() if a not in ('rows', 'grid') and v} for k,t in o.items()} for p,o in parts.items()}
    said = dict(about=json.loads(about.read_text(encoding='utf-8')) if about.exists() else {}, parts=tasks, ended=ended, seconds=round(seconds, 1))
    said['not_kept'] = keep_state(work, out/'state.zip')
    (out/'summary.json').write_text(json.dumps(said, indent=1), encoding='utf-8')
    return said

# The parts, one after the other -------------------------------------------------------------------------------------------------------

SHARE = dict(parity=.15, throughput=.2, stacked=.15, kohlbrenner=.65, dong=1.)  # of the time that is left when a part begins

def one_part(
    name:str, # of `PARTS`
    a, # options
    until:float # when it has to end, in seconds since the epoch
)->str: # how its process ended, where not well
    "Run a part in a process of its own, which is ended when it does not end itself."
    own = [sys.executable, __file__, '--part', name, '--until', str(until), '--work', a.work, '--processes', a.processes]
    p = subprocess.Popen([*map(str, own), *(['--device', a.device] if a.device else []), *['--smoke']*a.smoke])
    try: code = p.wait(max(0, until-time.time())+15)
    except subprocess.TimeoutExpired: return 'did not end in time and was killed'
    finally:
        p.kill()
        p.wait()
    return '' if code==0 else f'ended with exit code {code}'

def options(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--minutes', type=float, default=8, help='to be done within')
    p.add_argument('--out', type=Path, default=Path('gpu'), help='folder of the results')
    p.add_argument('--work', type=Path, help='folder of what is kept between calls; OUT.work by default')
    p.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS, help='what to run, in that order')
    p.add_argument('--device', help='cuda, mps or cpu; the best there is by default')
    p.add_argument('--smoke', action='store_true', help='smoke size on a GPU, too')
    p.add_argument('--processes', type=int, default=4, help='processes of a grid on a GPU')
    p.add_argument('--wheels', type=Path, default=ROOT/'wheels', help='folder of wheels to install from, or to pack')
    p.add_argument('--pack', type=Path, metavar='FILE', help='write everything into one file, and end')
    p.add_argument('--part', choices=PARTS, help=argparse.SUPPRESS)
    p.add_argument('--until', type=float, help=argparse.SUPPRESS)
    a = p.parse_args(argv)
    if not 0<a.minutes<math.inf: p.error(f'--minutes is {a.minutes}: a number above 0')
    if a.processes<1: p.error(f'--processes is {a.processes}: a whole number from 1')
    a.work = a.work or a.out.with_name(a.out.name+'.work')
    return a

def begin(a):
    "See that everything is there, and take up the state of an earlier call"
    a.work.mkdir(parents=True, exist_ok=True)
    a.out.mkdir(parents=True, exist_ok=True)
    state = a.out/'state.zip'
    if state.exists() and not (a.work/'parts').exists(): zipfile.ZipFile(state).extractall(a.work)

def main(argv=None):
    start,a = time.time(),options(argv)
    for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)
    add_wheels(a.wheels, a.work/'site')
    if lacks := missing(): sys.exit(f'not installed: {", ".join(lacks)}; --wheels DIR installs from a folder of wheels (see --help)')
    if a.pack: return pack(a.pack, a.wheels)
    if a.part:
        from gpu_parts import run_part
        return run_part(a.part, a.work, a.until, a.device, a.smoke, a.processes)
    begin(a)
    end,ended = start+60*a.minutes-min(15, 6*a.minutes),{}
    for name in a.parts:
        left = end-time.time()
        ended[name] = one_part(name, a, time.time()+left*SHARE[name]) if left>0 else 'no time was left'
        said = write_out(a.out, a.work, {k: v for k,v in ended.items() if v}, time.time()-start)
    for line in words(said): print(line)

def words(said):
    "A line for every task that has not finished, and one for all"
    tasks = [(p, k, t) for p,o in said['parts'].items() for k,t in o.items()]
    for p,k,t in tasks:
        if t['state']!='done': yield f'{p}, {k}: {t["state"]} ({t.get("why", "")})'
    for p,why in said['ended'].items(): yield f'{p}: {why}'
    done = sum(t['state']=='done' for *_,t in tasks)
    yield f'{done} of {len(tasks)} tasks finished on {said["about"].get("name", "?")} in {said["seconds"]:.0f} s; the same command goes on'

if __name__=='__main__': main()
