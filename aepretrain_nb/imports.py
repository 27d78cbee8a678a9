"""What every notebook and module of the package starts from: torch, a torchvision that can be imported beside it, and the usual names."""
import os
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # idle OpenMP threads must not spin: nbdev runs cells in a thread of its own

import copy, hashlib, json, math, random, sys, time, warnings
from collections import OrderedDict
from dataclasses import dataclass, field, asdict, replace, fields
from functools import partial
from pathlib import Path

import numpy as np, pandas as pd, torch, torch.nn.functional as F
from torch import Tensor, nn

def _import_torchvision():
    "Import torchvision; where its compiled operators do not fit this torch, declare the two it registers fakes for, and import again."
    try: import torchvision
    except RuntimeError as e:
        if 'torchvision::nms' not in str(e): raise
        for m in [m for m in sys.modules if m.split('.')[0]=='torchvision']: del sys.modules[m]
        lib = torch.library.Library('torchvision', 'FRAGMENT')
        lib.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        lib.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        import torchvision
        torchvision._schemas = lib  # a library's definitions live as long as it does
    return torchvision

torchvision = _import_torchvision()
