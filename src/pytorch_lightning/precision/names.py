"""The names of precisions, today's and older ones."""

from __future__ import annotations

from pytorch_lightning.utilities.suggest import did_you_mean

PRECISIONS = (
    "32-true",
    "64-true",
    "16-mixed",
    "bf16-mixed",
    "16-true",
    "bf16-true",
    "transformer-engine",
    "transformer-engine-float16",
)
_OLDER_SPELLINGS = {
    "64": "64-true",
    "32": "32-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    "mixed": "16-mixed",
}


def canonical_precision(precision: str | int | None) -> str:
    """The present spelling of a precision."""
    if precision is None:
        return "32-true"
    text = precision if isinstance(precision, str) else str(precision)
    name = _OLDER_SPELLINGS.get(text, text)
    if name in PRECISIONS and not isinstance(precision, bool | float):
        return name
    known = ", ".join(repr(one) for one in PRECISIONS)
    raise ValueError(
        f"`precision={precision!r}` is unknown. Pass one of {known}."
        + did_you_mean(text.lower(), [*PRECISIONS, "bf16"])
    )
