"""The parts of one run, side by side; no behaviour."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.loops.dispatch import Hooks
from pytorch_lightning.loops.limits import Limits
from pytorch_lightning.loops.publish import Publisher
from pytorch_lightning.loops.recording import RunSession
from pytorch_lightning.loops.state import State
from pytorch_lightning.strategies.strategy import Strategy
from pytorch_lightning.utilities.enums import RunningStage
from pytorch_lightning.utilities.exceptions import Rollback
from pytorch_lightning.utilities.types import LRSchedulerConfig

if TYPE_CHECKING:
    from pytorch_lightning.loops.agreement import Agreement
    from pytorch_lightning.loops.evaluate import Evaluation
    from pytorch_lightning.loops.peers import Peers
    from pytorch_lightning.loops.predict import Prediction
    from pytorch_lightning.loops.rewind import BatchStart
    from pytorch_lightning.loops.sources import TrainData

Batch = Any
Output = Any


class Guard(Protocol):
    """Judges each loss and stands around each optimizer step, which it may leave out."""

    withheld: bool
    """Whether the last step was left out."""

    def see_loss(self, loss: Tensor, optimizer: Any) -> None:
        """Look at a loss before backward; the optimizer is None where the module steps itself."""

    def step(
        self,
        optimizer: Any,
        proceed: Callable[..., Any],
        closure: Callable[[], Any] | None = None,
        **options: Any,
    ) -> Any:
        """Compute the gradients, and step with `proceed(closure, **options)` or do not."""


@dataclass
class Run:
    """Everything that one call of fit, validate, test or predict works with.

    Attributes:
        optimize: Forward, backward and step for one batch, bound when the run is built.
        transfer: A batch to the device, likewise.
        order_seed: Of the orders that are dealt to ranks; None for one process.
        advanced: Per optimizer, whether it really stepped on the batch that just ran.
        avoided: Epoch and index of batches that are not trained on, as they did harm before.
    """

    module: LightningModule
    strategy: Strategy
    state: State
    limits: Limits
    hooks: Hooks
    session: RunSession
    publish: Publisher
    datamodule: Any = None
    train: "TrainData | None" = None
    evaluation: "dict[str, Evaluation]" = field(default_factory=dict)
    prediction: "Prediction | None" = None
    order_seed: int | None = None
    raw_optimizers: list[Any] = field(default_factory=list)
    optimizers: list[LightningOptimizer] = field(default_factory=list)
    schedulers: list[LRSchedulerConfig] = field(default_factory=list)
    frequencies: list[int] = field(default_factory=list)
    advanced: list[bool] = field(default_factory=list)
    optimize: Callable[[Batch, int], Output] = lambda batch, batch_idx: None
    finish_window: Callable[[], None] = lambda: None
    transfer: Callable[[Batch, int], Batch] = lambda batch, loader: batch
    profile: Callable[[str, Callable[..., Any]], Callable[..., Any]] | None = None
    agreement: "Agreement | None" = None  # of several ranks
    peers: "Peers | None" = None  # where ranks may have different numbers of batches
    strategy_starts: Callable[[Batch, int], None] | None = None  # its `on_train_batch_start`
    idle: Callable[[], None] = lambda: None  # take part in a step for which only others have data
    leave_out: Callable[[], None] | None = None  # take part where this rank's batch is None
    guard: Guard | None = None
    avoided: "set[tuple[int, int]]" = field(default_factory=set)
    go_back: "Callable[[Rollback], None] | None" = None  # to a checkpoint, inside of a fit
    watches_steps: bool = False  # a scheduler of steps is given a metric
    failed: bool = False  # an error came up: the other ranks may be gone
    resumed: bool = False  # from a checkpoint
    enter_stage: Callable[[RunningStage], None] = lambda stage: None
    in_batch: bool = False  # between the start of a batch and its optimizer step
    before_batch: "BatchStart | None" = None
    teardowns: list[Callable[[str], Any]] | None = None  # once the end began: not called yet
    rewinds: bool = False  # keep the above: somebody may save inside a batch
    configured_groups: list[Any] | None = None  # names by group, as the module configured them
    run_id: str = field(default_factory=lambda: os.urandom(8).hex())  # kept by who goes on with it
    goes_on: bool = False  # from where a run that ended had come to, rather than from an old file
    start_is_chosen: bool = False  # by us, so that the file it starts from is kept like any other
    before_end: Callable[[], None] = lambda: None  # a signal ends the run here, on all ranks
    leaves_together: bool = False  # and so it did
    pace: int = 1  # after so many batches of an evaluation ranks ask each other for signals
