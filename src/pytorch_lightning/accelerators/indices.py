"""What users write as `devices` to the indices of devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytorch_lightning.utilities.exceptions import MisconfigurationException


def parse_indices(devices: Any, count: int, kind: str) -> list[int]:
    """The indices that were asked for, all of them there and each once.

    Args:
        devices: A number of devices, -1 for all, indices as a list or as "0,2", or any of these
            numbers as a string.
        count: How many there are.
        kind: What they are called in an error, in the singular.

    Raises:
        TypeError: If it is nothing of the kind.
        MisconfigurationException: If there are fewer, or one is named twice.
    """
    wanted = _from_text(devices, kind) if isinstance(devices, str) else devices
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        return _first(wanted, devices, count, kind)
    if not isinstance(wanted, Sequence) or not all(_is_index(one) for one in wanted) or not wanted:
        raise _no_devices(devices, kind)
    indices = list(wanted)
    for index in indices:
        if index >= count:
            raise MisconfigurationException(
                f"`devices={devices!r}`: there is no {kind} {index}; {_present(count, kind)}."
            )
    if len(set(indices)) < len(indices):
        raise MisconfigurationException(f"`devices={devices!r}`: name each {kind} once.")
    return indices


def _from_text(text: str, kind: str) -> int | list[int]:
    try:
        if "," in text:
            return [int(part) for part in text.split(",") if part.strip()]
        return int(text)
    except ValueError:
        raise _no_devices(text, kind) from None


def _first(number: int, devices: Any, count: int, kind: str) -> list[int]:
    if number == -1:
        number = count
    if number < 0:
        raise _no_devices(devices, kind)
    if number > count or number == 0:
        raise MisconfigurationException(f"`devices={devices!r}`: {_present(count, kind)}.")
    return list(range(number))


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _present(count: int, kind: str) -> str:
    if count == 0:
        return f"this machine has no {kind}. Pass accelerator='cpu'"
    if count == 1:
        return f"this machine has 1 {kind}. Pass 1 or 'auto'"
    choices = "1 or 2" if count == 2 else f"a number from 1 to {count}"
    return f"this machine has {count} {kind}s. Pass {choices}, indices, or 'auto'"


def _no_devices(devices: Any, kind: str) -> TypeError:
    return TypeError(
        f"`devices={devices!r}`: pass a number of {kind}s, -1 for all, indices such as [0, 2] or "
        "'0,2', or 'auto'."
    )
