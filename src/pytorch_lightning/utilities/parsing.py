"""Arguments of constructors, attribute dictionaries, and text to values."""

import inspect
import pickle
from argparse import Namespace
from collections.abc import Mapping, MutableMapping
from types import FrameType
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.suggest import did_you_mean

_TRUE = frozenset({"y", "yes", "t", "true", "on", "1"})
_FALSE = frozenset({"n", "no", "f", "false", "off", "0"})


class AttributeDict(dict[str, Any]):
    """A dictionary whose keys can be read and set as attributes.

    >>> hparams = AttributeDict(lr=0.1)
    >>> hparams.lr
    0.1
    """

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            hint = did_you_mean(key, map(str, self))
            raise AttributeError(
                f"'{type(self).__name__}' object has no attribute {key!r}.{hint}"
            ) from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        if key not in self:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute {key!r}.")
        del self[key]

    def __repr__(self) -> str:
        if not self:
            return ""
        labels = {key: f'"{key}":' for key in self}
        width = max(map(len, labels.values()))
        return "\n".join(f"{labels[key]:{width}s} {self[key]}" for key in sorted(self, key=str))


def is_picklable(obj: object) -> bool:
    """Whether `pickle` can write this object."""
    try:
        pickle.dumps(obj)
    except Exception:  # objects of users may raise anything
        return False
    return True


def clean_namespace(hparams: MutableMapping[str, Any] | Namespace) -> None:
    """Remove, with a warning, what cannot be pickled."""
    items = vars(hparams) if isinstance(hparams, Namespace) else hparams
    for key in [key for key, value in items.items() if not is_picklable(value)]:
        rank_zero_warn(
            f"The hyperparameter {key!r} cannot be pickled and was removed. "
            f'Leave it out with `save_hyperparameters(ignore=["{key}"])`.'
        )
        del items[key]


def parse_class_init_keys(cls: type) -> tuple[str, str | None, str | None]:
    """The names that `__init__` uses for self, `*args` and `**kwargs`.

    >>> class Net:
    ...     def __init__(self, width, *rest, **options): ...
    >>> parse_class_init_keys(Net)
    ('self', 'rest', 'options')
    """
    parameters = list(inspect.signature(cls.__init__).parameters.values())  # type: ignore[misc]  # read, not called

    def name_of(kind: object) -> str | None:
        return next((p.name for p in parameters if p.kind is kind), None)

    var_args = name_of(inspect.Parameter.VAR_POSITIONAL)
    var_kwargs = name_of(inspect.Parameter.VAR_KEYWORD)
    return parameters[0].name, var_args, var_kwargs


def get_init_args(frame: FrameType) -> dict[str, Any]:
    """The arguments of the `__init__` that runs in `frame`, as they are now.

    `**kwargs` is flattened; self and `*args` are left out. Empty for any other frame.
    """
    return _self_and_init_args(frame)[1]


def _self_and_init_args(frame: FrameType) -> tuple[Any, dict[str, Any]]:
    local_vars = frame.f_locals
    cls = local_vars.get("__class__")  # there wherever the body says `super()`
    if not isinstance(cls, type):
        return None, {}
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]  # read, not called
    self_name, args_name, kwargs_name = parse_class_init_keys(cls)
    left_out = {self_name, args_name, kwargs_name}
    arguments = {k: local_vars[k] for k in parameters if k in local_vars and k not in left_out}
    if kwargs_name is not None:
        arguments.update(local_vars.get(kwargs_name, {}))
    return local_vars.get(self_name), arguments


def collect_init_args(
    frame: FrameType | None,
    path_args: list[dict[str, Any]],
    inside: bool = False,
    classes: tuple[type, ...] = (),
) -> list[dict[str, Any]]:
    """The arguments of every `__init__` of one object, from this frame outwards.

    Args:
        path_args: What was found further in.
        inside: Has no effect; the object itself tells which frames are its own.
        classes: Only frames of these classes and their subclasses count.
    """
    found = list(path_args)
    owner: Any = None
    while frame is not None:
        cls = frame.f_locals.get("__class__")
        counts = isinstance(cls, type) and (not classes or issubclass(cls, classes))
        if counts and frame.f_code.co_name == "__init__":
            candidate, arguments = _self_and_init_args(frame)
            if owner is None:
                owner = candidate
            if candidate is owner:  # an object that is built inside another is not the other
                found.append(arguments)
        frame = frame.f_back
    return found


def _holders(model: Any, attribute: str) -> list[Any]:
    """The model, its hyperparameters and its datamodule, as far as they have the attribute."""
    found: list[Any] = [model] if hasattr(model, attribute) else []
    hparams = getattr(model, "hparams", None)
    if isinstance(hparams, Mapping):
        if attribute in hparams:
            found.append(hparams)
    elif hparams is not None and hasattr(hparams, attribute):
        found.append(hparams)
    datamodule = getattr(getattr(model, "_trainer", None), "datamodule", None)
    if datamodule is not None and hasattr(datamodule, attribute):
        found.append(datamodule)
    return found


def lightning_hasattr(model: Any, attribute: str) -> bool:
    """Whether the model, its hyperparameters or its datamodule has the attribute."""
    return bool(_holders(model, attribute))


def lightning_getattr(model: Any, attribute: str) -> Any:
    """Read an attribute of the model, its hyperparameters or its datamodule; the last wins."""
    holder = _holders_or_raise(model, attribute)[-1]
    return holder[attribute] if isinstance(holder, Mapping) else getattr(holder, attribute)


def lightning_setattr(model: Any, attribute: str, value: Any) -> None:
    """Set an attribute wherever the model, its hyperparameters and its datamodule have it."""
    for holder in _holders_or_raise(model, attribute):
        if isinstance(holder, MutableMapping):
            holder[attribute] = value
        else:
            setattr(holder, attribute, value)


def _holders_or_raise(model: Any, attribute: str) -> list[Any]:
    found = _holders(model, attribute)
    if not found:
        raise AttributeError(
            f"{attribute!r} is neither an attribute of {type(model).__name__} nor one of its "
            "`hparams` nor of its datamodule. Set it in `__init__`."
        )
    return found


def str_to_bool_or_str(val: str) -> str | bool:
    """Read 'yes', 'on', '1', 'no', 'off', '0' and their like as a truth value."""
    lower = val.lower()
    if lower in _TRUE:
        return True
    return False if lower in _FALSE else val


def str_to_bool(val: str) -> bool:
    """Read a truth value, or raise."""
    value = str_to_bool_or_str(val)
    if isinstance(value, bool):
        return value
    raise ValueError(f"{val!r} is no truth value: write 'true' or 'false'.")


def str_to_bool_or_int(val: str) -> bool | int | str:
    """Read a truth value, else a whole number, else leave the text."""
    value = str_to_bool_or_str(val)
    if isinstance(value, bool):
        return value
    try:
        return int(value)
    except ValueError:
        return value


def flatten_dict(source: Mapping[str, Any], result: dict[str, Any] | None = None) -> dict[str, Any]:
    """Lift the entries of nested dictionaries to the top; a later one wins."""
    flat: dict[str, Any] = {} if result is None else result
    for key, value in source.items():
        if isinstance(value, Mapping):
            flatten_dict(value, flat)
        else:
            flat[key] = value
    return flat
