"""What to say when a monitored metric is not there."""

from collections.abc import Iterable

from pytorch_lightning.utilities.suggest import did_you_mean


def never_logged(who: str, monitor: str, known: Iterable[str]) -> str:
    """The sentence for a monitor that has no value though its turn has come.

    >>> never_logged("Timer", "los", ["loss"])
    "`Timer`: nothing of this name was logged, only 'loss'. Did you mean 'loss'?"
    """
    names = sorted(known)
    logged = f"only {', '.join(map(repr, names))}" if names else "and nothing else either"
    cure = did_you_mean(monitor, names) or f" Call `self.log({monitor!r}, value)` in the module."
    return f"`{who}`: nothing of this name was logged, {logged}.{cure}"
