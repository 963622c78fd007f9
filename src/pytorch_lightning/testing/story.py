"""What can be seen of a run, written down in its order."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import HOOKS, is_overridden_hook
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.testing.attributes import Owner, attributes, own_generators
from pytorch_lightning.testing.digests import Texts, texts_of
from pytorch_lightning.utilities.seed import capture_rng

if TYPE_CHECKING:
    import pytorch_lightning as pl

ATTRIBUTES = "attributes of"
_ASIDE = {
    *("setup", "teardown", "on_fit_start", "on_train_start", "on_exception"),
    *("on_sanity_check_start", "on_sanity_check_end"),
    *("state_dict", "load_state_dict", "on_save_checkpoint", "on_load_checkpoint"),
}
_HEARD = [
    name
    for name, hook in HOOKS.items()
    if hook.callback and name not in _ASIDE and callable(getattr(Callback, name, None))
]


class Seen(NamedTuple):
    """One thing that was seen.

    Attributes:
        place: "batch 2 of epoch 0"
        what: "loss", "weights", "hook on_train_epoch_end".
        texts: Its leaves.
    """

    place: str
    what: str
    texts: Texts


class Moment(NamedTuple):
    """A file, and how much of the story comes before it."""

    path: str
    place: str
    seen: int


class Story:
    """All that was seen of a run, as plain data.

    Attributes:
        held: Plain attributes at the first hook after a file was written (by its number), or
            after a resume.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.moments: list[Moment] = []
        self.held: dict[int, dict[Owner, Texts]] = {}
        self.own_generators: list[str] = []
        self.warnings: list[str] = []


class Rows(Logger):
    """Writes what loggers are told into a story."""

    name = "rows"
    version = 0

    def __init__(self, story: Story) -> None:
        super().__init__()
        self._story = story

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._story.seen.append(Seen(f"step {step}", "logged values", texts_of(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The same in every run, and only at its beginning."""


class Watcher(Callback):
    """Writes hooks, batches, losses, weights, learning rates and generators into a story.

    Args:
        folder: Where to save after every batch and epoch; None saves nothing.
        every: Save after each so many batches alone.
    """

    def __init__(self, story: Story, folder: Path | None = None, every: int = 1) -> None:
        self._story = story
        self._folder = folder
        self._every = every
        self._batches = 0
        self._looks: int | None = None  # write down the attributes at the next hook

    def on_train_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._story.own_generators = own_generators(trainer)
        self._looks = -1

    def heard(self, hook: str, trainer: "pl.Trainer", *args: Any) -> None:
        """A hook was called."""
        if trainer.sanity_checking:
            return
        if self._looks is not None:
            self._story.held[self._looks], self._looks = attributes(trainer), None
        place = _place(trainer, hook, args)
        self._see(place, f"hook {hook}", {})
        if hook.endswith("_batch_start"):
            what = "training batch" if hook == "on_train_batch_start" else "batch"
            self._see(place, what, texts_of(args[0]))
        elif hook.endswith("_batch_end"):
            outputs = args[0]
            if isinstance(outputs, dict) and list(outputs) == ["loss"]:
                outputs = outputs["loss"]
            self._see(
                place, "loss" if isinstance(outputs, Tensor) else "outputs", texts_of(outputs)
            )
        if hook == "on_train_batch_end":
            self._after_batch(trainer, place)
        elif hook == "on_train_epoch_end":
            self._see(place, "metrics", texts_of(dict(sorted(trainer.callback_metrics.items()))))
            if self._folder is not None:
                trainer.request_checkpoint(partial(self._save, trainer, place))

    def _see(self, place: str, what: str, texts: Texts) -> None:
        self._story.seen.append(Seen(place, what, texts))

    def _after_batch(self, trainer: "pl.Trainer", place: str) -> None:
        module = trainer.lightning_module
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self._see(place, "learning rates", texts_of([group.get("lr") for group in groups]))
        self._see(place, "weights", dict(_weights(module)))
        self._see(place, "parameters that are trained", _trained(module))
        self._see(place, "random numbers", texts_of(capture_rng()))
        self._batches += 1
        if self._folder is not None and (self._batches - 1) % self._every == 0:
            trainer.request_checkpoint(partial(self._save, trainer, place))

    def _save(self, trainer: "pl.Trainer", place: str) -> None:
        assert self._folder is not None
        number = len(self._story.moments)
        path = str(self._folder / f"{number}.ckpt")
        self._story.moments.append(Moment(path, place, len(self._story.seen)))
        trainer.save_checkpoint(path)
        self._looks = number

    def finish(self, trainer: "pl.Trainer") -> None:
        """The end of a run: everything that it has come to."""
        module, place = trainer.lightning_module, "the end"
        assert module is not None
        optimizers = [o.state_dict() for o in trainer.optimizers]
        schedulers = [c.scheduler.state_dict() for c in trainer.lr_scheduler_configs]
        self._see(place, "weights", dict(_weights(module)))
        self._see(place, "parameters that are trained", _trained(module))
        self._see(
            place, "train/eval flags", {n: str(m.training) for n, m in module.named_modules()}
        )
        for number, state in enumerate(optimizers):
            for key, of_parameter in state["state"].items():
                self._see(place, f"state of optimizer {number}", texts_of(of_parameter, str(key)))
            self._see(place, f"groups of optimizer {number}", texts_of(state["param_groups"]))
        self._see(place, "learning rate schedulers", texts_of(schedulers))
        for callback in trainer.callbacks:
            if callback is not self and _state_is_compared(callback):
                name = f"state of {type(callback).__name__}"
                self._see(place, name, texts_of(callback.state_dict()))
        for name in ("callback_metrics", "logged_metrics"):
            self._see(place, name, texts_of(dict(sorted(getattr(trainer, name).items()))))
        counters = {"current_epoch": trainer.current_epoch, "global_step": trainer.global_step}
        self._see(place, "counters", texts_of(counters))
        self._see(place, "random numbers", texts_of(capture_rng()))
        for owner, texts in attributes(trainer).items():
            self._see(place, f"{ATTRIBUTES} the {owner.kind} {owner.name}", texts)


def _hook(name: str) -> Any:
    def listen(self: Watcher, trainer: "pl.Trainer", module: Any, *args: Any) -> None:
        self.heard(name, trainer, *args)

    return listen


for _name in _HEARD:
    setattr(Watcher, _name, _hook(_name))


def _place(trainer: "pl.Trainer", hook: str, args: tuple[Any, ...]) -> str:
    epoch = f"epoch {trainer.current_epoch}"
    if hook.startswith("on_train_batch"):
        return f"batch {args[-1]} of {epoch}"
    if hook.startswith("on_validation_batch"):
        number, loader = args[-2:]
        return f"validation batch {number} of loader {loader} in {epoch}"
    return epoch


def _weights(module: Any) -> Iterator[tuple[str, str]]:
    for name, value in module.state_dict().items():
        yield from texts_of(value, name).items()


def _trained(module: Any) -> Texts:
    return {name: str(p.requires_grad) for name, p in module.named_parameters()}


def _state_is_compared(callback: Callback) -> bool:
    """Whether a callback has a state in which there are no paths."""
    return is_overridden_hook(callback, "state_dict") and not hasattr(callback, "best_model_path")
