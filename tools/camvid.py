"""Record the comparison of the guide `few_masks`: does pre-training help to segment street scenes, where few of them
have masks?

    python tools/camvid.py STORE [OPTIONS of aepretrain compare, in place of those below]

Reads CamVid in SegNet's folders (train, trainannot, val ...) below the folder of the data sets, AEPRETRAIN_DATA. STORE
is a folder that goes on where it stopped; the same command again finds what is finished. Writes results/camvid.csv (a
row per fit and per autoencoder) and results/camvid_curves.csv.
"""
import guide  # before torch is imported

import sys
from pathlib import Path

from aepretrain_nb.data.named import data_root

CLASSES = 'Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist Void'.split()
ASKED = '--task segment --ignored Void --size 144x192 --labels 20,60,all --seeds 3'.split()
# about 20 minutes of an idle core
SHORT = '--set pretrain.steps=300 --set pretrain.evals=6 --set finetune.steps=100'.split()

def linked(camvid, folder):
    "A folder of links to the parts of CamVid, with the names of its classes; gives the folder."
    folder.mkdir(parents=True, exist_ok=True)
    for part in sorted(o for o in camvid.iterdir() if o.is_dir()):
        link = folder/part.name
        if not link.is_symlink(): link.symlink_to(part, target_is_directory=True)
    (folder/'codes.txt').write_text('\n'.join([*CLASSES, '']), encoding='utf-8')
    return folder

def record(camvid, store, argv=SHORT, results=guide.RESULTS):
    "Compare on a folder of images and masks, and write the tables; gives the exit code."
    data = linked(camvid, store/'CamVid')
    return guide.record('camvid', store, [data.name, *ASKED, *argv], 'camvid', results)

if __name__=='__main__':
    if len(sys.argv)<2: sys.exit(__doc__)
    sys.exit(record(data_root()/'CamVid', Path(sys.argv[1]).resolve(), sys.argv[2:] or SHORT))
