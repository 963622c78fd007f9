"""Constructor arguments as options of `argparse`, as releases before 2.0 had them."""

import inspect
import re
from argparse import ArgumentParser, Namespace, _ArgumentGroup
from ast import literal_eval
from collections.abc import Callable
from typing import Any, NamedTuple

from typing_extensions import Self

from pytorch_lightning.utilities.environ import read_prefixed
from pytorch_lightning.utilities.parsing import str_to_bool

__all__ = ["ArgparseBridge"]

_SIMPLE: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
# Collections and callables cannot be written as one option, whatever is inside them.
_NOT_SIMPLE = re.compile(r"\b(list|dict|tuple|set|type|callable|sequence|mapping|iterable)\[", re.I)


class Option(NamedTuple):
    """An argument of a constructor, with the simple types it may have."""

    name: str
    kinds: tuple[type, ...]
    default: Any


class ArgparseBridge:
    """Gives a class the argparse methods of 1.x, derived from the signature of `__init__`."""

    @classmethod
    def get_init_arguments_and_types(cls) -> list[tuple[str, tuple[type, ...], Any]]:
        """The name, the simple types and the default of each argument."""
        return list(_options_of(cls))

    @classmethod
    def default_attributes(cls) -> dict[str, Any]:
        """The default of each argument."""
        return {option.name: option.default for option in _options_of(cls)}

    @classmethod
    def add_argparse_args(
        cls, parent_parser: ArgumentParser, use_argument_group: bool = True
    ) -> ArgumentParser:
        """Add an option for each argument that can be written as one word.

        Args:
            use_argument_group: Add to the parser itself, under a heading; else to a new one.
        """
        if isinstance(parent_parser, _ArgumentGroup):
            raise RuntimeError("`parent_parser` is an argument group: pass an ArgumentParser.")
        parser = parent_parser
        target: Any = parser
        if use_argument_group:
            target = parser.add_argument_group(f"pl.{cls.__qualname__}")
        else:
            parser = target = ArgumentParser(parents=[parent_parser], add_help=False)
        known = set(parser._option_string_actions)
        for option in _options_of(cls):
            if option.kinds and f"--{option.name}" not in known:
                _add(target, option)
        return parser

    @classmethod
    def parse_argparser(cls, arg_parser: ArgumentParser | Namespace) -> Namespace:
        """The options of a parser or of what it parsed, defaults filled in."""
        given = arg_parser if isinstance(arg_parser, Namespace) else arg_parser.parse_args()
        return Namespace(**{**cls.default_attributes(), **vars(given)})

    @classmethod
    def match_env_arguments(cls) -> Namespace:
        """The arguments that environment variables such as `PL_TRAINER_MAX_EPOCHS` set."""
        found = read_prefixed(f"PL_{cls.__qualname__.upper()}_")
        return Namespace(
            **{
                option.name: _literal(found[option.name])
                for option in _options_of(cls)
                if option.name in found
            }
        )

    @classmethod
    def from_argparse_args(cls, args: Namespace | ArgumentParser, **kwargs: Any) -> Self:
        """Make an object from parsed options.

        Args:
            args: What `parse_args()` gave; options that are no arguments are left out.
            kwargs: Arguments that win over the options.
        """
        given = args if isinstance(args, Namespace) else args.parse_args()
        names = {option.name for option in _options_of(cls)}
        chosen = {key: value for key, value in vars(given).items() if key in names}
        return cls(**{**chosen, **kwargs})


def _options_of(cls: type) -> list[Option]:
    """The arguments of `__init__`, and of those it hands `**kwargs` on to."""
    options: dict[str, Option] = {}
    for owner in cls.__mro__:
        init = owner.__dict__.get("__init__")
        if init is None or owner is object:
            continue
        signature = list(inspect.signature(init).parameters.values())[1:]
        for parameter in signature:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                options.setdefault(parameter.name, _option(parameter))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature):
            break
    return list(options.values())


def _option(parameter: inspect.Parameter) -> Option:
    default = None if parameter.default is parameter.empty else parameter.default
    if parameter.annotation is parameter.empty:
        kinds = tuple(kind for kind in _SIMPLE.values() if type(default) is kind)
    else:
        kinds = _kinds_in(parameter.annotation)
    return Option(parameter.name, kinds, default)


def _kinds_in(annotation: Any) -> tuple[type, ...]:
    """The simple types an annotation names; read as text, since not every name can be resolved."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = _without_collections(text)
    if re.search(r"Literal\[['\"]|Path\b|_PATH\b", text):
        text += " str"
    return tuple(kind for name, kind in _SIMPLE.items() if re.search(rf"\b{name}\b", text))


def _without_collections(text: str) -> str:
    while (found := _NOT_SIMPLE.search(text)) is not None:
        depth, end = 1, found.end()
        while depth and end < len(text):
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        text = text[: found.start()] + text[end:]
    return text


def _add(target: Any, option: Option) -> None:
    flags: dict[str, Any] = {"nargs": "?", "const": True} if bool in option.kinds else {}
    target.add_argument(
        f"--{option.name}",
        dest=option.name,
        default=option.default,
        type=_reader(option.kinds),
        help=f"default: {option.default!r}".replace("%", "%%"),
        **flags,
    )


def _reader(kinds: tuple[type, ...]) -> Callable[[str], Any]:
    """Read one word as the first of these types that fits."""
    readers: list[Callable[[str], Any]] = []
    if int in kinds:  # before bool, which would take '1'
        readers.append(int)
    if float in kinds:
        readers.append(float)
    if bool in kinds:
        readers.append(str_to_bool)
    if str in kinds:
        readers.append(str)

    def read(text: str) -> Any:
        for reader in readers:
            try:
                return reader(text)
            except ValueError:
                continue
        raise ValueError(text)

    read.__name__ = " or ".join(kind.__name__ for kind in kinds)  # argparse says it in errors
    return read


def _literal(text: str) -> Any:
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text
