"""Questions about the classes of users."""

from typing import Any

_BASES = ("LightningModule", "LightningDataModule", "Callback")


def is_overridden(
    method_name: str, instance: object | None = None, parent: type[object] | None = None
) -> bool:
    """Whether an object has its own version of a documented method.

    A function that was set on the object counts.

    Args:
        parent: The class whose version counts as not overridden; by default the documented
            base class of the object.
    """
    if instance is None:
        return False  # so that `is_overridden(name, datamodule)` needs no check before
    if parent is None:
        parent = _documented_base(type(instance))
    if not hasattr(instance, method_name):
        return False
    if not hasattr(parent, method_name):
        raise ValueError(f"`{parent.__name__}` has no method `{method_name}`.")
    if method_name in getattr(instance, "__dict__", {}):
        return True
    own = getattr(type(instance), method_name, None)
    return _function(own) is not _function(getattr(parent, method_name))


def _documented_base(cls: type[object]) -> type[object]:
    for base in cls.__mro__:
        if base.__name__ in _BASES and base.__module__.startswith("pytorch_lightning."):
            return base
    raise ValueError(
        f"`{cls.__name__}` derives from none of {', '.join(_BASES)}. Pass `parent`, the class "
        "whose method may be overridden."
    )


def _function(method: Any) -> Any:
    return getattr(method, "__func__", method)
