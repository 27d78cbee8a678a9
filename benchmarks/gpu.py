"""What a GPU gives here within some minutes: `make gpu`, or `python benchmarks/gpu.py --minutes 8 --out gpu`.

Parts, each in a process of its own: `parity` (a small grid here and on the processor), `throughput` (steps of two
autoencoders, and their share of the card's bf16 peak), `stacked` (five small nets as one), `kohlbrenner`, `dong`
and `zhang` (grids at the papers' widths, or nearer to them). What has finished is kept in --work, and the same command
goes on from there; one that begins with an empty --work takes up the state.zip in --out. A part that fails says why,
and the next one begins.
Without a GPU everything runs at smoke size. Nothing is fetched.

--out holds rows.csv (what was measured), grid.csv (rows of the grids, in the columns of results/), summary.json (the
machine, and what each task gave or why it did not) and state.zip (what a later call goes on from).

For a machine with little more than PyTorch, `--pack gpu.pyz` writes script, package, images (MNIST, and 15,000 of
CIFAR-10) and the wheels of --wheels into one file below 60 MB, which runs as `python gpu.pyz --minutes 8`. What is
missing there is installed from its wheels into a folder of its own, without a network. The wheels come from

    pip download --no-deps --only-binary=:all: -c constraints.txt -d wheels fastai fastcore fastprogress \\
        fasttransform fastdownload plum-dispatch beartype python-fasthtml starlette itsdangerous python-multipart \\
        cloudpickle tifffile

(with --python-version where that machine runs another Python). torch, torchvision, timm, scipy, pandas, scikit-learn,
matplotlib, safetensors and filelock are never installed: they have to be there.
"""
import argparse, csv, importlib.util, io, json, math, os, re, signal, subprocess, sys, time, zipfile
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PARTS = 'parity', 'throughput', 'stacked', 'kohlbrenner', 'dong', 'zhang'
NEEDED = ('torch', 'torchvision', 'timm', 'scipy', 'pandas', 'sklearn', 'matplotlib', 'safetensors', 'filelock',
    'fastai', 'fastcore', 'fastprogress', 'fasttransform', 'plum', 'cloudpickle', 'tifffile')
MOST = 10e6  # bytes of state.zip, so that it travels beside a pack

# What is carried --------------------------------------------------------------------------------------------

SETS = dict(mnist=(60_000, 10_000), cifar10=(12_000, 3_000))  # images to train and to test: the first ones

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
whole = to/'whole'
if not whole.exists() or whole.stat().st_mtime<here.stat().st_mtime:
    zipfile.ZipFile(here).extractall(to)
    whole.touch()
os.execv(sys.executable, [sys.executable, str(to/'benchmarks'/'gpu.py'), *sys.argv[1:]])
'''

def pack(
    file:Path, # to write
    wheels:Path # a folder, or None
):
    "Write one file that runs this script elsewhere."
    from aepretrain_nb.experiment.records import revision
    package = [f for f in sorted((ROOT/'aepretrain_nb').rglob('*')) if f.is_file() and '__pycache__' not in f.parts]
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('__main__.py', START)
        z.writestr('revision.txt', revision())
        for f in [*package, *sorted(HERE.glob('gpu*.py'))]: z.write(f, f.relative_to(ROOT))
        for name in SETS: carried(z, name)
        for f in sorted(wheels.glob('*.whl')) if wheels else (): z.write(f, f'wheels/{f.name}')
    print(f'{file}: {file.stat().st_size/1e6:.1f} MB; run it with: python {file.name} --minutes 8')

# What has to be there ---------------------------------------------------------------------------------------

def stop(line):
    "Say in one line why nothing is run, and end"
    print(line, file=sys.stderr)
    raise SystemExit(2)

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
    pip = [sys.executable, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-compile']
    install = [*pip, '--no-index', '--no-deps', '--target', str(site), *new]
    if new and subprocess.run(install).returncode: stop(f'the wheels in {wheels} are not for this Python: see above')
    importlib.invalidate_caches()

def missing()->list: # names
    "What cannot be imported here."
    return [o for o in NEEDED if not importlib.util.find_spec(o)]

# State and results ------------------------------------------------------------------------------------------

def tasks_of(
    work:Path # what is kept
): # (part, name, dict of state, why, said, seconds, rows, grid) of each
    "What the parts have written down."
    for f in sorted((work/'parts').glob('[!.]*.json'), key=lambda f: PARTS.index(f.stem)):
        for name,task in json.loads(f.read_text(encoding='utf-8')).items(): yield f.stem,name,task

LOCAL = {'site', 'data', 'copies', 'claims', 'parity_cpu', 'parity_here'}  # folders that the next call does without

def keep_state(
    work:Path, # what is to be kept
    file:Path # zip
)->list: # names of files that found no room
    "Zip what the next call goes on from: first what is small, then weights as long as there is room."
    files = [f for f in work.rglob('*') if f.is_file() and not LOCAL & {*f.relative_to(work).parts}]
    left = []
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as z:
        for f in sorted(files, key=lambda f: (f.suffix=='.safetensors', f.stat().st_size)):
            name,size = f.relative_to(work).as_posix(),sum(o.compress_size for o in z.infolist())
            if f.suffix=='.safetensors' and size+f.stat().st_size>MOST: left.append(name)
            else: z.write(f, name)
    return left

def write_csv(file, rows):
    "Rows as CSV: the columns of all of them, in the order in which they come up"
    columns = {}
    for r in rows: columns |= dict.fromkeys(r)
    with file.open('w', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, columns, lineterminator='\n')
        w.writeheader()
        w.writerows(rows)

def summary(
    work:Path, # what is kept
    ended:dict, # part -> how its process ended
    seconds:float # this call took
)->dict: # plain JSON
    "The machine, and what each task gave or why it did not."
    about,tasks = work/'about.json',[]
    for part,name,t in tasks_of(work):
        tasks.append(dict(part=part, task=name) | {k: t[k] for k in ('state', 'why', 'said', 'seconds') if t[k]})
    machine = json.loads(about.read_text(encoding='utf-8')) if about.exists() else {}
    ill = {k: v for k,v in ended.items() if v}
    return dict(machine=machine, seconds=round(seconds, 1), ended=ill, tasks=tasks)

def write_out(
    out:Path, # folder
    work:Path, # what is kept
    ended:dict, # part -> how its process ended
    seconds:float # this call took
)->dict: # the summary
    "Write the rows, the summary and the state, each below 16 MB."
    rows,grid = [],[]
    for part,_,t in tasks_of(work):
        rows += [dict(part=part) | r for r in t['rows']]
        grid += t['grid']
    write_csv(out/'rows.csv', rows)
    write_csv(out/'grid.csv', grid)
    said = summary(work, ended, seconds) | dict(not_kept=keep_state(work, out/'state.zip'))
    (out/'summary.json').write_text(json.dumps(said, indent=1), encoding='utf-8')
    return said

# The parts, one after the other -----------------------------------------------------------------------------

# of the time, beside those still to come
SHARE = dict(parity=1, throughput=1.5, stacked=.5, kohlbrenner=4, dong=2, zhang=1)
GRACE = 10  # seconds that a part has to end itself

def one_part(
    name:str, # of `PARTS`
    a, # options
    until:float # when it has to end, in seconds since the epoch
)->str: # how its process ended, where not well
    "Run a part in a process of its own, which is ended when it does not end itself."
    own = ['--part', name, '--until', until, '--work', a.work, '--wheels', a.wheels, '--processes', a.processes]
    asked = (['--device', a.device] if a.device else []) + ['--smoke']*a.smoke
    p = subprocess.Popen([sys.executable, __file__, *map(str, own), *asked])
    try: code = p.wait(max(0, until-time.time())+GRACE)
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

def end_well(*_): sys.exit('ended from outside; what has finished is kept')

def main(argv=None):
    start,a = time.time(),options(argv)
    for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)
    add_wheels(a.wheels, a.work/'site')
    if lacks := missing(): stop(f'not installed: {", ".join(lacks)}. --wheels DIR installs wheels (see --help)')
    if a.pack: return pack(a.pack, a.wheels)
    if a.part:
        from gpu_parts import run_part
        return run_part(a.part, a.work, a.until, a.device, a.smoke, a.processes)
    begin(a)
    signal.signal(signal.SIGTERM, end_well)  # so that the part that runs ends, too
    end,ended = start+60*a.minutes-min(2*GRACE, 6*a.minutes),{}
    for i,name in enumerate(a.parts):
        left,share = end-time.time(),SHARE[name]/sum(SHARE[o] for o in a.parts[i:])
        ended[name] = one_part(name, a, time.time()+left*share) if left>0 else 'no time was left'
        said = write_out(a.out, a.work, ended, time.time()-start)
    for line in words(said): print(line)

def words(
    said # from `summary`
): # lines
    "What has not finished and why, and how much has."
    for t in said['tasks']:
        if t['state']!='done': yield f'{t["part"]}, {t["task"]}: {t["state"]} ({t["why"]})'
        elif t.get('said'): yield f'{t["part"]}, {t["task"]}: {t["said"].splitlines()[0]}'
    for part,why in said['ended'].items(): yield f'{part}: {why}'
    states,machine = [t['state'] for t in said['tasks']],said['machine'].get('name', 'no machine')
    much = f'{states.count("done")} of {len(states)} tasks finished on {machine} in {said["seconds"]:.0f} s'
    yield much if {*states}=={'done'} else f'{much}; the same command goes on'

if __name__=='__main__': main()
