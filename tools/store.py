"""Run notebooks from top to bottom and store their outputs, small: pictures with a palette of 128 colours, cleaned.

    python tools/store.py nbs/nets/00_layers.ipynb ...    --slow among them: with the cells that take longer

What they read of results/ is noted in tests/stored.csv, so that a test tells where rows have changed since.
"""
import os
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE',
    MPLBACKEND='module://matplotlib_inline.backend_inline').items():
    os.environ.setdefault(k, v)
import base64, hashlib, io, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from fastcore.nbio import read_nb, write_nb
from nbdev.clean import nbdev_clean
from nbdev.config import get_config
from nbdev.test import test_nb
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NOTED = ROOT/'tests'/'stored.csv'  # notebook, file of results that it read, digest of what that held

def digest(file): return hashlib.sha1(file.read_bytes()).hexdigest()[:12]

@contextmanager
def noted():
    "The files of results/ that are read meanwhile"
    seen,read = set(),pd.read_csv
    def reads(file, *args, **kw):
        if isinstance(file, (str, Path)) and Path(file).resolve().parent==ROOT/'results': seen.add(Path(file).resolve())
        return read(file, *args, **kw)
    pd.read_csv = reads
    try: yield seen
    finally: pd.read_csv = read

def note(read):
    "Write down what notebooks read: path -> files"
    rows = pd.DataFrame([(p.relative_to(ROOT).as_posix(), f.name, digest(f)) for p,fs in read.items() for f in fs],
        columns=['notebook', 'file', 'digest'])
    if NOTED.exists():
        old = pd.read_csv(NOTED)
        rows = pd.concat([old[~old.notebook.isin([p.relative_to(ROOT).as_posix() for p in read])], rows])
    rows.sort_values(['notebook', 'file']).to_csv(NOTED, index=False)

def small(data):
    "A PNG (base64) with at most 128 colours, or as it was where that is no smaller"
    raw,out = base64.b64decode(data),io.BytesIO()
    im = Image.open(io.BytesIO(raw))
    if im.mode=='P': return data
    page = Image.new('RGBA', im.size, 'white')
    page.alpha_composite(im.convert('RGBA'))
    page.convert('RGB').quantize(128, method=Image.Quantize.MEDIANCUT,
        dither=Image.Dither.NONE).save(out, 'PNG', optimize=True)
    return base64.b64encode(out.getvalue()).decode()+'\n' if out.tell()<len(raw) else data

def store(path, slow=False):
    "Run one notebook and store what it shows; gives the files of results that it read, or None when a cell fails"
    cfg = get_config(path)
    flags = [o for o in cfg.tst_flags.split() if not (slow and o=='slow')]
    with noted() as read: ok,_ = test_nb(path, skip_flags=flags, basepath=cfg.config_path, save=True)
    if not ok: return None
    nb = read_nb(path)
    for c in nb.cells:
        for o in c.get('outputs', []):
            data = o.get('data', {})
            if 'image/png' in data: data['image/png'] = small(''.join(data['image/png']))
    write_nb(nb, path)
    nbdev_clean(str(path))
    return read

def main(paths, slow):
    "Store notebooks; was every cell all right?"
    # a process for each: display options that one notebook sets would change what the next one shows
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn'), max_tasks_per_child=1) as pool:
        read = dict(zip(paths, pool.map(store, paths, [slow]*len(paths))))
    note({p: fs for p,fs in read.items() if fs is not None})
    return None not in read.values()

if __name__=='__main__':
    if len(sys.argv)<2: sys.exit(__doc__)
    names = [o for o in sys.argv[1:] if o!='--slow']
    sys.exit(not main([Path(p).resolve() for p in names], '--slow' in sys.argv))
