"""Pickles read as data: names in them stay names, and nothing is imported or called by name."""

import io
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, BinaryIO

from pytorch_lightning.checkpoint.keys import Hashes, Malformed, check_keys
from pytorch_lightning.checkpoint.opcodes import ARGUMENTS, GETS, PUSHES, PUTS

__all__ = ["Inert", "Machine", "Malformed", "check_keys"]

# What a pickle may cost in memory, next to nothing of which lies in the file: an empty list is one
# byte there. Larger files may cost more, since real ones are mostly numbers in tensors.
_BUDGET = 400_000_000
_BUDGET_PER_BYTE = 4
_ATOM, _MEMO, _TUPLE, _CONTAINER, _CALL = 48, 100, 150, 450, 800
_TURN = 10_000
_MARK = object()
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}


class Inert:
    """A name in a file, or what would have been made by calling it; no code stands behind it."""

    __slots__ = ("args", "made", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = (), *, made: bool = False) -> None:
        self.name = name
        self.args = args
        self.made = made
        self.state: Any = None


class _Stop(Exception):
    """The end of the pickle."""


class Machine:
    """Runs the operations of one pickle over plain containers.

    Args:
        calls: What stands for the names that may be called.
        constants: Values that names stand for by themselves.
        persistent: Answers references to what lies outside the pickle, such as storages.
        size: How many bytes the whole file has.
    """

    def __init__(
        self,
        calls: Mapping[str, Callable[..., Any]],
        constants: Mapping[str, Any],
        persistent: Callable[[Any], Any],
        size: int = 0,
    ) -> None:
        self._calls = calls
        self._constants = constants
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._hashes: dict[int, Hashes] = {}
        self._left = _BUDGET + _BUDGET_PER_BYTE * size

    def run(self, source: bytes | BinaryIO) -> Any:
        """The value of a pickle; of a file, what follows the pickle is left unread."""
        file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
        operations = _bound(self, file)
        read = file.read
        try:
            while True:
                for _ in range(_TURN):
                    operations[read(1)]()
                self._spend(_TURN * _ATOM)
        except _Stop:
            return self._pop()
        except KeyError as error:
            (code,) = error.args
            raise Malformed(f"the operation {code!r}" if code else "no end") from None
        except IndexError:
            raise Malformed("an operation without enough values") from None

    def _spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise Malformed("more values than a file of its size should")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise Malformed("a mark out of place")
        return value

    def _pop_to_mark(self) -> list[Any]:
        stack = self._stack
        for at in range(len(stack) - 1, -1, -1):
            if stack[at] is _MARK:
                values = stack[at + 1 :]
                del stack[at:]
                return values
        raise Malformed("a mark is missing")

    def _push_name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Malformed("a name that is no text")
        self._spend(_TUPLE)
        whole = f"{_RENAMED.get(module, module)}.{name}"
        constants = self._constants
        self._stack.append(constants[whole] if whole in constants else Inert(whole))

    def _call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Inert) or function.made or not isinstance(args, tuple):
            raise Malformed("a call of what is no name")
        # what is called may copy what it is given, which is one and the same time and again
        self._spend(
            _CALL + sum(_SIZED[type(arg)] * len(arg) for arg in args if type(arg) in _SIZED)
        )
        if function.name in _COPYING:
            self._spend(2 * sum(getattr(arg, "nbytes", 0) for arg in args))
        maker = self._calls.get(function.name)
        try:
            return Inert(function.name, args, made=True) if maker is None else maker(*args)
        except (IndexError, KeyError) as error:
            raise Malformed(f"a `{function.name}` that is none ({error!r})") from None

    def _reduce(self) -> None:
        args = self._pop()
        self._stack.append(self._call(self._pop(), args))

    def _new_with_keywords(self) -> None:
        self._pop()
        self._reduce()

    def _object(self) -> None:
        function, *args = self._pop_to_mark() or [None]
        self._stack.append(self._call(function, tuple(args)))

    def _instance(self, names: tuple[str, str]) -> None:
        args = tuple(self._pop_to_mark())
        self._push_name(*names)
        self._stack.append(self._call(self._pop(), args))

    def _global(self, names: tuple[str, str]) -> None:
        self._push_name(*names)

    def _stack_global(self) -> None:
        name = self._pop()
        self._push_name(self._pop(), name)

    def _refer(self, reference: Any) -> None:
        self._spend(_TUPLE)
        try:
            self._stack.append(self._persistent(reference))
        except (IndexError, KeyError) as error:
            raise Malformed(f"a reference that is none ({error!r})") from None

    def _build(self) -> None:
        state = self._pop()
        target = self._stack[-1]
        if isinstance(target, Inert) and target.made:
            target.state = state
        elif type(target) is OrderedDict and isinstance(state, dict):
            # what `Module.state_dict` says about the versions of its modules
            if "_metadata" in state:
                target._metadata = state["_metadata"]  # type: ignore[attr-defined]
        elif type(target) is not dict:  # attributes of a mapping that is read as a plain one
            raise Malformed(f"a state for a {type(target).__name__}")

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list | deque):
            target.extend(values)
        elif not (isinstance(target, Inert) and target.made):
            raise Malformed(f"items for a {type(target).__name__}")

    def _check_keys(self, target: Any, keys: list[Any]) -> None:
        hashes = self._hashes.setdefault(id(target), {})
        self._spend(_MEMO * check_keys(keys, hashes))
        if not hashes:  # texts and small numbers alone, as nearly always
            del self._hashes[id(target)]

    def _set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert) and target.made:
            return
        if type(target) not in (dict, OrderedDict, defaultdict, Counter) or len(values) % 2:
            raise Malformed(f"entries for a {type(target).__name__}")
        self._check_keys(target, values[::2])
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[key] = value

    def _add_items(self) -> None:
        values = self._pop_to_mark()
        target = self._stack[-1]
        if type(target) is not set:
            raise Malformed("members for what is no set")
        self._check_keys(target, values)
        target.update(values)

    def _frozen_set(self) -> None:
        values = self._pop_to_mark()
        self._spend(_CONTAINER + _MEMO * check_keys(values))
        self._stack.append(frozenset(values))

    def _append(self) -> None:
        value = self._pop()
        self._extend([value])

    def _set_item(self) -> None:
        value = self._pop()
        key = self._pop()
        self._set_items([key, value])

    def _tuple(self, size: int) -> None:
        self._spend(_TUPLE)
        values = tuple(self._pop() for _ in range(size))
        self._stack.append(values[::-1])

    def _collect(self, kind: type) -> None:
        self._spend(_CONTAINER)
        self._stack.append(kind(self._pop_to_mark()))

    def _dict(self) -> None:
        values = self._pop_to_mark()
        self._empty(dict)
        self._set_items(values)

    def _empty(self, kind: type) -> None:
        self._spend(_CONTAINER)
        self._stack.append(kind())

    def _put(self, index: int) -> None:
        self._spend(_MEMO)
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise Malformed("a value that was never kept")
        self._stack.append(self._memo[index])

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _drop(self) -> None:
        self._stack.pop()

    def _drop_to_mark(self) -> None:
        self._pop_to_mark()

    def _stop(self) -> None:
        raise _Stop

    def _pass(self, _: Any) -> None:
        """Leave out what only helps other readers."""


_COPYING = frozenset(
    ("torch._utils._rebuild_device_tensor_from_cpu_tensor", "torch._utils._rebuild_qtensor")
)
_SIZED: dict[type, int] = {
    str: 4, bytes: 4, bytearray: 4, list: 64, tuple: 64, dict: 64, set: 64, frozenset: 64,
    deque: 64,
}  # fmt: skip


def _bound(machine: Machine, file: BinaryIO) -> dict[bytes, Callable[[], None]]:
    """The operations of a machine over a file, by their codes."""
    taking: dict[bytes, Callable[[Any], None]] = {
        **dict.fromkeys(PUSHES, machine._push), **dict.fromkeys(PUTS, machine._put),
        **dict.fromkeys(GETS, machine._get), b"\x80": machine._pass, b"\x95": machine._pass,
        b"c": machine._global, b"i": machine._instance, b"P": machine._refer,
    }  # fmt: skip
    arguments = {**PUSHES, **PUTS, **GETS, **ARGUMENTS}
    return {
        **{code: _fed(operate, arguments[code], file) for code, operate in taking.items()},
        **{code: partial(operate, machine) for code, operate in _OPERATIONS.items()},
    }


_OPERATIONS: dict[bytes, Callable[[Machine], None]] = {
    b"(": lambda machine: machine._push(_MARK),
    b")": lambda machine: machine._push(()),
    b".": Machine._stop,
    b"0": Machine._drop,
    b"1": Machine._drop_to_mark,
    b"2": lambda machine: machine._push(machine._stack[-1]),
    b"N": lambda machine: machine._push(None),
    b"Q": lambda machine: machine._refer(machine._pop()),
    b"R": Machine._reduce,
    b"]": lambda machine: machine._empty(list),
    b"a": Machine._append,
    b"b": Machine._build,
    b"d": Machine._dict,
    b"e": lambda machine: machine._extend(machine._pop_to_mark()),
    b"l": lambda machine: machine._collect(list),
    b"o": Machine._object,
    b"s": Machine._set_item,
    b"t": lambda machine: machine._collect(tuple),
    b"u": lambda machine: machine._set_items(machine._pop_to_mark()),
    b"}": lambda machine: machine._empty(dict),
    b"\x81": Machine._reduce,
    b"\x85": lambda machine: machine._tuple(1),
    b"\x86": lambda machine: machine._tuple(2),
    b"\x87": lambda machine: machine._tuple(3),
    b"\x88": lambda machine: machine._push(True),
    b"\x89": lambda machine: machine._push(False),
    b"\x8f": lambda machine: machine._empty(set),
    b"\x90": Machine._add_items,
    b"\x91": Machine._frozen_set,
    b"\x92": Machine._new_with_keywords,
    b"\x93": Machine._stack_global,
    b"\x94": lambda machine: machine._put(len(machine._memo)),
}


def _fed(
    operate: Callable[[Any], None], read: Callable[[BinaryIO], Any], file: BinaryIO
) -> Callable[[], None]:
    return lambda: operate(read(file))
