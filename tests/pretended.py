"""A GPU where there is none: tensors stay on the processor and know which side they belong to; an operation that mixes
the sides raises, as it would there."""
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device('cuda:0')
ACROSS = '_to_copy', 'copy_', 'detach', 'index.', 'index_put' # may have both sides

def is_there(o): return isinstance(o, (str, torch.device)) and str(o).startswith('cuda')
def is_here(o): return isinstance(o, (str, torch.device)) and str(o)=='cpu'

class Sides:
    "The memory that belongs to the device, held so that no other takes its place"
    def __init__(self): self.held = {}
    def put(self, *tensors): self.held |= {o._cdata: o for o in (t.untyped_storage() for t in tensors)}
    def has(self, t): return t.untyped_storage()._cdata in self.held

class Operations(TorchDispatchMode):
    "Every operation: its tensors are of one side, numbers apart, and so is what comes out"
    def __init__(self, sides):
        super().__init__()
        self.sides = sides

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name,tensors = func.__name__,[t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        there = [t for t in tensors if self.sides.has(t)]
        mixed = there and any(t.dim() for t in tensors if not self.sides.has(t))
        if mixed and not (name.startswith(ACROSS) and (self.sides.has(args[0]) or name.startswith(ACROSS[:3]))):
            said = ', '.join(f'{"there" if self.sides.has(t) else "here"} {tuple(t.shape)}' for t in tensors)
            raise RuntimeError(f'{name} of two devices: {said}')
        out = func(*args, **(kwargs or {}))
        if self.sides.has(args[0]) if name.startswith('copy_') else there:
            self.sides.put(*[t for t in tree_leaves(out) if isinstance(t, torch.Tensor)])
        return out

class Calls(TorchFunctionMode):
    "What a tensor says of its device, and calls that name one"
    def __init__(self, sides):
        super().__init__()
        self.sides = sides

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs,name = kwargs or {},getattr(func, '__name__', '')
        if func==torch.Tensor.device.__get__: return DEVICE if self.sides.has(args[0]) else torch.device('cpu')
        named = [*args, *kwargs.values()]
        if name in ('numpy', '__array__') and self.sides.has(args[0]):
            raise TypeError('numpy of a tensor that is there')
        if name=='cpu' or name=='to' and any(map(is_here, named)): return self.fetched(*args, **kwargs)
        if func is torch.device or not any(map(is_there, named)): return func(*args, **kwargs)
        args,kwargs = ['cpu' if is_there(o) else o for o in args],{k: 'cpu' if is_there(o) else o
            for k,o in kwargs.items()}
        out = func(*args, **kwargs)
        if name=='to' and not self.sides.has(out) and out.data_ptr()==args[0].data_ptr(): out = out.clone()
        self.sides.put(out)
        return out

    def fetched(self, t, *args, **kwargs):
        "A copy of a tensor on the processor"
        if not self.sides.has(t): return t.to(*args, **kwargs) if args or kwargs else t
        new = torch.zeros(t.shape, dtype=t.dtype)
        new.copy_(t)
        return new.to(*args, **kwargs) if args or kwargs else new

class Stream(torch.Generator):
    "A generator that says where it was made"
    def __new__(cls, device='cpu'):
        new = super().__new__(cls)
        new.where = torch.device(device)
        return new
    def __init__(self, device='cpu'): super().__init__()
    @property
    def device(self): return self.where

@contextmanager
def pretended():
    "A GPU called `DEVICE` for a while"
    sides,to = Sides(),torch.nn.Module.to
    def moved(self, *args, **kwargs):
        there = any(map(is_there, [*args, *kwargs.values()]))
        rest,named = [o for o in args if not is_there(o)],{k: o for k,o in kwargs.items() if not is_there(o)}
        if rest or named: to(self, *rest, **named)
        for t in [*self.parameters(), *self.buffers()] if there else ():
            if not sides.has(t):
                t.data = t.data.clone(memory_format=torch.preserve_format)
                sides.put(t)
        return self
    with ExitStack() as stack:
        for o in (patch.object(torch.nn.Module, 'to', moved), patch.object(torch, 'Generator', Stream), Calls(sides),
            Operations(sides)):
            stack.enter_context(o)
        yield
