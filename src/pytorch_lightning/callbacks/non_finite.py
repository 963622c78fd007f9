"""NaN and infinity in losses, gradients and weights: raise, skip the step, or go back."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor
from torch.optim import Optimizer

from pytorch_lightning.callbacks.bad_numbers import FirstBad, finite_gradients, has_bad_weights
from pytorch_lightning.callbacks.withholding import Withholding
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.exceptions import (
    MisconfigurationException,
    NonFiniteError,
    Rollback,
)
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.suggest import did_you_mean

if TYPE_CHECKING:
    import pytorch_lightning as pl

_POLICIES = ("raise", "skip", "rollback")
_MOST_ROLLBACKS = 3
_MOST_BATCHES, _MOST_IDS = 1000, 64


class Place(NamedTuple):
    """A training batch that has run."""

    epoch: int
    batch: int
    step: int
    sample_ids: list[Any] | None

    def __str__(self) -> str:
        where = f"in batch {self.batch} of epoch {self.epoch} (global step {self.step})"
        if self.sample_ids is None:
            return where
        more = ", ..." if len(self.sample_ids) > _MOST_IDS else ""
        return f"{where}, samples {str(self.sample_ids[:_MOST_IDS])[:-1]}{more}]"


class Finding(NamedTuple):
    """The first bad number of one process since it was last looked at."""

    rank: int
    what: str
    number: int
    place: Place
    window: int
    """Batches, this one the last, of which any may have done it."""


class NonFinite(Callback):
    """Acts on a loss, a norm of gradients or a weight that is NaN or infinite.

    `raise` and `rollback` keep the first bad batch on the device and look at it every
    `log_every_n_steps`, when an epoch ends and before anything is saved: no step waits for the
    device, and no checkpoint holds bad weights. `skip` leaves out the optimizer step, on all ranks,
    as if that batch had never been; fused optimizers of torch do so without a wait as well.

    Args:
        policy: 'raise' ends the run and names the batch; 'skip' leaves out its step; 'rollback'
            goes on from the run's last checkpoint, without the batch, three times at most.
        check_every_n_steps: Look after so many batches; by default `log_every_n_steps`.

    Attributes:
        rollbacks: How often the run went back.
        avoided: Epoch and index of batches that are not trained on since.

    Example:
        >>> careful = NonFinite(policy="skip")
    """

    meets_idle_ranks = True

    def __init__(
        self,
        policy: Literal["raise", "skip", "rollback"] = "raise",
        *,
        check_every_n_steps: int | None = None,
    ) -> None:
        if policy not in _POLICIES:
            raise MisconfigurationException(
                f"`NonFinite(policy={policy!r})`: pass 'raise', 'skip' or 'rollback'."
                + did_you_mean(str(policy), _POLICIES)
            )
        if check_every_n_steps is not None and check_every_n_steps < 1:
            raise MisconfigurationException(
                f"`NonFinite(check_every_n_steps={check_every_n_steps})`: pass 1 or more, or None."
            )
        self.policy = policy
        self.check_every_n_steps = check_every_n_steps
        self.rollbacks = 0
        self.avoided: set[tuple[int, int]] = set()
        self._told: list[str] = []
        self._skipped = 0
        self._first: FirstBad | None = None  # while a fit goes on
        self._guard: Withholding | None = None
        self._recent: dict[int, Place] = {}
        self._every = 1
        self._scaled = self._alone = self._over = False

    @property
    def skipped(self) -> int:
        """How many optimizer steps were left out; the host waits for the device."""
        return self._skipped + (0 if self._guard is None else self._guard.count)

    # --- looking at what comes by -----------------------------------------------------------------

    def on_fit_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        run, strategy = trainer._run, trainer.strategy
        assert run is not None
        if self.policy == "skip" and strategy.handles_gradient_accumulation:
            raise MisconfigurationException(
                f"`NonFinite(policy='skip')`: {type(strategy).__name__} steps by itself. Pass "
                "policy='raise' or 'rollback'."
            )
        self._first = FirstBad(strategy.root_device)
        # the overflow of scaled gradients is no bad number, and the scaler's business
        self._scaled = trainer.scaler is not None
        asked = self.check_every_n_steps or trainer.log_every_n_steps or 50
        self._every = min(asked, _MOST_BATCHES)
        self._alone, self._over = trainer.world_size == 1, False
        self._recent.clear()
        run.avoided = self.avoided
        if self.policy == "skip":

            def agree(verdict: Tensor) -> None:
                if trainer.world_size > 1:
                    strategy.reduce(verdict, reduce_op="max")
                assert self._first is not None
                self._first.see_gradients(verdict < 1, trainer._progress.batches_seen)

            run.guard = self._guard = Withholding(
                strategy.root_device,
                strategy.precision_plugin,
                agree,
                in_kernels=not self._scaled,
            )

    def on_before_backward(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", loss: Tensor
    ) -> None:
        if self._guard is None and self._first is not None:
            self._first.see_loss(loss, trainer._progress.batches_seen)

    def on_before_optimizer_step(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", optimizer: Optimizer
    ) -> None:
        if self._scaled or self._first is None:
            return
        finite = finite_gradients(optimizer, self._first.device)
        if finite is None:
            return
        if self._guard is not None:
            self._guard.see(finite, id(optimizer))
        else:
            self._first.see_gradients(finite, trainer._progress.batches_seen)

    def on_train_batch_end(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        number = trainer._progress.batches_seen - 1
        ids = None if batch is None else _sample_ids(trainer)
        self._recent[number] = Place(trainer.current_epoch, batch_idx, trainer.global_step, ids)
        if len(self._recent) >= self._every:
            self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._look(trainer, pl_module, weights=True)

    def check_before_save(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Refuse to have bad weights saved; called before each checkpoint."""
        if self._first is not None and not trainer.sanity_checking:
            self._look(trainer, pl_module, weights=True)

    # --- reading it, and what follows -------------------------------------------------------------

    def _look(
        self, trainer: "pl.Trainer", module: "pl.LightningModule", *, weights: bool = False
    ) -> None:
        """Read what was kept, agree with the other ranks, and act; the host waits here."""
        mine = self._find(trainer, module, weights=weights)
        strategy = trainer.strategy
        if self._alone:
            found = [] if mine is None else [mine]
        elif strategy.reduce_boolean_decision(mine is not None, all=False):
            found = [finding for finding in strategy.gather_objects(mine) if finding is not None]
        else:
            found = []
        self._recent.clear()
        if found:
            self._act(trainer, found)

    def _find(
        self, trainer: "pl.Trainer", module: "pl.LightningModule", *, weights: bool
    ) -> Finding | None:
        assert self._first is not None
        loss, gradient = self._first.read()
        rank = trainer.global_rank
        if self._guard is not None:
            weights = weights or gradient is not None  # else every step to come is left out, too
        if weights and has_bad_weights(module, self._first.device):
            number = trainer._progress.batches_seen - 1
            if loss is None and gradient is None or self._guard is not None:
                return Finding(rank, "weights", number, self._place(trainer, number), 1)
        if loss is not None and (gradient is None or loss <= gradient):
            return Finding(rank, "loss", loss, self._place(trainer, loss), 1)
        if gradient is None:
            return None
        place, what = self._place(trainer, gradient), "norm of the gradients"
        window = 1 + place.batch % trainer.accumulate_grad_batches
        if self._guard is not None:
            what = "loss or the norm of the gradients"
        return Finding(rank, what, gradient, place, window)

    def _place(self, trainer: "pl.Trainer", number: int) -> Place:
        """Where a batch was; the one that runs has not ended yet."""
        now = trainer._progress
        return self._recent.get(number) or Place(
            now.epoch, now.batch - (now.batches_seen - number), now.step, _sample_ids(trainer)
        )

    def _act(self, trainer: "pl.Trainer", found: list[Finding]) -> None:
        first = min(found, key=lambda finding: (finding.number, finding.what != "loss"))
        story = _story(first, several=trainer.world_size > 1)
        if self.policy == "skip" and first.what != "weights":
            rank_zero_warn(f"NonFinite: {story}. Steps that were left out so far: {self.skipped}.")
            return
        place = first.place
        if self.policy == "rollback" and not (self._over or self._failed(trainer)):
            if self.rollbacks < _MOST_ROLLBACKS:
                self.rollbacks += 1
                self._told.append(story)
                batches = tuple(range(place.batch - first.window + 1, place.batch + 1))
                self.avoided.update((place.epoch, batch) for batch in batches)
                raise Rollback(story, place.epoch, batches)
            story += ". The run went back three times before: " + "; ".join(self._told)
        raise NonFiniteError(
            f"NonFinite(policy={self.policy!r}): {story}. {_CURES[first.what]}",
            place.epoch,
            place.batch,
            place.sample_ids,
        )

    def _failed(self, trainer: "pl.Trainer") -> bool:
        run = trainer._run
        return run is None or run.failed

    # --- the ends ---------------------------------------------------------------------------------

    def on_train_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._over = True

    def on_exception(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        exception: BaseException,
    ) -> None:
        self._alone = True  # the others may be gone

    def teardown(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        self._skipped = self.skipped
        self._first = self._guard = None
        self._recent.clear()

    def state_dict(self) -> dict[str, Any]:
        skipped = self.skipped
        if not skipped and not self.rollbacks:
            return {}
        avoided = [list(place) for place in sorted(self.avoided)]
        return {
            "skipped": skipped,
            "rollbacks": self.rollbacks,
            "avoided": avoided,
            "told": list(self._told),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._guard is None:
            self._skipped = state_dict["skipped"]
        # what is known of later batches stays known when the run goes back
        self.avoided.update((epoch, batch) for epoch, batch in state_dict["avoided"])
        if state_dict["rollbacks"] > self.rollbacks:
            self.rollbacks, self._told = state_dict["rollbacks"], list(state_dict["told"])


_CURES = {
    "loss": "`Trainer(detect_anomaly=True)` names the operation that makes it.",
    "norm of the gradients": "`Trainer(detect_anomaly=True)` names the operation that makes it; "
    "`gradient_clip_val` keeps large gradients from growing.",
    "weights": "Look at the learning rate, and at what changes weights outside of optimizers.",
}


def _story(finding: Finding, *, several: bool) -> str:
    on_rank = f" on rank {finding.rank}" if several else ""
    if finding.what == "weights":
        where = f"The weights are not finite{on_rank} after batch {finding.place.batch} of epoch "
        return f"{where}{finding.place.epoch} (global step {finding.place.step})"
    return f"The {finding.what} was not finite{on_rank} {finding.place}"


def _sample_ids(trainer: "pl.Trainer") -> list[Any] | None:
    """Indices of the samples in the last batch, of each loader where there are several."""
    run = trainer._run
    source = None if run is None or run.train is None else run.train.source
    if source is None:
        return None
    sources = getattr(source, "sources", None)
    if sources is None:
        return source.sample_ids
    ids = [each.sample_ids for each in sources]
    return None if all(known is None for known in ids) else ids
