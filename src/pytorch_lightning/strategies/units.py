"""Which layers of a module form a unit of their own: gathered, or recomputed, together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from pytorch_lightning.strategies.gathering import broadcast_values
from pytorch_lightning.utilities.dtensor import divided, is_dtensor
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.parameter_tying import find_shared_parameters
from pytorch_lightning.utilities.rank_zero import warnings_given

_WITHOUT_FORWARD = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def chosen_modules(root: nn.Module, policy: Any, name: str) -> list[nn.Module]:
    """The modules inside `root` that a policy names, inner ones first.

    Args:
        policy: A class of modules, several of them, one of torch's wrap policies, or a function
            `(module, recurse, nonwrapped_numel) -> bool`.
        name: The argument that the policy came in as, for errors.
    """
    classes = _as_classes(policy)
    if classes is not None:
        found = [m for m in root.modules() if isinstance(m, classes)]
    elif hasattr(policy, "_run_policy"):  # of torch, which offers no public way to ask it
        found = list(policy._run_policy(root, set(), {}))
    elif callable(policy):
        found = []
        _ask(root, policy, found)
    else:
        raise MisconfigurationException(
            f"`{name}={policy!r}`: pass classes of modules, such as {{nn.TransformerEncoderLayer}},"
            " one of torch's wrap policies, or a function (module, recurse, nonwrapped_numel)."
        )
    wanted = set(found)
    return [m for m in inner_first(root) if m in wanted and m is not root]


def _as_classes(policy: Any) -> tuple[type, ...] | None:
    if isinstance(policy, type):
        return (policy,)
    if isinstance(policy, Iterable) and not callable(policy):
        classes = tuple(policy)
        if all(isinstance(cls, type) for cls in classes):
            return classes
    return None


def _ask(module: nn.Module, policy: Callable[..., Any], found: list[nn.Module]) -> int:
    """Ask a policy for a module and what is in it; how many elements lie in units by then."""
    size = sum(parameter.numel() for parameter in module.parameters())
    if not policy(module=module, recurse=True, nonwrapped_numel=size):
        return 0
    inside = sum(_ask(child, policy, found) for child in module.children())
    if policy(module=module, recurse=False, nonwrapped_numel=size - inside):
        found.append(module)
        return size
    return inside


def inner_first(module: nn.Module) -> list[nn.Module]:
    """The module and all in it, each after what it holds, in the order they were assigned."""
    seen: set[nn.Module] = set()
    order: list[nn.Module] = []

    def visit(one: nn.Module) -> None:
        if one in seen:
            return
        seen.add(one)
        for child in one.children():
            visit(child)
        order.append(one)

    visit(module)
    return order


def units_of(
    root: nn.Module, candidates: Collection[nn.Module], ignored: Collection[nn.Parameter] = ()
) -> list[nn.Module]:
    """Those of the candidates that can be a unit: called as a whole, and sharing nothing."""
    shared = _shared(root)
    units = []
    for module in candidates:
        if isinstance(module, _WITHOUT_FORWARD):
            continue
        own = [p for p in module.parameters() if p not in ignored]
        if not own:
            continue
        if _shares_with_others(root, module, shared):
            warnings_given.warn(
                f"A `{type(module).__name__}` shares parameters with other layers, so it is "
                "gathered together with the whole module."
            )
            continue
        units.append(module)
    return units


def _shared(root: nn.Module) -> set[nn.Parameter]:
    return {root.get_parameter(names[0]) for names in find_shared_parameters(root)}


def _shares_with_others(
    root: nn.Module, module: nn.Module, shared: Collection[nn.Parameter]
) -> bool:
    mine = {parameter for parameter in module.parameters() if parameter in shared}
    if not mine:
        return False
    inside = set(module.modules())
    others = (m for m in root.modules() if m not in inside)
    return any(p in mine for other in others for p in other.parameters(recurse=False))


def materialize(
    module: nn.Module, device: torch.device, init: Callable[[nn.Module], None] | None = None
) -> None:
    """Give a module's own parameters on the meta device memory and first values.

    Args:
        init: Sets the values; by default the module's `reset_parameters`.
    """
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    if not any(tensor.is_meta for tensor in own):
        return
    reset: Callable[[], Any] | None = None if init is None else partial(init, module)
    for name in ("reset_parameters", "_reset_parameters"):
        reset = reset or getattr(module, name, None)
    if reset is None:
        raise MisconfigurationException(
            f"`{type(module).__name__}` has parameters on the meta device and no "
            "`reset_parameters()` that gives them first values. Write one, or make the layer on a "
            "real device."
        )
    module.to_empty(device=device, recurse=False)
    parts = {n: p for n, p in module._parameters.items() if is_dtensor(p)}
    for name, part in parts.items():  # random numbers would not be those of the whole tensor
        module._parameters[name] = nn.Parameter(torch.empty(part.shape, device=device))  # type: ignore[union-attr]  # no None
    with torch.no_grad():
        reset()
        for name, part in parts.items():
            whole: Any = module._parameters[name]
            broadcast_values(whole)
            module._parameters[name] = part
            part.copy_(divided(whole.to(part.dtype), part))  # type: ignore[union-attr]  # no None


class Recomputed:
    """Layers whose activations are computed anew in backward instead of being kept."""

    def __init__(self) -> None:
        self._changed: list[tuple[nn.Module, Any]] = []

    def apply(self, modules: Iterable[nn.Module]) -> None:
        """Let these modules keep their inputs alone."""
        for module in modules:
            self._changed.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = _recomputing(module.forward)

    def undo(self) -> None:
        """Leave the modules as they were found."""
        for module, before in self._changed:
            module.__dict__.pop("forward", None)
            if before is not None:
                module.__dict__["forward"] = before
        self._changed.clear()


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    def recomputed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return recomputed
