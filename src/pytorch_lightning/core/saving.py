"""Make a module or a datamodule from a checkpoint file; nothing in the file is ever run."""

import argparse
import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from torch import Tensor

from pytorch_lightning.checkpoint.migrate import migrate_checkpoint
from pytorch_lightning.checkpoint.sharded import read_any
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.core.hparams import ARGUMENTS
from pytorch_lightning.core.hparams_files import (
    load_hparams_from_tags_csv,
    load_hparams_from_yaml,
    read_hparams_file,
    save_hparams_to_tags_csv,
    save_hparams_to_yaml,
)
from pytorch_lightning.core.weights import load_weights
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.parsing import AttributeDict
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.signatures import parameters
from pytorch_lightning.utilities.suggest import did_you_mean
from pytorch_lightning.utilities.warnings import PossibleUserWarning

__all__ = [
    "ClassmethodOnly",
    "load_datamodule",
    "load_hparams_from_tags_csv",
    "load_hparams_from_yaml",
    "load_module",
    "save_hparams_to_tags_csv",
    "save_hparams_to_yaml",
]

CHECKPOINT_PAST_HPARAMS_KEYS = ("hparams", "module_arguments")  # of releases before 0.8
# What a command line interface left among the values to name the class and how to make it.
_CLI_KEYS = ("_instantiator", "_class_path")

if TYPE_CHECKING:
    ClassmethodOnly = classmethod
else:

    class ClassmethodOnly:
        """A classmethod that refuses to be called on an instance, whose weights it cannot fill."""

        def __init__(self, function: Callable[..., Any]) -> None:
            self.__func__ = function
            self.__doc__ = function.__doc__
            self.__wrapped__ = function

        def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
            if instance is None:
                return self.__func__.__get__(owner, type(owner))
            name = f"{owner.__name__}.{self.__func__.__name__}"

            def refuse(*_: Any, **__: Any) -> Any:
                raise TypeError(
                    f"`{name}` makes a new object, so it cannot be called on an instance: "
                    f"write `model = {name}(...)`."
                )

            return refuse


def load_module(
    cls: type,
    checkpoint_path: str | Path | BinaryIO,
    /,
    *,
    map_location: Any = None,
    hparams_file: str | Path | None = None,
    strict: bool | None = None,
    weights_only: bool | None = None,
    **overrides: Any,
) -> Any:
    """Make a module with the stored hyper-parameters and load the stored weights.

    Args:
        overrides: Arguments of `__init__`, which win over stored ones.
    """
    checkpoint = _read(checkpoint_path, map_location, weights_only)
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        raise CheckpointError(_no_weights(checkpoint_path, checkpoint))
    module = _construct(cls, checkpoint, hparams_file, overrides)
    if is_overridden_hook(module, "configure_model"):
        module.configure_model()
    module.on_load_checkpoint(checkpoint)
    state = checkpoint["state_dict"]
    load_weights(module, state, strict=strict, source=_name(checkpoint_path))
    first = next((value for value in state.values() if isinstance(value, Tensor)), None)
    return module if first is None else module.to(first.device)


def load_datamodule(
    cls: type,
    checkpoint_path: str | Path | BinaryIO,
    /,
    *,
    map_location: Any = None,
    hparams_file: str | Path | None = None,
    weights_only: bool | None = None,
    **overrides: Any,
) -> Any:
    """Make a datamodule with the stored hyper-parameters and give it its stored state."""
    checkpoint = _read(checkpoint_path, map_location, weights_only)
    datamodule = _construct(cls, checkpoint, hparams_file, overrides)
    state = checkpoint.get(cls.__qualname__)
    if state is not None:
        datamodule.load_state_dict(state)
    on_load = getattr(datamodule, "on_load_checkpoint", None)  # 1.x
    if on_load is not None:
        on_load(checkpoint)
    return datamodule


def _read(path: Any, map_location: Any, weights_only: bool | None) -> dict[str, Any]:
    return migrate_checkpoint(read_any(path, map_location, weights_only), path)


def _construct(
    cls: type, checkpoint: dict[str, Any], hparams_file: Any, overrides: dict[str, Any]
) -> Any:
    arguments = Arguments.of(cls)
    stored, name = _stored_values(cls, checkpoint)
    if hparams_file is not None:
        stored = read_hparams_file(hparams_file)
    if name not in (None, ARGUMENTS) and name in arguments.names:
        values = _with_container(cls, name, stored, overrides, arguments)
    else:
        values = {**stored, **overrides} if isinstance(stored, Mapping) else dict(overrides)
    _warn_about_unknown(cls, arguments, overrides, stored)
    if not arguments.takes_rest:
        values = {key: value for key, value in values.items() if key in arguments.names}
    _warn_about_class_specs(cls, values)
    missing = [key for key in arguments.required if key not in values]
    if missing:
        raise TypeError(
            f"`{cls.__name__}.__init__` needs {_names(missing)}, which the checkpoint does not "
            f"hold. Pass it: `{cls.__name__}.load_from_checkpoint(path, {missing[0]}=...)`, or "
            "call `self.save_hyperparameters()` in `__init__` before training."
        )
    return cls(**values)


class Arguments(NamedTuple):
    """What the constructor of a class takes by name."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    takes_rest: bool

    @classmethod
    def of(cls, owner: type) -> "Arguments":
        """Read the signature of a class's `__init__`."""
        found = list(parameters(owner.__init__).values())[1:]  # type: ignore[misc]  # only read
        named = [p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        return cls(
            names=tuple(p.name for p in named),
            required=tuple(p.name for p in named if p.default is inspect.Parameter.empty),
            takes_rest=any(p.kind is p.VAR_KEYWORD for p in found),
        )


def _stored_values(cls: Any, checkpoint: dict[str, Any]) -> tuple[Any, str | None]:
    """The stored hyper-parameters, and the argument under which a container came in."""
    key = cls.CHECKPOINT_HYPER_PARAMS_KEY
    candidates = (*CHECKPOINT_PAST_HPARAMS_KEYS, key) if key == "hyper_parameters" else (key,)
    values: Any = {}
    for candidate in candidates:
        found = checkpoint.get(candidate)
        found = vars(found) if isinstance(found, argparse.Namespace) else found
        if isinstance(found, Mapping) and isinstance(values, dict):
            values.update({k: v for k, v in found.items() if k not in _CLI_KEYS})
        elif found is not None:
            values = found
    return values, checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_NAME)


def _with_container(
    cls: type, name: str, stored: Any, overrides: dict[str, Any], arguments: Arguments
) -> dict[str, Any]:
    """Give the container as one argument, with those overrides that are no arguments put in."""
    direct = {key: value for key, value in overrides.items() if key in arguments.names}
    if name in direct or not isinstance(stored, Mapping):
        return {name: stored, **direct}
    inner = {key: value for key, value in overrides.items() if key not in arguments.names}
    container = AttributeDict({**stored, **inner})
    return {name: _as_annotated(cls, name, container), **direct}


def _as_annotated(cls: type, name: str, values: AttributeDict) -> Any:
    """Make the dataclass that the constructor of `cls` asks for; the code says so, not the file."""
    try:
        hint = typing.get_type_hints(cls.__init__).get(name)  # type: ignore[misc]  # only read
    except Exception:  # annotations of users may name what does not exist at run time
        return values
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            known = {field.name for field in dataclasses.fields(kind) if field.init}
            return kind(**{key: value for key, value in values.items() if key in known})
    return values


def _warn_about_unknown(
    cls: type, arguments: Arguments, overrides: dict[str, Any], stored: Any
) -> None:
    known = {*arguments.names, *(stored if isinstance(stored, Mapping) else ())}
    unknown = [] if arguments.takes_rest else [key for key in overrides if key not in known]
    for key in unknown:
        rank_zero_warn(
            f"`load_from_checkpoint({key}=...)`: `{cls.__name__}.__init__` has no such argument, "
            f"so it is left out.{did_you_mean(key, arguments.names)}",
            category=PossibleUserWarning,
        )


def _warn_about_class_specs(cls: type, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
            rank_zero_warn(
                f"The stored {key!r} only names a class ({value['class_path']}); nothing is "
                "imported because a file says so. Pass the object: "
                f"`{cls.__name__}.load_from_checkpoint(path, {key}=...)`."
            )


def _no_weights(path: Any, checkpoint: Mapping[str, Any]) -> str:
    if checkpoint and all(isinstance(value, Tensor) for value in checkpoint.values()):
        hint = "It looks like a bare state dict: use `model.load_state_dict(torch.load(path))`."
    else:
        hint = f"It has {_names(list(checkpoint)[:8]) or 'nothing'}."
    return f"{_name(path)} is no checkpoint of a module: it has no 'state_dict'. {hint}"


def _name(path: Any) -> str:
    return repr(str(path)) if isinstance(path, str | Path) else "the given file"


def _names(keys: list[Any]) -> str:
    return ", ".join(repr(key) for key in keys)
