"""What every rank of a simulation did."""

from __future__ import annotations

from signal import Signals
from typing import Any, NamedTuple

from torch import Tensor

from pytorch_lightning.testing.script import Fault

_STACK_LINES = 12


class TrainedBatch(NamedTuple):
    """A batch that a rank has trained on.

    Attributes:
        step: The optimizer steps that were done after it.
        digest: Of its content; equal batches have equal digests.
        loss: As `on_train_batch_end` gets it, if it was one number.
    """

    epoch: int
    batch: int
    step: int
    digest: str
    loss: float | None


class RankReport(NamedTuple):
    """What one rank did in one start of the group.

    Attributes:
        exit_code: Negative for a signal, as `subprocess` has it; None if the time limit was over.
        error: What its program ended with, as 'ValueError: text'.
        cause: Which rank failed before it and how, as far as it heard of that.
        trained: The batches, in order.
        started_at: The optimizer steps that were done when training began; None if it did not.
        steps: Those that were done at the end, as far as it told.
        metrics: `trainer.callback_metrics` at the end.
        weights: A digest of the module's state at the end, or of the part of it that this rank
            has; equal where every bit is.
        state_dict: That state itself, with `keep_weights=True`.
        faults: Those of the script that happened here.
        seconds: From the first fault of the group to the end of this process.
        output: What it printed, errors and warnings included.
        stack: Where it stood when the time limit was over.
    """

    rank: int
    attempt: int
    exit_code: int | None
    error: str | None
    cause: str | None
    trained: tuple[TrainedBatch, ...]
    started_at: int | None
    steps: int
    metrics: dict[str, float]
    weights: str | None
    state_dict: dict[str, Tensor] | None
    faults: tuple[Fault, ...]
    seconds: float | None
    output: str
    stack: str

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended it, such as 'SIGKILL'."""
        code = self.exit_code
        return Signals(-code).name if code is not None and code < 0 else None

    @property
    def hung(self) -> bool:
        """Whether it was still there when the time limit was over."""
        return self.exit_code is None

    @property
    def losses(self) -> list[float | None]:
        """The loss of each batch."""
        return [one.loss for one in self.trained]

    @property
    def batches(self) -> list[str]:
        """The digest of each batch."""
        return [one.digest for one in self.trained]


class Simulation(NamedTuple):
    """What came of a script; `print` shows it as a table.

    Attributes:
        attempts: The reports by rank, for each start of the group.
        missed: Faults that never came to pass.
    """

    attempts: tuple[tuple[RankReport, ...], ...]
    missed: tuple[Fault, ...] = ()

    @property
    def ranks(self) -> tuple[RankReport, ...]:
        """The reports of the last start of the group."""
        return self.attempts[-1]

    @property
    def survived(self) -> bool:
        """Whether all ranks came to their end, in the last start."""
        return all(report.exit_code == 0 for report in self.ranks)

    @property
    def weights(self) -> str | None:
        """A digest of what all ranks have at the end, of one module or of its parts."""
        told = [report.weights for report in self.ranks]
        known = [digest for digest in told if digest is not None]
        if len(known) < len(told):
            return None
        return known[0] if len(set(known)) == 1 else "-".join(known)

    def ended_within(self, seconds: float) -> bool:
        """Whether in each start all ranks ended so soon after the first fault."""
        reports = [report for attempt in self.attempts for report in attempt]
        return not any(r.hung or (r.seconds or 0.0) > seconds for r in reports)

    def __str__(self) -> str:
        rows = [("attempt", "rank", "end", "from", "to step", "seconds", "faults", "error")]
        reports = [report for attempt in self.attempts for report in attempt]
        rows += [_row(report) for report in reports]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines += [f"never happened: {fault}" for fault in self.missed]
        for report in reports:
            if report.hung:
                lines.append(f"rank {report.rank} stood here when the time was over:")
                lines += _frames_of_main(report.stack)
        return "\n".join(lines)


def _row(report: RankReport) -> tuple[Any, ...]:
    end = "hung" if report.hung else report.signal or f"exit {report.exit_code}"
    error = (report.cause or report.error or "").splitlines()
    return (
        str(report.attempt),
        str(report.rank),
        end,
        "-" if report.started_at is None else str(report.started_at),
        str(report.steps),
        "-" if report.seconds is None else f"{report.seconds:.1f}",
        ", ".join(map(str, report.faults)) or "-",
        error[0][:80] if error else "-",
    )


def _frames_of_main(stack: str) -> list[str]:
    """The innermost frames of the main thread, which Python shows last."""
    frames = stack.rpartition("(most recent call first):")[2].splitlines()[1:]
    own = [i for i, line in enumerate(frames) if line.endswith(" in play")]
    return frames[: min([_STACK_LINES, *own])] or ["  (it was stopped as a whole)"]
