"""'Did you mean ...?' for names that almost exist."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The end of an error sentence, empty when nothing is near.

    >>> did_you_mean("max_epoch", ["max_epochs", "max_steps"])
    " Did you mean 'max_epochs'?"
    """
    near = nearest(name, known, cutoff=cutoff)
    return f" Did you mean {near!r}?" if near else ""


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is most like `name`, if any is."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None
