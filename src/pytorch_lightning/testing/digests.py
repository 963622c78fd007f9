"""Any value as a short text: equal texts, equal bits."""

import ctypes
import hashlib
import random
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pytorch_lightning.data.generators import is_generator, state_of
from pytorch_lightning.loggers.logger import Logger

_FEW = 8  # numbers that are written out
_DEEP, _MANY = 5, 400
_PLAIN = (bool, int, float, complex, str, bytes, type(None), Enum)
_NAMED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
_PARTS_OF_RUNS = (
    *(nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler),
    *(DataLoader, Logger, types.MethodType),
)
Texts = dict[str, str]


def hash_of(data: bytes) -> str:
    """Eight letters that tell data apart."""
    return hashlib.blake2b(data, digest_size=4).hexdigest()


def texts_of(value: Any, name: str = "") -> Texts:
    """The text of each leaf of a value, by its path: `history[3]`, `sizes['a']`, `meter.total`."""
    found: Texts = {}
    for path, text in _walk(value, name, (), _DEEP):
        found[path] = text
        if len(found) > _MANY:  # said as one
            every = repr([text for _, text in _walk(value, name, (), _DEEP)])
            return {name: f"{type(value).__name__} #{hash_of(every.encode())}"}
    return found


def _walk(value: Any, path: str, above: tuple[int, ...], depth: int) -> Iterator[tuple[str, str]]:
    leaf = _leaf(value)
    if leaf is not None:
        yield path, leaf
        return
    if id(value) in above or depth == 0:
        yield path, type(value).__name__
        return
    parts = list(_parts(value, path))
    if not parts:
        yield path, f"empty {type(value).__name__}"
    for inner, part in parts:
        yield from _walk(part, inner, (*above, id(value)), depth - 1)


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"{path}[{key!r}]", part
    elif isinstance(value, list | tuple | deque):
        for number, part in enumerate(value):
            yield f"{path}[{number}]", part
    else:
        for key, part in vars(value).items():
            if not isinstance(part, _PARTS_OF_RUNS):
                yield f"{path}.{key}" if path else key, part


def _leaf(value: Any) -> str | None:
    """The text of what is not made of parts."""
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, _PLAIN):
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:60]}... #{hash_of(text.encode())}"
    if isinstance(value, _NAMED):
        return str(getattr(value, "__qualname__", value.__name__))
    if isinstance(value, _PARTS_OF_RUNS):
        return str(type(value).__name__)
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__} {sorted(map(repr, value))}"
    if is_generator(value):
        return f"state #{hash_of(repr(texts_of(state_of(value))).encode())}"
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return _array(value)
    if numpy is not None and isinstance(value, numpy.random.RandomState):
        return f"state #{hash_of(repr(value.get_state()).encode())}"
    if isinstance(value, Mapping | list | tuple | deque) or _has_parts(value):
        return None
    text = repr(value)
    return type(value).__name__ if " at 0x" in text or len(text) > 200 else text


def _has_parts(value: Any) -> bool:
    return hasattr(value, "__dict__") and not isinstance(value, random.Random)


def _tensor(tensor: Tensor) -> str:
    tensor = tensor.detach()
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_quantized:
        tensor = tensor.coalesce() if tensor.layout == torch.sparse_coo else tensor
        return f"{tensor.layout} #{hash_of(repr(tensor).encode())}"
    tensor = tensor.cpu().contiguous()
    if tensor.numel() == 1 or (tensor.numel() <= _FEW and not tensor.is_floating_point()):
        return f"{kind} {tensor.tolist()}"
    size = tensor.numel() * tensor.element_size()
    digest = hash_of(ctypes.string_at(tensor.data_ptr(), size))
    mean = "" if tensor.is_complex() else f" mean {tensor.double().mean().item():.6g}"
    return f"{kind}{list(tensor.shape)}{mean} #{digest}"


def _array(array: Any) -> str:
    shape = f"{array.dtype}{list(array.shape)}"
    if array.size <= _FEW:
        return f"{shape} {array.tolist()}"
    content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return f"{shape} #{hash_of(content)}"
