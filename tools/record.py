"""Gather finished grids into the recorded results of a paper, from which its page and the ledger read.

    python tools/record.py PAPER [STORE...] [--rows FILE [--reading NAME]] [--root DIR] [--curves SIZES]
        [--confusion SIZE]

Writes results/PAPER.csv (a row per fit and per autoencoder), results/PAPER_curves.csv (validation along each fit, at
all SIZES or the ones named) and results/PAPER_pictures.npz (images, reconstructions and first-layer filters of the
first seed, its confusion matrix at SIZE; or what a paper's own `as_pictured` gives). Rows that were made otherwise come
as a CSV FILE, with the reading that they are of where they say none. What is recorded already and is in none of these
is kept; without a store it is the reported rows that are written anew.
"""
import argparse, os
# read when torch is imported
for k,v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE').items(): os.environ.setdefault(k, v)

from importlib import import_module
from pathlib import Path

import numpy as np, pandas as pd
from safetensors.torch import load_file

from aepretrain_nb.compare import read_results
from aepretrain_nb.data.ground import load_object, write_whole
from aepretrain_nb.data.named import dataset
from aepretrain_nb.gather import reconstructed
from aepretrain_nb.nets.filters import smoothness

RESULTS = Path(__file__).resolve().parents[1]/'results'
TABLE = 'data', 'reading', 'setting', 'arm', 'labels', 'head_seed', 'encoder_seed'

def learning(curves):
    """How each fit learned: validation accuracy after a fifth of its steps, how far its validation loss ends above its
    least, and above its training loss (with dropout)."""
    by = ['arm', 'labels', 'seed']
    order = curves.sort_values('step')
    g,first = order.groupby(by),order[order.step<=order.groupby(by).step.transform('max')/5]
    end = g.last()
    out = dict(early=first.groupby(by).valid.last(), loss_rise=end.valid_loss-g.valid_loss.min(),
        loss_gap=end.valid_loss-end.train_loss)
    return pd.DataFrame(out).round(4).rename_axis(['arm', 'labels', 'head_seed']).reset_index()

def moved(res):
    """What became of the first filters of each fit: how far they moved for their length, and how smooth they were
    before and after."""
    out = []
    for s in res.steps:
        file = res.store.file('filters', s.key, 'safetensors')
        if not (res.store.done(s) and file.exists()): continue
        start,end = (load_file(file)[k] for k in ('start', 'end'))
        change = (end-start).flatten(1).norm(dim=1)/start.flatten(1).norm(dim=1)
        smooth = {f'smooth_{k}': np.nanmedian(smoothness(w)) for k,w in dict(start=start, end=end).items()}
        out.append(dict(key=s.key, change=change.mean().item(), **smooth))
    return pd.DataFrame(out, columns=['key', 'change', 'smooth_start', 'smooth_end']).round(4)

def tables(res, paper):
    """Rows of fits (with how they learned, and what became of their filters) and autoencoders, and curves with what
    names them; or rows in a paper's own columns."""
    own = getattr(paper, 'as_recorded', None)
    if own: return own(res), pd.DataFrame()
    who = {k: res.rows[k].iloc[0] for k in ('data', 'reading', 'setting')}
    fits = res.rows.merge(learning(res.curves), how='left').merge(moved(res), how='left')
    return pd.concat([fits, res.encoders]), res.curves.round(4).assign(**who)

def pictures(res, paper, size=None, root=None, n=8):
    """Arrays of the first seed: images, reconstructions, filters of each arm's autoencoder and of each arm's classifier
    at the largest size, confusions at `size`; or a paper's own."""
    if hasattr(paper, 'as_pictured'): return paper.as_pictured(res)
    out,row,seed = {},res.rows.iloc[0],res.steps[0].seeds.get('head')
    for arm in res.arms:
        own = [s for s in res.steps if s.arm==arm and s.seeds.get('head')==seed and res.store.done(s)]
        if not own: continue
        at,last = f'{row.data}/{row.reading}/{arm}',max(own, key=lambda s: s.data.get('labels', 0))
        file = res.store.file('filters', last.key, 'safetensors')  # k-NN trains none
        for k,v in load_file(file).items() if file.exists() else (): out[f'{at}/{k}'] = v.numpy().astype(np.float16)
        counts = {s.data.get('labels'): res.store.get(s.key).get('confusion') for s in own}
        if counts.get(size): out[f'{at}/confusion{size}'] = np.array(counts[size])
        first = next((p for p in last.parents if p.do=='reconstruct'), None)
        if first: out |= {f'{at}/{k}': v for k,v in reconstructions(res, first, arm, root, n).items()}
    return out

def reconstructions(res, step, arm, root, n):
    "Images and reconstructions of an autoencoder, uint8, and its first filters before training."
    first = res.told('recipe')['arms'][arm]['steps'][0]
    other = isinstance(first, dict) and first.get('images', {}).get('data')
    seen,norm = reconstructed(step, res.store, dataset(other, root) if other else res.splits, n),step.data.get('norm')
    recon = seen['outputs']*norm[1]+norm[0] if step.fit.get('norm_target') else seen['outputs']
    drawn = {k: (255*v.clamp(0, 1)).round().byte().contiguous().numpy()
        for k,v in dict(images=seen['images'], reconstructed=recon).items()}
    return dict(before=seen['before'].numpy().astype(np.float16)) | drawn

def newest(rows):
    "Rows without those that a newer version of their recipe has made anew, arm by arm"
    if 'recipe_version' not in rows: return rows
    whose = [k for k in ('recipe', 'data', 'reading', 'setting', 'kind', 'arm', 'labels') if k in rows]
    last = rows.groupby(whose, dropna=False).recipe_version.transform('max')
    return rows[rows.recipe_version.isna() | rows.recipe_version.eq(last)]

def merge(file, new, key):
    "New rows over those in `file` with the same key, sorted; of each arm the newest version."
    old = [pd.read_csv(file)] if file.exists() else []
    d = newest(pd.concat([*old, new]).drop_duplicates(key, keep='last'))
    order = [*dict.fromkeys([*key, *(k for k in TABLE if k in d)])] if 'step' in d else [*TABLE]
    write_whole(file, lambda f: d.sort_values(order, kind='stable').to_csv(f, index=False))

def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    p.add_argument('paper')
    p.add_argument('stores', nargs='*')
    for option in ('--rows', '--reading', '--root', '--curves'): p.add_argument(option)
    p.add_argument('--confusion', type=int)
    a = p.parse_args()
    if a.reading and not a.rows: p.error('--reading is that of --rows')
    paper,found = import_module(f'aepretrain_nb.papers.{a.paper}'),[read_results(s, a.root) for s in a.stores]
    none = pd.DataFrame(columns=[*dict.fromkeys(('kind', *TABLE, 'metric', 'value', 'mse'))])
    made = [tables(r, paper) for r in found] or [(none, pd.DataFrame())]
    rows,curves = (pd.concat(t) for t in zip(*made))
    if a.curves and len(curves): curves = curves[curves.labels.isin([int(n) for n in a.curves.split(',')])]
    said = paper.reported_rows()
    said['key'] = [f'reported-{i}' for i in range(len(said))]
    squared = rows.metric.eq('mse reconstruction')
    if 'mse' in rows: squared &= rows.mse.isna()
    rows.loc[squared, 'mse'] = rows.value[squared]
    more = [pd.read_csv(a.rows)] if a.rows else []
    if a.reading: more = [o.assign(reading=o.reading.fillna(a.reading) if 'reading' in o else a.reading) for o in more]
    merge(RESULTS/f'{a.paper}.csv', pd.concat([said, rows, *more]), ['kind', 'arm', 'reading', 'key'])
    if len(curves):
        merge(RESULTS/f'{a.paper}_curves.csv', curves, ['data', 'reading', 'setting', 'arm', 'labels', 'seed', 'step'])
    file = RESULTS/f'{a.paper}_pictures.npz'
    arrays = (dict(np.load(file)) if file.exists() else {}) | {k: v for r in found
        for k,v in pictures(r, paper, a.confusion, a.root).items()}
    if arrays: write_whole(file, lambda f: np.savez_compressed(open(f, 'wb'), **{k: arrays[k] for k in sorted(arrays)}))
    print(f'{len(rows)} rows from {len(found)} stores' + ''.join(f', {len(o)} from {a.rows}' for o in more))

if __name__=='__main__': main()
