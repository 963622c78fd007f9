"""Modules that went through `torch.compile`, and back."""

from typing import Any

from torch import nn

_COMPILED_MARK = "_torchdynamo_orig_callable"
_STEPS = ("forward", "training_step", "validation_step", "test_step", "predict_step")


def from_compiled(model: Any) -> Any:
    """The LightningModule inside a compiled one; its steps run compiled from now on."""
    original = getattr(model, "_orig_mod", None)
    context = getattr(model, "dynamo_ctx", None)
    if not isinstance(original, nn.Module) or context is None:
        raise ValueError(
            f"`model` is a `{type(model).__name__}`: pass what `torch.compile(module)` returned."
        )
    if not hasattr(original, "configure_optimizers"):
        raise ValueError(
            f"`model` holds a `{type(original).__name__}`: only a compiled LightningModule can "
            "be unpacked. Compile the layers inside your LightningModule instead."
        )
    if is_compiled(original):
        return original
    for name in _STEPS:
        original.__dict__[name] = context(getattr(original, name))
    original.__dict__["_compiler_ctx"] = {"dynamo_ctx": context, "methods": list(_STEPS)}
    return original


def to_uncompiled(model: Any) -> Any:
    """The plain LightningModule again, whichever of the two forms is given."""
    original = getattr(model, "_orig_mod", model)
    if not isinstance(original, nn.Module):
        raise ValueError(f"`model` is a `{type(model).__name__}`: pass a LightningModule.")
    if not is_compiled(original):
        if original is not model:
            return original
        raise ValueError(
            f"`{type(model).__name__}` was not compiled: pass what `from_compiled` or "
            "`torch.compile` returned."
        )
    for name in original.__dict__.pop("_compiler_ctx")["methods"]:
        original.__dict__.pop(name, None)
    return original


def is_compiled(module: nn.Module) -> bool:
    """Whether the steps of this module run compiled."""
    return module.__dict__.get("_compiler_ctx") is not None


def has_compiled_parts(module: nn.Module) -> bool:
    """Whether a module, one inside it or one of its methods goes through `torch.compile`."""
    for child in module.modules():
        if child.__dict__.get("_compiled_call_impl") is not None or "_orig_mod" in child._modules:
            return True
    places = (vars(place) for place in (module, *type(module).__mro__[:-1]))
    return any(hasattr(value, _COMPILED_MARK) for place in places for value in place.values())
