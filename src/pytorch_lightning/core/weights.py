"""Load weights, and say clearly which ones do not fit."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

_SHOWN = 8
_PREFIXES = ("_orig_mod.", "module.", "model.", "_forward_module.")  # of wrappers, most often


def load_weights(
    module: nn.Module, state: Mapping[str, Any], *, strict: bool | None, source: str
) -> None:
    """Load a state dict into a module.

    Args:
        strict: Whether the keys must be the same; None asks the module's `strict_loading`.
        source: What to call the place the weights come from.

    Raises:
        CheckpointError: Names the keys that are missing, unexpected or of another shape.
    """
    if strict is None:
        strict = bool(getattr(module, "strict_loading", True))
    try:
        keys = module.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        difference = describe_difference(module, state, strict=strict)
        if not difference:
            raise
        raise CheckpointError(
            f"The weights in {source} do not fit {type(module).__name__}.{difference}"
        ) from error
    if strict or keys is None:  # an override may return nothing
        return
    if keys.missing_keys:
        rank_zero_warn(f"{source} lacks weights that the module has: {_some(keys.missing_keys)}")
    if keys.unexpected_keys:
        rank_zero_warn(f"{source} has weights that the module lacks: {_some(keys.unexpected_keys)}")


def describe_difference(module: nn.Module, state: Mapping[str, Any], *, strict: bool) -> str:
    """Say which keys differ and what may be done; empty if none do."""
    mine = module.state_dict()
    missing = [key for key in mine if key not in state]
    unexpected = [key for key in state if key not in mine]
    shapes = [
        f"{key} is {tuple(state[key].shape)} there and {tuple(mine[key].shape)} here"
        for key in mine
        if isinstance(state.get(key), Tensor)
        and isinstance(mine[key], Tensor)
        and state[key].shape != mine[key].shape
    ]
    lines = []
    if missing:
        lines.append(f"  missing there ({len(missing)}): {_some(missing)}")
    if unexpected:
        lines.append(f"  unexpected there ({len(unexpected)}): {_some(unexpected)}")
    if shapes:
        lines.append(f"  of another shape ({len(shapes)}): {_some(shapes, separator='; ')}")
    if lines:
        lines.append(f"  {_cure(missing, unexpected, bool(shapes), strict=strict)}")
    return "".join(f"\n{line}" for line in lines)


def _cure(missing: list[str], unexpected: list[str], shapes: bool, *, strict: bool) -> str:
    prefix = _prefix_between(missing, unexpected) or _prefix_between(unexpected, missing)
    if prefix:
        return (
            f"The keys are the same but for the prefix {prefix!r}: rename them in "
            "`on_load_checkpoint(self, checkpoint)`, or load into the module that was saved."
        )
    if shapes:
        return "Is it a checkpoint of another model, or made with other hyper-parameters?"
    if strict:
        return "Is it a checkpoint of another model? If this is meant, pass `strict=False`."
    return "Is it a checkpoint of another model?"


def _prefix_between(longer: list[str], shorter: list[str]) -> str | None:
    """The prefix that turns every shorter key into a longer one."""
    for prefix in _PREFIXES:
        if longer and sorted(longer) == sorted(prefix + key for key in shorter):
            return prefix
    return None


def _some(items: Iterable[str], separator: str = ", ") -> str:
    shown = list(items)
    rest = len(shown) - _SHOWN
    return separator.join(shown[:_SHOWN]) + (f"{separator}and {rest} more" if rest > 0 else "")
