"""The kinds of values that are kept as tagged plain data: how each is written and read."""

import argparse
import datetime
import decimal
import fractions
import pathlib
import sys
import types
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

import torch

from pytorch_lightning.checkpoint.keys import check_keys, check_size
from pytorch_lightning.checkpoint.names import CALLS, PLAIN_TYPES
from pytorch_lightning.checkpoint.rebuild import Refused, make_omegaconf
from pytorch_lightning.checkpoint.tensors import check_dense


def _write_default(value: "defaultdict[Any, Any]") -> tuple[str, Any]:
    factory = value.default_factory
    if factory is not None and factory not in PLAIN_TYPES.values():
        raise Refused("it is a defaultdict whose default is code; `defaultdict(int)` is fine")
    name = None if factory is None else factory.__name__
    return "defaultdict", [name, [[k, v] for k, v in value.items()]]


def write_numpy(value: Any) -> tuple[str, Any] | None:
    """Tag an array, a scalar or a type of numpy; None for other values."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.dtype):
        return "numpy.dtype", _numpy_type(value)
    if isinstance(value, numpy.generic):
        array = numpy.asarray(value)
        return "numpy.scalar", [_numpy_type(array.dtype), array.tobytes()]
    if not isinstance(value, numpy.ndarray):
        return None
    if value.dtype.hasobject:
        return "numpy.objects", [list(value.shape), list(value.ravel())]
    # As a tensor, its bytes lie in a record of their own: neither encoded nor limited in size.
    content = bytearray(numpy.ascontiguousarray(value).tobytes())
    data = (
        torch.frombuffer(content, dtype=torch.uint8)
        if content
        else torch.empty(0, dtype=torch.uint8)
    )
    return "numpy.array", [_numpy_type(value.dtype), list(value.shape), data]


def _numpy_type(dtype: Any) -> Any:
    if dtype.names is None:
        return str(dtype.str)
    return [[name, _numpy_type(dtype.fields[name][0])] for name in dtype.names]


def write_omegaconf(value: Any) -> tuple[str, Any] | None:
    """Tag a container of omegaconf; None for other values."""
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is None or not omegaconf.OmegaConf.is_config(value):
        return None
    return "omegaconf", omegaconf.OmegaConf.to_container(value, resolve=False)


WRITERS: dict[type, Callable[[Any], tuple[str, Any]]] = {
    frozenset: lambda v: ("frozenset", list(v)),
    range: lambda v: ("range", [v.start, v.stop, v.step]),
    slice: lambda v: ("slice", [v.start, v.stop, v.step]),
    type(Ellipsis): lambda v: ("ellipsis", None),
    deque: lambda v: ("deque", [list(v), v.maxlen]),
    defaultdict: _write_default,
    Counter: lambda v: ("counter", [[k, n] for k, n in v.items()]),
    argparse.Namespace: lambda v: ("namespace", dict(vars(v))),
    types.SimpleNamespace: lambda v: ("simplenamespace", dict(vars(v))),
    datetime.datetime: lambda v: ("datetime", [v.isoformat(), v.fold]),
    datetime.date: lambda v: ("date", v.isoformat()),
    datetime.time: lambda v: ("time", [v.isoformat(), v.fold]),
    datetime.timedelta: lambda v: ("timedelta", [v.days, v.seconds, v.microseconds]),
    decimal.Decimal: lambda v: ("decimal", str(v)),
    fractions.Fraction: lambda v: ("fraction", [v.numerator, v.denominator]),
    uuid.UUID: lambda v: ("uuid", v.hex),
    pathlib.Path: lambda v: ("path", str(v)),
    pathlib.PurePosixPath: lambda v: ("pure_posix_path", str(v)),
    pathlib.PureWindowsPath: lambda v: ("pure_windows_path", str(v)),
}
# Subclasses of these are kept as the class itself.
OPEN_BASES = (argparse.Namespace, pathlib.Path, defaultdict, Counter, datetime.datetime, deque)


_MOST_FIELDS = 1_000
_LONGEST_NAME = 100


def _read_numpy_type(content: Any) -> Any:
    import numpy

    if not isinstance(content, str):
        if len(_list(content)) > _MOST_FIELDS:
            raise ValueError(f"more than {_MOST_FIELDS} fields")
        return numpy.dtype([(str(name), _read_numpy_type(inner)) for name, inner in content])
    if len(content) > _LONGEST_NAME:
        raise ValueError("a type with a long name")
    kind = numpy.dtype(content)
    if kind.hasobject:
        raise TypeError("a type of objects")
    return kind


def _read_array(content: Any) -> Any:
    import numpy

    kind, shape, data = content
    if data.is_meta:  # read for its shapes alone
        return numpy.zeros(shape, _read_numpy_type(kind))
    return check_dense(data).cpu().numpy().view(_read_numpy_type(kind)).reshape(shape)


def _read_objects(content: Any) -> Any:
    import numpy

    shape, items = content
    array = numpy.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _read_scalar(content: Any) -> Any:
    import numpy

    return numpy.frombuffer(content[1], _read_numpy_type(content[0]), count=1)[0]


def _read_default(content: Any) -> "defaultdict[Any, Any]":
    name, pairs = content
    return defaultdict(None if name is None else PLAIN_TYPES[f"builtins.{name}"], _pairs(pairs))


def _pairs(content: Any) -> dict[Any, Any]:
    pairs = [(key, item) for key, item in _list(content)]
    check_keys(key for key, _ in pairs)
    return dict(pairs)


def _members(content: Any) -> list[Any]:
    check_keys(_list(content))
    return list(content)


def _list(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise TypeError("a list belongs there")
    return content


READERS: dict[str, Callable[[Any], Any]] = {
    "pairs": _pairs,
    "set": lambda v: set(_members(v)),
    "frozenset": lambda v: frozenset(_members(v)),
    "range": lambda v: CALLS["builtins.range"](*_list(v)),
    "slice": lambda v: slice(*_list(v)),
    "ellipsis": lambda v: Ellipsis,
    "deque": lambda v: deque(_list(v[0]), v[1]),
    "defaultdict": _read_default,
    "counter": lambda v: Counter(_pairs(v)),
    "namespace": lambda v: argparse.Namespace(**v),
    "simplenamespace": lambda v: types.SimpleNamespace(**v),
    "datetime": lambda v: datetime.datetime.fromisoformat(v[0]).replace(fold=v[1]),
    "date": lambda v: datetime.date.fromisoformat(v),
    "time": lambda v: datetime.time.fromisoformat(v[0]).replace(fold=v[1]),
    "timedelta": lambda v: datetime.timedelta(*_list(v)),
    "decimal": lambda v: CALLS["decimal.Decimal"](v),
    "fraction": lambda v: fractions.Fraction(*map(check_size, _list(v))),
    "uuid": lambda v: uuid.UUID(hex=v),
    "path": lambda v: pathlib.Path(v),
    "pure_posix_path": lambda v: pathlib.PurePosixPath(v),
    "pure_windows_path": lambda v: pathlib.PureWindowsPath(v),
    "numpy.dtype": _read_numpy_type,
    "numpy.scalar": _read_scalar,
    "numpy.array": _read_array,
    "numpy.objects": _read_objects,
    "omegaconf": make_omegaconf,
}
