"""The loops that are compared: one written by hand, and those of trainers."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import thread_time_ns
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from loads import Batch, Clocked, batch_loss, make_net, make_optimizer

_WARMUP = 50
NAMES = [f"metric_{index}" for index in range(20)]


@dataclass(frozen=True)
class Load:
    """One thing to do, as every subject understands it.

    Args:
        verb: "train", "validate" or "predict".
        kind: The model: "linear" or "autoencoder".
        logs: How many values each step logs, and whether for the epoch as well.
        defaults: With all that a trainer does unasked: logger, bar, summary, checkpoints.
        listeners: How many callbacks with two empty hooks.
        idle: How many callbacks that override no hook.
    """

    verb: str = "train"
    kind: str = "linear"
    logs: int = 0
    on_epoch: bool = False
    logger: bool = False
    defaults: bool = False
    listeners: int = 0
    idle: int = 0


class Subject(Protocol):
    """Something that can do a load."""

    def supports(self, load: Load) -> bool:
        """Can it do this?"""

    def run(self, load: Load, batches: Iterable[Batch], epochs: int) -> None:
        """Do it."""


class Plain(nn.Module):
    """The model for loops that need no more than a module."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net = make_net(kind)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        return batch_loss(self.net, batch)


class ByHand:
    """The loop that one writes without a trainer; it never logs."""

    def supports(self, load: Load) -> bool:
        return load == Load(load.verb, load.kind)

    def run(self, load: Load, batches: Iterable[Batch], epochs: int) -> None:
        model = Plain(load.kind)
        getattr(self, load.verb)(model, make_optimizer(load.kind, model), batches, epochs)

    @staticmethod
    def train(model: Plain, optimizer: Any, batches: Iterable[Batch], epochs: int) -> None:
        """Train."""
        model.train()
        for _ in range(epochs):
            for batch in batches:
                loss = model.loss(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    @staticmethod
    def validate(model: Plain, optimizer: Any, batches: Iterable[Batch], epochs: int) -> None:
        """Compute the loss of every batch."""
        model.eval()
        with torch.inference_mode():
            for batch in batches:
                model.loss(batch)

    @staticmethod
    def predict(model: Plain, optimizer: Any, batches: Iterable[Batch], epochs: int) -> None:
        """Keep the output for every batch."""
        model.eval()
        outputs = []
        with torch.inference_mode():
            for x, _ in batches:
                outputs.append(model(x))


class Lightning:
    """The Trainer of whatever `pytorch_lightning` this interpreter has."""

    def __init__(self) -> None:
        import pytorch_lightning

        self._pl = pytorch_lightning
        self._module_class = _lightning_module(pytorch_lightning)

    def supports(self, load: Load) -> bool:
        return True

    def run(self, load: Load, batches: Iterable[Batch], epochs: int) -> None:
        module = self._module_class(load)
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._trainer(load, folder, epochs)
            if load.verb == "train":
                trainer.fit(module, batches)
            elif load.verb == "validate":
                trainer.validate(module, batches, verbose=False)
            else:
                trainer.predict(module, batches)

    def _trainer(self, load: Load, folder: str, epochs: int) -> Any:
        options: dict[str, Any] = {
            "max_epochs": epochs,
            "accelerator": "cpu",
            "default_root_dir": folder,
        }
        if not load.defaults:
            options |= dict.fromkeys(
                ("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
            )
            options["logger"] = load.logger
        callbacks = [self._listener() for _ in range(load.listeners)]
        callbacks += [self._idler() for _ in range(load.idle)]
        return self._pl.Trainer(callbacks=callbacks, **options)

    def _listener(self) -> Any:
        class Listener(self._pl.Callback):  # type: ignore[misc, name-defined]
            def on_train_batch_start(self, *args: Any) -> None:
                pass

            def on_train_batch_end(self, *args: Any) -> None:
                pass

        return Listener()

    def _idler(self) -> Any:
        class Idler(self._pl.Callback):  # type: ignore[misc, name-defined]
            pass

        return Idler()


def _lightning_module(pl: Any) -> Callable[[Load], Any]:
    class Module(pl.LightningModule):  # type: ignore[misc]
        """The same model, with a method for every verb."""

        def __init__(self, load: Load) -> None:
            super().__init__()
            self.net = make_net(load.kind)
            self.kind = load.kind
            self.names = NAMES[: load.logs]
            self.on_epoch = load.on_epoch

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            loss = batch_loss(self.net, batch)
            for name in self.names:
                self.log(name, loss, on_step=True, on_epoch=self.on_epoch)
            return loss

        def validation_step(self, batch: Batch, batch_idx: int) -> None:
            batch_loss(self.net, batch)

        def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return self(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self.kind, self.net)

    return Module


class Accelerate:
    """The loop of the documentation of accelerate."""

    def __init__(self) -> None:
        import accelerate

        self._accelerator = accelerate.Accelerator(cpu=True)

    def supports(self, load: Load) -> bool:
        return load == Load(load.verb, load.kind)

    def run(self, load: Load, batches: Iterable[Batch], epochs: int) -> None:
        accelerator = self._accelerator
        model = Plain(load.kind)
        model, optimizer = accelerator.prepare(model, make_optimizer(load.kind, model))
        if load.verb != "train":
            _evaluate_with(accelerator, load, model, batches)
            return
        model.train()
        for _ in range(epochs):
            for batch in batches:
                with accelerator.accumulate(model):
                    loss = model.loss(batch)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()


def _evaluate_with(accelerator: Any, load: Load, model: Plain, batches: Iterable[Batch]) -> None:
    model.eval()
    outputs = []
    with torch.inference_mode():
        for batch in batches:
            if load.verb == "validate":
                accelerator.gather_for_metrics(model.loss(batch))
            else:
                outputs.append(accelerator.gather_for_metrics(model(batch[0])))


class Ignite:
    """An Engine of ignite around the same steps."""

    def __init__(self) -> None:
        from ignite import engine

        self._engine = engine

    def supports(self, load: Load) -> bool:
        return not (load.logs or load.defaults or load.logger or load.idle)

    def run(self, load: Load, batches: Iterable[Batch], epochs: int) -> None:
        model = Plain(load.kind)
        optimizer = make_optimizer(load.kind, model)
        outputs: list[Tensor] = []

        def train(_: Any, batch: Batch) -> Tensor:
            model.train()
            optimizer.zero_grad()
            loss = model.loss(batch)
            loss.backward()
            optimizer.step()
            return loss

        @torch.inference_mode()
        def validate(_: Any, batch: Batch) -> Tensor:
            return model.loss(batch)

        @torch.inference_mode()
        def predict(_: Any, batch: Batch) -> None:
            outputs.append(model(batch[0]))

        steps = {"train": train, "validate": validate, "predict": predict}
        if load.verb != "train":
            model.eval()
        engine = self._engine.Engine(steps[load.verb])
        for _ in range(load.listeners):
            engine.add_event_handler(self._engine.Events.ITERATION_STARTED, lambda: None)
            engine.add_event_handler(self._engine.Events.ITERATION_COMPLETED, lambda: None)
        engine.run(batches, max_epochs=epochs)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "by hand": ByHand,
    "pytorch_lightning": Lightning,
    "accelerate": Accelerate,
    "ignite": Ignite,
}


def microseconds_per_batch(subject: Subject, load: Load, count: int) -> float:
    """Run a load once; say what each of `count` batches cost, after some that warm up."""
    batches = Clocked(load.kind, count + _WARMUP + 1, warmup=_WARMUP)
    subject.run(load, batches, epochs=1)
    return batches.microseconds


def microseconds_of_add(count: int = 5_000) -> float:
    """What one `total.add_(value)` costs."""
    total, value = torch.zeros(()), torch.ones(())
    add = total.add_
    began = thread_time_ns()
    for _ in range(count):
        add(value)
    return (thread_time_ns() - began) / 1e3 / count
