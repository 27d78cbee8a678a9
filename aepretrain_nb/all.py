"The public names of the core in one place: `from aepretrain_nb.all import *`; papers stay apart. Written by tools/sync.py."
from .data import *
from .corrupt import *
from .layers import *
from .autoencoder import *
from .train import *
from .schedule import *
from .transfer import *
from .trial import *
from .stats import *
from .experiment import *
from .viz import *
from .verdict import *
from .report import *
from .executor import *
from .ledger import *
from .ckplus import *
from .filters import *
