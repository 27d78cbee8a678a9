"Two at once on one folder."
import time
from . import Kind
from .child import Child
from .grid import GRIDS, as_one, broken, command, told
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.store import Store

ADOPTIONS = 15

def trial(rng, folder):
    "Two runs of one grid share the work, then two recipes want the same folders."
    grid,out = rng.choice(list(GRIDS)),folder/'out'
    both = [Child(command(out, grid), folder, lambda w=rng.uniform(0, 1): time.sleep(w)) for _ in range(2)]
    for c in both: c.wait()
    said = [o for c in both for o in told(c, [0])] + broken(out, grid)
    return 1+ADOPTIONS,as_one(said) + adoptions(folder)

def adoptions(folder):
    "What is wrong after two recipes have wanted each of some folders at the same moment."
    digits = dataset('digits')
    digits.digest
    start = time.monotonic()+.5
    both = [Child(lambda lr=lr: adopt_all(folder, digits, lr, start), folder) for lr in (.1, .2)]
    for c in both: c.wait()
    said = [o for c in both for o in told(c, [0])]
    let = [c.file('out').read_text().split() for c in both]
    if said: return said
    return [f'a folder took {"both recipes" if a=="in" else "neither recipe"}' for a,b in zip(*let) if a==b]

def adopt_all(folder, digits, lr, start):
    "Say for each folder whether a recipe was let in; the other process is at the same folder."
    r = find_recipe('kohlbrenner', 'smoke', finetune=dict(lr=lr))
    for i in range(ADOPTIONS):
        while time.monotonic()<start+.05*i: pass
        try: Store(folder/f'taken-{i}').adopt(digits, r)
        except ExperimentError: print('out')
        else: print('in')
    return 0

KIND = Kind('races', f'two runs of one grid on one folder: each step once, the same rows; and two recipes on each of {ADOPTIONS} new folders '
    'at the same moment: one is let in', trial)
