"""Hyper-parameters: which arguments made an object, as they were when it was made."""

import argparse
import copy
import dataclasses
import inspect
import types
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from torch import nn

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.parsing import AttributeDict
from pytorch_lightning.utilities.rank_zero import rank_zero_warn, warnings_given
from pytorch_lightning.utilities.suggest import did_you_mean
from pytorch_lightning.utilities.warnings import PossibleUserWarning

__all__ = ["HyperparametersMixin", "save_hyperparameters"]

_PRIMITIVES = (bool, int, float, str)
# What `hparams_name` says when the values are arguments side by side, not one container.
ARGUMENTS = "kwargs"


class HyperparametersMixin:
    """Gives an object `save_hyperparameters` and `hparams`."""

    # Class-wide defaults, so that the mixin works without its `__init__` being called.
    _log_hyperparams: bool = False
    _hparams_name: str | None = None

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Sequence[str] | str | None = None,
        frame: types.FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep the arguments of `__init__` in `self.hparams`, in checkpoints and in loggers.

        Call it inside `__init__`: the values are taken as they are at that moment. The arguments
        of all classes from the one that calls to the one that is made are kept, and `**kwargs`
        one by one.

        Args:
            args: Names of the arguments to keep, or one container (dict, `Namespace`, dataclass,
                OmegaConf) whose items are kept; nothing keeps every argument.
            ignore: Names to leave out.
            frame: The frame whose arguments are meant, where it is not the caller's.
            logger: Whether loggers get these values, too.

        Example:
            >>> class Net(HyperparametersMixin):
            ...     def __init__(self, width, backbone=None):
            ...         self.save_hyperparameters(ignore=["backbone"])
            >>> Net(width=3).hparams.width
            3
        """
        self._log_hyperparams = logger
        if frame is None:
            here = inspect.currentframe()
            frame = None if here is None else here.f_back
        save_hyperparameters(self, *args, ignore=ignore, frame=frame)

    @property
    def hparams(self) -> AttributeDict | MutableMapping[str, Any]:
        """What `save_hyperparameters` kept; may be changed."""
        if "_hparams" not in self.__dict__:
            self.__dict__["_hparams"] = AttributeDict()
        kept: AttributeDict | MutableMapping[str, Any] = self.__dict__["_hparams"]
        return kept

    @property
    def hparams_initial(self) -> AttributeDict | MutableMapping[str, Any]:
        """A copy of what was kept, as it was on the last `save_hyperparameters`."""
        kept = self.__dict__.get("_hparams_initial")
        copied: AttributeDict = AttributeDict() if kept is None else _copy_values(kept)
        return copied

    def remove_ignored_hparams(self, ignore_list: list[str]) -> None:
        """Forget names that a class further down does not want to be kept."""
        for name in ignore_list:
            self.hparams.pop(name, None)

    def _set_hparams(self, hparams: MutableMapping[str, Any] | argparse.Namespace) -> None:
        """Merge values into what is kept already."""
        mapping = _as_mapping(hparams)
        kept = self.__dict__.get("_hparams")
        if isinstance(kept, dict) and isinstance(mapping, dict):
            kept.update(mapping)
        else:
            self.__dict__["_hparams"] = mapping


def save_hyperparameters(
    obj: Any,
    *args: Any,
    ignore: Sequence[str] | str | None = None,
    frame: types.FrameType | None = None,
    given_hparams: dict[str, Any] | None = None,
) -> None:
    """Keep the arguments that made `obj`; see `HyperparametersMixin.save_hyperparameters`.

    Args:
        given_hparams: The arguments, where they are known without looking at frames.
    """
    if len(args) == 1 and (args[0] is None or args[0] == {}):
        return
    if frame is None:
        here = inspect.currentframe()
        frame = None if here is None else here.f_back
    found = given_hparams if given_hparams is not None else _arguments_that_made(obj, frame)
    if found is None and not args:
        rank_zero_warn(
            f"`save_hyperparameters()` keeps nothing: it was not called inside the `__init__` of "
            f"`{type(obj).__name__}`. Call it there, or pass the values as a dict.",
            category=PossibleUserWarning,
        )
        return
    ignored = [ignore] if isinstance(ignore, str) else list(ignore or ())
    arguments = {name: value for name, value in (found or {}).items() if name not in ignored}
    name, values = _select(args, arguments, ignored)
    _warn_about_modules(values)
    if name is not None:
        obj._hparams_name = ARGUMENTS if obj._hparams_name not in (None, name) else name
    obj._set_hparams(values)
    obj.remove_ignored_hparams(ignored)
    obj.__dict__["_hparams_initial"] = _copy_values(obj.hparams)


def _select(
    args: tuple[Any, ...], arguments: dict[str, Any], ignored: list[str]
) -> tuple[str | None, Any]:
    """What is asked for, and the name of the argument that a container came in."""
    if not args:
        return (ARGUMENTS if arguments else None), arguments
    if len(args) == 1 and not isinstance(args[0], str):
        values = args[0]
        name = _name_of(values, arguments)
        if isinstance(values, argparse.Namespace) or _is_dataclass_instance(values):
            values = _fields_of(values)
        if ignored and isinstance(values, Mapping):
            values = {key: value for key, value in values.items() if key not in ignored}
        return name, values
    return ARGUMENTS, dict(_by_name(args, arguments, ignored))


def _by_name(
    args: tuple[Any, ...], arguments: dict[str, Any], ignored: list[str]
) -> Iterator[tuple[str, Any]]:
    for given in args:
        name = given if isinstance(given, str) else _name_of(given, arguments)
        if name in ignored:
            continue
        if name is None:
            raise MisconfigurationException(
                f"`save_hyperparameters(..., {given!r})`: of several values each must be an "
                "argument of `__init__` or the name of one. Pass names, or one dict."
            )
        if name not in arguments:
            raise MisconfigurationException(
                f"`save_hyperparameters({name!r})`: `__init__` has no such argument; it has "
                f"{sorted(arguments)}.{did_you_mean(name, arguments)}"
            )
        yield name, arguments[name]


def _name_of(value: Any, arguments: dict[str, Any]) -> str | None:
    return next((name for name, given in arguments.items() if given is value), None)


def _arguments_that_made(obj: object, frame: types.FrameType | None) -> dict[str, Any] | None:
    """Collect the arguments of every `__init__` of `obj` that is running now.

    A frame counts when its first argument *is* `obj`, so neither a module that is made inside
    another one's `__init__` nor the functions between two classes can add foreign values. The
    class that is made has the last word: its arguments are what makes an equal object.
    """
    collected: dict[str, Any] | None = None
    while frame is not None:
        if frame.f_code.co_name == "__init__" and _first_argument(frame) is obj:
            collected = {} if collected is None else collected
            collected.update(_arguments_of(frame))
        frame = frame.f_back
    return collected


def _first_argument(frame: types.FrameType) -> object:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _arguments_of(frame: types.FrameType) -> dict[str, Any]:
    """The named arguments of a running function as they are now, `self` and `*args` left out."""
    code, values = frame.f_code, frame.f_locals
    named = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    found = {name: values[name] for name in named if name in values}
    if code.co_flags & inspect.CO_VARKEYWORDS:
        has_varargs = bool(code.co_flags & inspect.CO_VARARGS)
        rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount + has_varargs]
        found.update(values.get(rest, {}))
    return found


def _as_mapping(hparams: Any) -> Any:
    if isinstance(hparams, argparse.Namespace) or _is_dataclass_instance(hparams):
        return AttributeDict(_fields_of(hparams))
    if isinstance(hparams, dict):
        return AttributeDict(hparams)
    if isinstance(hparams, _PRIMITIVES):
        raise ValueError(
            f"`save_hyperparameters({hparams!r})`: a {type(hparams).__name__} has no name to be "
            "kept under. Pass the name of the argument, or a dict."
        )
    if isinstance(hparams, Mapping) or _is_omegaconf(hparams):
        return hparams
    raise ValueError(
        f"`save_hyperparameters` cannot keep a {type(hparams).__name__}. Pass names of arguments, "
        "a dict, a Namespace, a dataclass or an OmegaConf container."
    )


def _is_omegaconf(value: object) -> bool:
    return any(base.__module__.partition(".")[0] == "omegaconf" for base in type(value).__mro__)


def _is_dataclass_instance(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type | nn.Module)


def _fields_of(value: Any) -> dict[str, Any]:
    if isinstance(value, argparse.Namespace):
        return dict(vars(value))
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _warn_about_modules(values: Any) -> None:
    if not isinstance(values, Mapping) or _is_omegaconf(values):
        return
    for name, value in values.items():
        if isinstance(value, nn.Module):
            warnings_given.warn(
                f"Attribute {name!r} is an `nn.Module` and is already saved in checkpoints by its "
                f"weights. Leave it out: `self.save_hyperparameters(ignore=[{name!r}])`."
            )


def _copy_values(hparams: Any) -> Any:
    """Copy deeply what can be copied; modules stay themselves, since they may be large."""
    if not isinstance(hparams, dict):
        return copy.deepcopy(hparams)
    return type(hparams)({name: _copy_value(value) for name, value in hparams.items()})


def _copy_value(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # locks, generators, handles: kept as they are, for what they are worth
        try:
            return copy.copy(value)
        except Exception:
            return value
