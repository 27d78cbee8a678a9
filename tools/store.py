"""Run notebooks from top to bottom and store their outputs, small: pictures with a palette of 128 colours, cleaned.

    python tools/store.py nbs/nets/00_layers.ipynb ...
"""
import os
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE', MPLBACKEND='module://matplotlib_inline.backend_inline').items(): os.environ.setdefault(k, v)
import base64, io, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fastcore.nbio import read_nb, write_nb
from nbdev.clean import nbdev_clean
from nbdev.config import get_config
from nbdev.test import test_nb
from PIL import Image

def small(data):
    "A PNG (base64) with at most 128 colours, or as it was where that is no smaller"
    raw,out = base64.b64decode(data),io.BytesIO()
    im = Image.open(io.BytesIO(raw))
    if im.mode=='P': return data
    page = Image.new('RGBA', im.size, 'white')
    page.alpha_composite(im.convert('RGBA'))
    page.convert('RGB').quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, 'PNG', optimize=True)
    return base64.b64encode(out.getvalue()).decode()+'\n' if out.tell()<len(raw) else data

def store(path):
    "Run one notebook and store what it shows; False when a cell fails"
    cfg = get_config(path)
    ok,_ = test_nb(path, skip_flags=cfg.tst_flags.split(), basepath=cfg.config_path, save=True)
    if not ok: return False
    nb = read_nb(path)
    for c in nb.cells:
        for o in c.get('outputs', []):
            data = o.get('data', {})
            if 'image/png' in data: data['image/png'] = small(''.join(data['image/png']))
    write_nb(nb, path)
    nbdev_clean(str(path))
    return True

if __name__=='__main__':
    if len(sys.argv)<2: sys.exit(__doc__)
    # a process for each: display options that one notebook sets would change what the next one shows
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn'), max_tasks_per_child=1) as pool:
        ok = list(pool.map(store, [Path(p).resolve() for p in sys.argv[1:]]))
    sys.exit(not all(ok))
