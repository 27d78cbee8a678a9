"""What the command is put through, one module a kind. A trial is a function of a random generator and of an empty folder:
it gives how many things it tried, and a line for each promise that was broken."""
from dataclasses import dataclass
from typing import Callable

@dataclass
class Kind:
    "One row of the table of `make torture`."
    name:str       # of the row
    says:str       # what is done
    trial:Callable # (random.Random, Path) -> (tried, lines for what failed)

def kinds():
    "Every kind, by name."
    from . import determinism, disks, edits, fuzz, kills, races, signals
    every = kills.KIND, signals.KIND, disks.KIND, races.KIND, edits.KIND, fuzz.KIND, determinism.KIND
    return {k.name: k for k in every}
