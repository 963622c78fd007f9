"""Values as plain data that a safe reader takes, and back."""

import enum
import types
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pytorch_lightning.checkpoint.kinds import (
    OPEN_BASES,
    READERS,
    WRITERS,
    write_numpy,
    write_omegaconf,
)
from pytorch_lightning.checkpoint.rebuild import Refused
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import warnings_given

# A dictionary with these two keys alone stands for a value of the named kind.
TAG = "__plain__"
VALUE = "value"
_DEEPEST = 100
_ATOMS = frozenset(
    (bool, int, float, complex, str, bytes, bytearray, type(None), torch.dtype, torch.device,
     torch.Size, Tensor, torch.nn.Parameter)
)  # fmt: skip
_KEYS = (str, int, float, bool, bytes, type(None))


def to_plain(value: Any, where: str) -> Any:
    """Turn a value into plain data that `torch.load(weights_only=True)` reads.

    Tensors, numbers, text and the usual containers stay as they are. Paths, namespaces, arrays,
    times and their like become tagged dictionaries, which `from_plain` puts back; an enum becomes
    its value. What is plain already stays the same, so that it does no harm to call this twice.

    Args:
        where: What the value is, for the error: "checkpoint" or "checkpoint['callbacks']".

    Raises:
        CheckpointError: Something in it is code or holds code; the key that leads to it is named.
    """
    try:
        return _Writer()(value)
    except Refused as refusal:
        raise CheckpointError(
            f"{refusal.where(where)} cannot be written: {refusal}. A checkpoint holds data alone. "
            "Keep what it is made from instead: numbers, text, tensors, a `state_dict`; for a "
            "hyperparameter, `save_hyperparameters(ignore=[...])` leaves it out."
        ) from None


def is_plain(value: Any) -> bool:
    """Whether `to_plain` can turn a value into plain data."""
    try:
        _Writer(quiet=True)(value)
    except Refused:
        return False
    return True


def drop_unplain(hyperparameters: Mapping[str, Any], where: str = "hparams") -> dict[str, Any]:
    """Leave out the hyperparameters that no checkpoint can hold, and warn of each once."""
    kept = {}
    for name, value in hyperparameters.items():
        try:
            _Writer(quiet=True)(value)
        except Refused as refusal:
            warnings_given.warn(
                f"{refusal.where(f'{where}[{name!r}]')} is left out of checkpoints and logs: "
                f"{refusal}. Pass it to `load_from_checkpoint({name}=...)` when you load, or leave "
                f"it out yourself with `save_hyperparameters(ignore=[{name!r}])`."
            )
        else:
            kept[name] = value
    return kept


def from_plain(value: Any) -> Any:
    """Put back what `to_plain` turned into tagged dictionaries.

    Raises:
        CheckpointError: A tag that no release has written.
    """
    return _Reader()(value)


class _Writer:
    """Makes plain data, and keeps what was shared shared."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._done: dict[int, tuple[Any, Any]] = {}
        self._open: set[int] = set()

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind in _ATOMS:
            return value
        known = self._done.get(id(value))
        if known is not None:
            return known[1]
        if id(value) in self._open:
            raise Refused("it contains itself")
        if len(self._open) > _DEEPEST:
            raise Refused(f"it is nested more than {_DEEPEST} deep")
        self._open.add(id(value))
        result = self._write(kind, value)
        self._open.discard(id(value))
        self._done[id(value)] = (value, result)  # the value too, so that its id stays its own
        return result

    def _write(self, kind: type, value: Any) -> Any:
        if kind in (dict, OrderedDict):
            return self._mapping(kind, value)
        if kind in (list, tuple):
            return kind([self._at(item, index) for index, item in enumerate(value)])
        if kind is set:
            if all(_is_key(item) for item in value):
                return {self._key(item) for item in value}
            return {TAG: "set", VALUE: [self._key_of(item) for item in value]}
        writer = WRITERS.get(kind)
        if writer is not None:
            tag, content = writer(value)
            return {TAG: tag, VALUE: self(content)}
        return self._by_base(kind, value)

    def _mapping(self, kind: type, value: Mapping[Any, Any]) -> Any:
        if not all(_is_key(key) for key in value):
            return {
                TAG: "pairs",
                VALUE: [[self._key_of(k), self._at(v, k)] for k, v in value.items()],
            }
        result: Any = kind()
        for key, item in value.items():
            result[self._key(key)] = item if type(item) in _ATOMS else self._at(item, key)
        if hasattr(value, "_metadata"):
            result._metadata = self(value._metadata)
        return result

    def _key_of(self, key: Any) -> Any:
        try:
            return self(key)
        except Refused as refusal:
            raise Refused(f"its key {key!r:.80} is no data ({refusal})") from None

    def _key(self, key: Any) -> Any:
        if isinstance(key, enum.Enum):
            return self._key(key.value)
        if type(key) is tuple:
            return tuple(self._key(item) for item in key)
        if _is_key(key):
            return key
        raise Refused(f"its key {key!r:.80} is no data")

    def _at(self, value: Any, key: Any) -> Any:
        try:
            return self(value)
        except Refused as refusal:
            refusal.keys.append(f"[{key!r:.80}]")
            raise

    def _by_base(self, kind: type, value: Any) -> Any:
        """A subclass: of something known, or of nothing that could be kept."""
        if isinstance(value, enum.Enum):
            return self(value.value)
        if isinstance(value, Tensor):
            return value if kind.__module__.startswith("torch") else value.as_subclass(Tensor)
        written = write_numpy(value) or write_omegaconf(value)
        if written is not None:
            return {TAG: written[0], VALUE: self(written[1])}
        for base, writer in WRITERS.items():
            if isinstance(value, base) and base in OPEN_BASES:
                tag, content = writer(value)
                return {TAG: tag, VALUE: self(content)}
        for base in (bool, int, float, complex, str, bytes, dict, list, tuple, set):
            if isinstance(value, base):
                self._say_what_is_lost(kind, base)
                return self._as(base, value)
        if isinstance(value, Mapping) and not isinstance(value, torch.nn.Module):
            self._say_what_is_lost(kind, dict)
            return self._mapping(dict, value)
        raise Refused(_why_not(value))

    def _as(self, base: type, value: Any) -> Any:
        if base is dict:
            return self._mapping(dict, value)
        if base is tuple:
            return tuple([self._at(item, index) for index, item in enumerate(value)])
        return self(base(value))

    def _say_what_is_lost(self, kind: type, base: type) -> None:
        if self._quiet or kind.__name__ in _SAME_AS_PLAIN:
            return
        warnings_given.warn(
            f"A `{kind.__module__}.{kind.__qualname__}` is kept as a plain {base.__name__} in "
            "checkpoints, and comes back as one."
        )


# Ours, and torch's own: their readers take plain ones.
_SAME_AS_PLAIN = frozenset(("AttributeDict", "mappingproxy", "str_", "bytes_"))


def _is_key(key: Any) -> bool:
    kind = type(key)
    return (
        kind in _KEYS
        or (kind is tuple and all(_is_key(item) for item in key))
        or (isinstance(key, enum.Enum) and _is_key(key.value))
    )


def _why_not(value: Any) -> str:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, torch.nn.Module):
        return f"it is a module (`{name}`), whose weights the `state_dict` keeps"
    if isinstance(value, type):
        return f"it is the class `{value.__module__}.{value.__qualname__}`"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return f"it is the function `{getattr(value, '__qualname__', value)}`"
    if hasattr(kind, "__dataclass_fields__"):
        return f"it is a dataclass (`{name}`); `dataclasses.asdict` makes a dictionary of it"
    return f"it is a `{name}`"


class _Reader:
    """Puts tagged values back; what shares nothing with a tag stays the same object."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind not in (dict, OrderedDict, list, tuple):
            return value
        known = self._done.get(id(value))
        if known is not None:
            return known[1]
        result = self._read(kind, value)
        self._done[id(value)] = (value, result)
        return result

    def _read(self, kind: type, value: Any) -> Any:
        if kind in (list, tuple):
            items = [self(item) for item in value]
            if kind is tuple:
                return tuple(items)
            value[:] = items
            return value
        for key, item in value.items():
            if type(item) in (dict, OrderedDict, list, tuple):
                value[key] = self(item)
        if len(value) == 2 and TAG in value and VALUE in value:
            return _untag(value[TAG], value[VALUE])
        return value


def _untag(tag: Any, content: Any) -> Any:
    reader = READERS.get(tag) if isinstance(tag, str) else None
    if reader is None:
        name = repr(tag)[:80] if isinstance(tag, str) else f"<{type(tag).__name__}>"
        raise CheckpointError(
            f"The checkpoint holds a value of the kind {name}, which this release does not "
            "know. Load it with the release that wrote it."
        )
    try:
        return reader(content)
    except Exception as error:
        raise CheckpointError(
            f"The checkpoint holds a value of the kind {tag!r} that is none ({error})."
        ) from error
