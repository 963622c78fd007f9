"""Which checkpoints to keep and which to delete, as values without a file system."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

Mode = Literal["min", "max"]


class Candidate(NamedTuple):
    """A checkpoint that is on disk, or is about to be.

    Args:
        score: The monitored value; None when nothing is monitored.
        step: The optimizer step that it holds; -1 when that is not known.
    """

    path: str
    score: float | None = None
    step: int = -1


class Kept(NamedTuple):
    """What one policy has on disk: the ranked files, oldest first, and the newest state."""

    ranked: tuple[Candidate, ...] = ()
    last: Candidate | None = None

    @property
    def scores(self) -> dict[str, float | None]:
        """Path to score, oldest first."""
        return {entry.path: entry.score for entry in self.ranked}

    @property
    def paths(self) -> frozenset[str]:
        """Every path that must stay, the last one included."""
        ranked = {entry.path for entry in self.ranked}
        return frozenset(ranked | {self.last.path} if self.last else ranked)


def kept_from(best_k_models: Mapping[str, Any], last: str = "") -> Kept:
    """What a resumed run keeps, from the documented attributes.

    Args:
        best_k_models: Path to score, oldest first; tensors and numbers are both fine.
        last: The path of the newest state; empty when there is none.
    """
    ranked = tuple(
        Candidate(path, None if score is None else float(score))
        for path, score in best_k_models.items()
    )
    return Kept(ranked, Candidate(last) if last else None)


def ranks(kept: Kept, candidate: Candidate, *, best: int, mode: Mode = "min") -> bool:
    """Whether a checkpoint belongs among the best, so that it is worth writing."""
    ranked, _ = _rank(kept, candidate, best, mode)
    return any(entry is candidate for entry in ranked)


def retain(
    kept: Kept, candidate: Candidate, *, best: int, mode: Mode = "min"
) -> tuple[Kept, list[str]]:
    """Add a checkpoint and say which files to delete.

    NaN is the worst score, and of equal scores the older file stays. Without scores the most
    recent files stay.

    Args:
        best: How many to keep; -1 keeps all, 0 none.

    Returns:
        What is kept now, and the paths that fell out, worst first; the candidate's own is among
        them when it does not rank.
    """
    ranked, fallen = _rank(kept, candidate, best, mode)
    now = kept._replace(ranked=ranked)
    return now, [entry.path for entry in fallen if entry.path not in now.paths]


def retain_last(kept: Kept, candidate: Candidate) -> tuple[Kept, list[str]]:
    """Make a checkpoint the last one and say which file to delete, if any."""
    now = kept._replace(last=candidate)
    replaced = kept.last
    if replaced is None or replaced.path in now.paths:
        return now, []
    return now, [replaced.path]


def best_of(kept: Kept, mode: Mode = "min") -> Candidate | None:
    """The best ranked checkpoint; the most recent one where nothing is monitored."""
    if not kept.ranked:
        return None
    if any(entry.score is None for entry in kept.ranked):
        return kept.ranked[-1]
    return min(kept.ranked, key=lambda entry: _badness(entry, mode))


def worst_of(kept: Kept, mode: Mode = "min") -> Candidate | None:
    """The ranked checkpoint that falls out next."""
    return _worst(kept.ranked, mode) if kept.ranked else None


def deletable(paths: Iterable[str], *, folder: str, resumed_from: str | None = None) -> list[str]:
    """The paths that a policy may delete: inside its folder, and not what the run started from.

    Remote files (with a `scheme://`) may always be deleted.
    """
    return [path for path in paths if _may_delete(path, folder, resumed_from)]


def _may_delete(path: str, folder: str, resumed_from: str | None) -> bool:
    if "://" in path:
        return path != resumed_from
    real = os.path.realpath(path)
    if resumed_from is not None and real == os.path.realpath(resumed_from):
        return False
    home = os.path.realpath(folder)
    return real.startswith(home.rstrip(os.sep) + os.sep)


def _rank(
    kept: Kept, candidate: Candidate, best: int, mode: Mode
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Split what is there and the candidate into what stays and what falls out."""
    if best < -1:
        raise ValueError(f"`save_top_k={best}`: pass -1 (all), 0 (none) or how many to keep.")
    # A file of the same name is overwritten, so its old score is gone.
    ranked = (*(entry for entry in kept.ranked if entry.path != candidate.path), candidate)
    fallen: tuple[Candidate, ...] = ()
    while best != -1 and len(ranked) > best:
        worst = _worst(ranked, mode)
        ranked = tuple(entry for entry in ranked if entry is not worst)
        fallen = (*fallen, worst)
    return ranked, fallen


def _worst(ranked: tuple[Candidate, ...], mode: Mode) -> Candidate:
    if any(entry.score is None for entry in ranked):
        return ranked[0]
    # `max` answers with the first of equals: reversed, that is the youngest.
    return max(reversed(ranked), key=lambda entry: _badness(entry, mode))


def _badness(entry: Candidate, mode: Mode) -> float:
    score = 0.0 if entry.score is None else entry.score
    if math.isnan(score):
        return math.inf
    return score if mode == "min" else -score
