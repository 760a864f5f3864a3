"""A device that is not the CPU, for machines that have none: it finds what was left on the CPU when a model went to a card.

A tensor on `away` holds one of the CPU's and says that it is elsewhere; its arithmetic is the CPU's. As on a card, an operation refuses
tensors of both places, an index of the CPU into `away` and numbers without dimensions excepted, and random numbers come from a
generator of the same place. A process that has imported this has the device for good, so tests import it in one of their own
(test_device.py). It stands on PyTorch's way to write a backend in Python, which is experimental and may change.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

aten = torch.ops.aten
ACROSS = {aten._to_copy.default, aten.copy_.default, aten._pack_padded_sequence.default}  # may take both; the last wants lengths on the CPU
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
PLACES = {}  # of generators, by their address: (device, the generator)


class Tensor(torch.Tensor):
    """A tensor on `away`. held: the one of the CPU with its numbers."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
                                                   dtype=held.dtype, device=torch.device("away", 0))
        made.held = held
        return made

    def __repr__(self):
        return f"away {self.held}"

    def tolist(self):
        return self.held.tolist()

    def untyped_storage(self):  # by which safetensors finds out what shares memory
        return self.held.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


class Away(TorchDispatchMode):
    """Inside, the device is there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


class Generator(torch.Generator):
    """torch.Generator, on either device."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls)
        PLACES[made._cdata] = torch.device(device), made
        return made


def run(function, args, kwargs):
    """An operation, by the CPU, where its tensors are of one place: what it gives is there too."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    here = [x for x in tensors if isinstance(x, Tensor)]
    left = [x for x in tensors if not isinstance(x, Tensor) and x.dim()]
    if function in INDEXING and isinstance(args[0], Tensor):
        left = [x for x in left if not any(x is index for index in args[1])]
    if here and left and function not in ACROSS:
        raise RuntimeError(f"Expected all tensors to be on the same device, but {function} got some on away and some on cpu")
    device, generator = kwargs.get("device"), kwargs.get("generator")
    goes = bool(here) if device is None else torch.device(device).type == "away"
    if generator is not None and goes != (generator._cdata in PLACES and PLACES[generator._cdata][0].type == "away"):
        raise RuntimeError(f"Expected a generator of the same device for {function}")
    if function is aten._fused_sdp_choice.default:
        return 0  # attention by plain products
    args_there, kwargs_there = tree_map(_held, (args, kwargs if device is None else kwargs | {"device": "cpu"}))
    out = (_gru_cell if function is aten._thnn_fused_gru_cell.default else function)(*args_there, **kwargs_there)
    if not goes or function is aten._local_scalar_dense.default:
        return out
    if function is aten._pack_padded_sequence.default:
        return Tensor(out[0]), out[1]
    wrapped = tree_map(lambda x: Tensor(x) if isinstance(x, torch.Tensor) else x, out)
    return return_and_correct_aliasing(function, args, kwargs, wrapped)


def _held(x):
    return x.held if isinstance(x, Tensor) else x


def _gru_cell(gates, more, hidden, bias=0.0, more_bias=0.0):
    """A step of a GRU, for which cards have an operation of their own; it keeps something for the gradient, which nobody asks here."""
    (r, z, n), (more_r, more_z, more_n) = (gates + bias).chunk(3, -1), (more + more_bias).chunk(3, -1)
    z, n = (z + more_z).sigmoid(), (n + (r + more_r).sigmoid() * more_n).tanh()
    return n + z * (hidden - n), gates


def _copy_from(source, target, non_blocking=False):
    _held(target).copy_(_held(source))
    return target


class Module(_DummyBackendModule):
    """What torch.cuda is to cards."""

    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("away", backend_module=Module())
# What PyTorch calls from under the mode, where it makes a tensor of a list.
_library = torch.library.Library("aten", "IMPL")
_library.impl("empty_strided", lambda size, stride, **kw: Tensor(torch.empty_strided(size, stride, dtype=kw.get("dtype"))), "PrivateUse1")
_library.impl("empty.memory_format", lambda size, **kw: Tensor(torch.empty(size, dtype=kw.get("dtype"))), "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")
_library.impl("_local_scalar_dense", lambda tensor: tensor.held.item(), "PrivateUse1")
