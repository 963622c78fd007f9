"""The walk that puts values in the place of what a pickle left inert."""

import argparse
import datetime
import decimal
import fractions
import pathlib
import re
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor

from pytorch_lightning.checkpoint import tensors
from pytorch_lightning.checkpoint.keys import Malformed, check_keys
from pytorch_lightning.checkpoint.names import only, own_name
from pytorch_lightning.checkpoint.unpickle import Inert
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import warnings_given

_DEEPEST = 100
_MOST_VALUES = 50_000_000  # counted as if nothing were shared: a small file can share a lot


class Refused(Exception):
    """A value that cannot be had, and the keys that lead to it, innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.keys: list[str] = []

    def where(self, root: str) -> str:
        """How one would write the way to the value."""
        return root + "".join(reversed(self.keys))


class Resolver:
    """Walks what a pickle left, and puts values in the place of what is inert."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, Any, int]] = {}
        self._open: set[int] = set()
        self._count = 0

    def __call__(self, value: Any) -> Any:
        """The value with everything in it put in place.

        Raises:
            Refused: Something in it cannot be had without running code.
        """
        kind = type(value)
        if kind in _ATOMS or isinstance(value, Tensor):
            self._count += 1
            return value
        if kind is tensors.Storage:
            return value.bytes
        if isinstance(value, Inert) and not value.made:
            return _bare(value)
        known = self._done.get(id(value))
        if known is not None:
            self._add(known[2])
            return known[1]
        if id(value) in self._open or len(self._open) > _DEEPEST:
            raise Refused("it is nested too deeply, or contains itself")
        self._open.add(id(value))
        before = self._count
        self._add(1)
        result = self._walk(value)
        self._open.discard(id(value))
        self._done[id(value)] = (value, result, self._count - before)
        return result

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > _MOST_VALUES:
            raise Refused(f"it unfolds to more than {_MOST_VALUES} values")

    def _walk(self, value: Any) -> Any:
        kind = type(value)
        if kind is Inert:
            return self._made(value)
        if kind in (dict, OrderedDict, Counter):
            result: Any = kind()
            keys = self._keys(value)
            for key in value:
                result[next(keys)] = self._at(value, key)
            if kind is OrderedDict and hasattr(value, "_metadata"):
                result._metadata = self(value._metadata)
            return result
        if kind is defaultdict:
            keys = self._keys(value)
            return defaultdict(
                value.default_factory, {next(keys): self._at(value, k) for k in value}
            )
        if kind is deque:
            return deque((self(item) for item in value), value.maxlen)
        if kind in (list, tuple):
            return kind([self._at(value, index) for index in range(len(value))])
        if kind in (set, frozenset):
            return kind(self._keys(value))
        raise Refused(f"it is a {kind.__name__} out of place")

    def _keys(self, keys: Iterable[Any]) -> Iterator[Any]:
        found = [key if type(key) is str else self(key) for key in keys]
        check_keys(key for key in found if type(key) is not str)
        return iter(found)

    def _at(self, container: Any, key: Any) -> Any:
        value = container[key]
        if type(value) in _ATOMS:
            self._count += 1
            return value
        try:
            return self(value)
        except Refused as refusal:
            refusal.keys.append(f"[{key.name if isinstance(key, Inert) else key!r:.80}]")
            raise

    def _made(self, value: Inert) -> Any:
        own = own_name(value.name)
        if own is not None and own.startswith(_OWN_ENUMS) and len(value.args) == 1:
            return only((str, int), value.args[0])
        maker = _FINISH.get(value.name)
        if maker is None:
            raise Refused(f"it is a `{value.name}`, and making one would run code")
        return maker(self, value)


_ATOMS: frozenset[type] = frozenset(
    type(atom)
    for atom in (None, True, 0, 0.0, "", b"", 1j, bytearray(), range(0), slice(0), Ellipsis,
                 decimal.Decimal(), fractions.Fraction(), datetime.date.min, datetime.time.min,
                 datetime.datetime.min, datetime.timedelta(), datetime.timezone.utc,
                 pathlib.Path(), pathlib.PurePosixPath(), pathlib.PureWindowsPath())
) | {type(value) for value in tensors.CONSTANTS.values()} | {
    type(tensors.CALLS["torch.device"]("cpu")), type(tensors.CALLS["torch.Size"]()),
    type(tensors.CALLS["torch.serialization._get_layout"]("torch.strided")),
}  # fmt: skip
_OWN_ENUMS = ("trainer.states.", "utilities.enums.", "callbacks.early_stopping.EarlyStoppingReason")
_LEGACY_FUNCTIONS = re.compile(r"utilities\.argparse(_utils)?\._gpus_arg_default")


def _bare(value: Inert) -> Any:
    """A name that nothing was made of: plain types and names of containers stay, as names."""
    own = own_name(value.name)
    if own is not None and _LEGACY_FUNCTIONS.fullmatch(own):
        return None  # the default of an argument that early programs kept in hyperparameters
    if value.name in _NAMED_CONTAINERS or (own is not None and own.endswith("AttributeDict")):
        return value.name
    raise Refused(f"it is `{value.name}`, a class or function, which is code")


_NAMED_CONTAINERS = frozenset(
    (
        "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "argparse.Namespace",
        "builtins.dict", "collections.OrderedDict",
    )
)  # fmt: skip


def _state(value: Inert) -> dict[str, Any]:
    state = value.state
    if isinstance(state, tuple) and len(state) == 2:  # attributes, and those in slots
        state = {**(state[0] or {}), **(state[1] or {})}
    return {} if state is None else dict(only(dict, state))


def _attributes(kind: Callable[..., Any]) -> Callable[[Resolver, Inert], Any]:
    def make(resolve: Resolver, value: Inert) -> Any:
        state = resolve(_state(value))
        return kind(**{only(str, name): item for name, item in state.items()})

    return make


def _uuid(resolve: Resolver, value: Inert) -> uuid.UUID:
    return uuid.UUID(int=only(int, _state(value).get("int")))


def _calls_resolver(content: Any) -> bool:
    if isinstance(content, str):
        # the name of a resolver may itself be written as `${...}`, so any later colon counts
        return ":" in content.partition("${")[2]
    if isinstance(content, dict):
        return any(_calls_resolver(item) for pair in content.items() for item in pair)
    return isinstance(content, list | tuple) and any(map(_calls_resolver, content))


def _omegaconf(resolve: Resolver, value: Inert) -> Any:
    return make_omegaconf(resolve(_omegaconf_content(value, 0)))


def make_omegaconf(content: Any) -> Any:
    """A container of omegaconf; plain data where omegaconf is missing or could run something."""
    try:
        from omegaconf import OmegaConf  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return content
    if _calls_resolver(content):
        # `${name:...}` calls what the program registered under that name, `eval` for instance
        warnings_given.warn(
            "The checkpoint's configuration calls resolvers of omegaconf (`${name:...}`), so it "
            "comes back as plain data. Pass it to `OmegaConf.create` if you trust the file."
        )
        return content
    return OmegaConf.create(content)


def _omegaconf_content(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise Refused("it is nested too deeply, or contains itself")
    if not isinstance(value, Inert) or not value.name.startswith("omegaconf."):
        return value
    state = _state(value)
    if "_content" not in state:
        return state.get("_val")
    content = state["_content"]
    if isinstance(content, dict):
        return {k: _omegaconf_content(item, depth + 1) for k, item in content.items()}
    if isinstance(content, list):
        return [_omegaconf_content(item, depth + 1) for item in content]
    return content  # missing, None, or an interpolation as text


_NUMPY_TYPE = re.compile(
    r"(\?|[bBhHiIlLqQefdgFDG]|[biufcSUV?]\d{1,9}|[mM]8)(\[\d*[a-zA-Z]{1,2}\])?"
)


def _numpy_type(resolve: Resolver, value: Inert) -> Any:
    import numpy

    name = only(str, value.args[0])[:100] if value.args else ""
    state = value.state if isinstance(value.state, tuple) else ()
    order: Any = state[1] if len(state) > 1 and state[1] in ("<", ">", "|", "=") else "="
    if not _NUMPY_TYPE.fullmatch(name) or (len(state) > 3 and state[3] is not None):
        raise Refused("it is an array of a type that is no plain number or text")
    unit = ""
    if name in ("m8", "M8") and len(state) > 8 and isinstance(state[8], tuple):
        unit, count = state[8][-1][:2]
        unit = f"[{only(int, count)}{_encode_unit(unit)}]"
    return numpy.dtype(name + unit).newbyteorder(order)


def _encode_unit(unit: Any) -> str:
    text = unit.decode("ascii") if isinstance(unit, bytes) else only(str, unit)
    if not re.fullmatch("[a-zA-Z]{1,2}", text):
        raise Malformed("a unit of time that is none")
    return str(text)


def _numpy_array(resolve: Resolver, value: Inert) -> Any:
    import numpy

    _, shape, kind, fortran, data = only(tuple, value.state)
    if isinstance(data, list):
        array = numpy.empty(len(data), dtype=object)
        array[:] = resolve(data)
        return array.reshape(only(tuple, shape), order="F" if fortran else "C")
    if not isinstance(data, bytes):
        raise Malformed("an array without data")
    dtype = resolve(kind)
    array = numpy.frombuffer(data, dtype=dtype).copy()
    return array.reshape(only(tuple, shape), order="F" if fortran else "C")


def _numpy_scalar(resolve: Resolver, value: Inert) -> Any:
    import numpy

    kind, data = value.args
    return numpy.frombuffer(only(bytes, data), dtype=resolve(kind), count=1)[0]


_FINISH: dict[str, Callable[[Resolver, Inert], Any]] = {
    "argparse.Namespace": _attributes(argparse.Namespace),
    "jsonargparse._namespace.Namespace": _attributes(argparse.Namespace),
    "jsonargparse.namespace.Namespace": _attributes(argparse.Namespace),
    "types.SimpleNamespace": _attributes(types.SimpleNamespace),
    "uuid.UUID": _uuid,
    "omegaconf.dictconfig.DictConfig": _omegaconf,
    "omegaconf.listconfig.ListConfig": _omegaconf,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray._reconstruct": _numpy_array,
    "numpy._core.multiarray._reconstruct": _numpy_array,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}  # fmt: skip


def refuse(path: str, where: str, reason: Exception) -> CheckpointError:
    """The error for a value that cannot be had."""
    return CheckpointError(
        f"{path!r}: {where} cannot be read: {reason}. If you trust whoever made this file, pass "
        "`weights_only=False`, and save it anew."
    )
