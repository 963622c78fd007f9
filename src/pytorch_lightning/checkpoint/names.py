"""The names that released checkpoints contain, and what is made in their place."""

import datetime
import decimal
import fractions
import pathlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

from pytorch_lightning.checkpoint import tensors
from pytorch_lightning.checkpoint.keys import Malformed, check_keys, check_size
from pytorch_lightning.checkpoint.unpickle import Inert

_MOST_DIGITS = 4_000
PLAIN_TYPES: dict[str, Any] = {
    f"builtins.{kind.__name__}": kind
    for kind in (bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
} | {"builtins.long": int, "builtins.unicode": str}
_PACKAGES = ("lightning.pytorch.", "lightning.fabric.", "lightning_fabric.", "pytorch_lightning.")


def own_name(name: str) -> str | None:
    """The part of a class's name below any of the package's own names; None for other classes."""
    for package in _PACKAGES:
        if name.startswith(package):
            return name[len(package) :]
    return None


def only(kind: type | tuple[type, ...], value: Any) -> Any:
    """The value, if it is of the type that belongs there."""
    # `set(range(10**12))` would never end: nothing is made of what is not there in full
    if not isinstance(value, kind):
        raise Malformed(f"a {type(value).__name__} where something else belongs")
    return value


def _encode(text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Malformed("bytes in an unknown encoding")
    return bytes(only(str, text).encode("latin1"))


def _bytearray(*args: Any) -> bytearray:
    if not args:
        return bytearray()
    return bytearray(_encode(*args) if isinstance(args[0], str) else only(bytes, args[0]))


def _pairs(items: Any) -> Any:
    pairs = list(items.items()) if isinstance(items, dict) else only((list, tuple), items)
    check_keys(pair[0] for pair in pairs)
    return pairs


def _members(items: Any) -> Any:
    check_keys(only((list, tuple), items))
    return items


def _ordered(items: Any = ()) -> "OrderedDict[Any, Any]":
    return OrderedDict(_pairs(items))


def _default(factory: Any = None, items: Any = ()) -> "defaultdict[Any, Any]":
    kind = PLAIN_TYPES.get(factory.name) if isinstance(factory, Inert) else None
    if factory is not None and kind is None:
        raise Malformed("a defaultdict that would call something")
    return defaultdict(kind, _pairs(items))


def _deque(items: Any = (), longest: Any = None) -> "deque[Any]":
    return deque(only((list, tuple), items), longest)


def _path(kind: Callable[..., pathlib.PurePath]) -> Callable[..., pathlib.PurePath]:
    def make(*parts: Any) -> pathlib.PurePath:
        return kind(*(only(str, part) for part in parts))

    return make


def _moment(kind: Callable[..., Any]) -> Callable[..., Any]:
    def make(*args: Any) -> Any:
        zone = (datetime.tzinfo, type(None))
        return kind(*(only((bytes, int, datetime.timedelta, *zone), arg) for arg in args))

    return make


def _fraction(above: Any, below: Any = None) -> fractions.Fraction:
    if below is None:
        above, _, below = only(str, above).partition("/")
    whole = [check_size(int(only((int, str), number))) for number in (above, below or 1)]
    return fractions.Fraction(*whole)


def _decimal(text: Any) -> decimal.Decimal:
    if len(only(str, text)) > _MOST_DIGITS:
        raise Malformed(f"a number of {len(text)} digits")
    return decimal.Decimal(text)


def _complex(*parts: Any) -> complex:
    return complex(*(only((float, int), part) for part in parts))


def _range(*ends: Any) -> range:
    return range(*(check_size(only(int, end)) for end in ends))


def _bytes(content: Any = ()) -> bytes:
    return bytes(only((list, tuple, bytes), content))


def _new(kind: Any, *_: Any) -> Any:
    """What old pickles call for an object without arguments: its class, `object`, None."""
    name = only(Inert, kind).name
    return CALLS[name]() if name in CALLS else Inert(name, made=True)


_OPENED: dict[str, Callable[..., Any]] = {
    f"pathlib{inner}.{name}": _path(kind)
    for inner in ("", "._local")
    for name, kind in {
        "Path": pathlib.Path,
        "PosixPath": pathlib.Path,
        "WindowsPath": pathlib.PureWindowsPath,
        "PurePath": pathlib.PurePath,
        "PurePosixPath": pathlib.PurePosixPath,
        "PureWindowsPath": pathlib.PureWindowsPath,
    }.items()
} | {
    f"datetime.{name}": _moment(getattr(datetime, name))
    for name in ("date", "datetime", "time", "timedelta", "timezone")
}
_OWN_MAPPINGS: dict[str, Callable[..., Any]] = {
    f"{package}{name}": lambda *_: {}
    for package in _PACKAGES
    for name in ("utilities.parsing.AttributeDict", "utilities.data.AttributeDict")
}
CALLS: dict[str, Callable[..., Any]] = {
    **tensors.CALLS,
    **_OWN_MAPPINGS,
    **_OPENED,
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _bytes,
    "builtins.complex": _complex,
    "builtins.dict": lambda: {},
    "builtins.frozenset": lambda items=(): frozenset(_members(items)),
    "builtins.set": lambda items=(): set(_members(items)),
    "builtins.range": _range,
    "builtins.xrange": _range,
    "builtins.slice": slice,
    "collections.Counter": lambda counts=(): Counter(only(dict, counts or {})),
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default,
    "collections.deque": _deque,
    "copyreg._reconstructor": _new,
    "decimal.Decimal": _decimal,
    "fractions.Fraction": _fraction,
}
CONSTANTS: dict[str, Any] = {
    **tensors.CONSTANTS,
    "builtins.Ellipsis": Ellipsis,
    "builtins.NotImplemented": NotImplemented,
}
