"""Pickles read as data: names in them stay names, and nothing is imported or called by name."""

import pickletools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

_MOST_OPERATIONS = 20_000_000  # some ten seconds of reading, far above what training states need
_LARGEST_KEY = 10_000
_MARK = object()
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}


class Malformed(ValueError):
    """The bytes do not follow the rules of the format."""


class Inert:
    """A name in a file, or what would have been made by calling it; no code stands behind it."""

    __slots__ = ("args", "made", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = (), *, made: bool = False) -> None:
        self.name = name
        self.args = args
        self.made = made
        self.state: Any = None


def check_keys(keys: Iterable[Any]) -> None:
    """Refuse what is no key, or takes long to hash: tuples can share, and unfold without end."""
    for key in keys:
        waiting, seen = [key], 0
        while waiting:
            item = waiting.pop()
            seen += 1
            if seen > _LARGEST_KEY:
                raise Malformed("a key that is too large")
            if isinstance(item, tuple | frozenset):
                waiting.extend(item)


class Machine:
    """Runs the operations of one pickle over plain containers.

    Args:
        calls: What stands for the names that may be called.
        constants: Values that names stand for by themselves.
        persistent: Answers references to what lies outside the pickle, such as storages.
    """

    def __init__(
        self,
        calls: Mapping[str, Callable[..., Any]],
        constants: Mapping[str, Any],
        persistent: Callable[[Any], Any],
    ) -> None:
        self._calls = calls
        self._constants = constants
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, source: bytes | BinaryIO) -> Any:
        """The value of a pickle; of a file, what follows the pickle is left unread."""
        stack, memo, operations = self._stack, self._memo, _OPERATIONS
        found: Iterable[tuple[Any, Any, Any]] = pickletools.genops(source)
        for count, (operation, argument, _) in enumerate(found):
            name = operation.name
            if count > _MOST_OPERATIONS:
                raise Malformed(f"more than {_MOST_OPERATIONS} operations")
            if name in _PUSHES:
                stack.append(argument)
            elif name in _PUTS:
                memo[argument] = stack[-1]
            elif name in _GETS:
                stack.append(memo[argument])
            elif name == "STOP":
                return self._pop()
            elif name in operations:
                operations[name](self, argument)
            else:
                raise Malformed(f"the operation {name}")
        raise Malformed("no end")

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
        whole = f"{_RENAMED.get(module, module)}.{name}"
        constants = self._constants
        self._stack.append(constants[whole] if whole in constants else Inert(whole))

    def _call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Inert) or function.made or not isinstance(args, tuple):
            raise Malformed("a call of what is no name")
        maker = self._calls.get(function.name)
        return Inert(function.name, args, made=True) if maker is None else maker(*args)

    def _reduce(self, _: Any) -> None:
        args = self._pop()
        self._stack.append(self._call(self._pop(), args))

    def _new_with_keywords(self, _: Any) -> None:
        self._pop()
        self._reduce(None)

    def _object(self, _: Any) -> None:
        function, *args = self._pop_to_mark()
        self._stack.append(self._call(function, tuple(args)))

    def _instance(self, argument: str) -> None:
        args = tuple(self._pop_to_mark())
        self._global(argument)
        self._stack.append(self._call(self._pop(), args))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_name(module, name)

    def _stack_global(self, _: Any) -> None:
        name = self._pop()
        self._push_name(self._pop(), name)

    def _build(self, _: Any) -> None:
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

    def _set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert) and target.made:
            return
        if type(target) not in (dict, OrderedDict, defaultdict, Counter) or len(values) % 2:
            raise Malformed(f"entries for a {type(target).__name__}")
        check_keys(values[::2])
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[key] = value

    def _add_items(self, _: Any) -> None:
        values = self._pop_to_mark()
        if type(self._stack[-1]) is not set:
            raise Malformed("members for what is no set")
        check_keys(values)
        self._stack[-1].update(values)

    def _frozen_set(self, _: Any) -> None:
        values = self._pop_to_mark()
        check_keys(values)
        self._stack.append(frozenset(values))

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._extend([value])

    def _set_item(self, _: Any) -> None:
        value = self._pop()
        key = self._pop()
        self._set_items([key, value])

    def _tuple(self, size: int) -> None:
        values = tuple(self._pop() for _ in range(size))
        self._stack.append(values[::-1])

    def _dict(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._stack.append({})
        self._set_items(values)

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _drop(self, _: Any) -> None:
        self._stack.pop()

    def _drop_to_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def _push(self, value: Any) -> None:
        self._stack.append(value)


_PUSHES = frozenset(
    (
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
        "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    )
)  # fmt: skip
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "MARK": lambda machine, _: machine._push(_MARK),
    "POP": Machine._drop,
    "POP_MARK": Machine._drop_to_mark,
    "DUP": lambda machine, _: machine._push(machine._stack[-1]),
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "EMPTY_DICT": lambda machine, _: machine._push({}),
    "EMPTY_SET": lambda machine, _: machine._push(set()),
    "LIST": lambda machine, _: machine._push(machine._pop_to_mark()),
    "TUPLE": lambda machine, _: machine._push(tuple(machine._pop_to_mark())),
    "FROZENSET": Machine._frozen_set,
    "TUPLE1": lambda machine, _: machine._tuple(1),
    "TUPLE2": lambda machine, _: machine._tuple(2),
    "TUPLE3": lambda machine, _: machine._tuple(3),
    "DICT": Machine._dict,
    "APPEND": Machine._append,
    "APPENDS": lambda machine, _: machine._extend(machine._pop_to_mark()),
    "SETITEM": Machine._set_item,
    "SETITEMS": lambda machine, _: machine._set_items(machine._pop_to_mark()),
    "ADDITEMS": Machine._add_items,
    "MEMOIZE": Machine._memoize,
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._reduce,
    "NEWOBJ_EX": Machine._new_with_keywords,
    "INST": Machine._instance,
    "OBJ": Machine._object,
    "BUILD": Machine._build,
    "PERSID": lambda machine, argument: machine._push(machine._persistent(argument)),
    "BINPERSID": lambda machine, _: machine._push(machine._persistent(machine._pop())),
}
