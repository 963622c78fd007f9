"""What a step costs: frames above the user's code, calls into the package, waits of the host."""

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pytorch_lightning as pl
from pytorch_lightning.plugins import Precision
from pytorch_lightning.profilers import Profiler

STEPS = 50
BATCHES = [(torch.randn(4, 8), torch.randn(4, 2)) for _ in range(STEPS)]
PACKAGE = "pytorch_lightning"
MOST_FRAMES, MOST_CALLS, CALLS_PER_VALUE = 10, 60, 25
EXTRA_FRAMES, EXTRA_CALLS = 3, 15


def _is_ours(filename: str) -> bool:
    return f"/{PACKAGE}/" in filename


class Bare(pl.LightningModule):
    """The smallest module; it notes how deep it is called."""

    values = 0

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 2)
        self.frames = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == 3:
            self.frames = sum(_is_ours(f.filename) for f in traceback.extract_stack())
        loss = nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        for index in range(self.values):
            self.log(f"value_{index}", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class OwnOptimizerStep(Bare):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):  # type: ignore[no-untyped-def,override]
        optimizer.step(closure=optimizer_closure)


class OldSignature(Bare):
    def training_step(self, batch, batch_idx, optimizer_idx):  # type: ignore[no-untyped-def,override]
        return super().training_step(batch, batch_idx)

    def backward(self, loss, optimizer, optimizer_idx):  # type: ignore[no-untyped-def,override]
        loss.backward()


class Scaler(Precision):
    """Has the contract of a precision with a scaler, and changes nothing."""

    def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **kwargs: Any) -> Any:
        result = closure()
        self.unscale_gradients(optimizer)
        optimizer.step(**kwargs)
        return result

    def unscale_gradients(self, optimizer: Any) -> None:
        pass


class Clock(Profiler):
    def start(self, action_name: str) -> None:
        pass

    def stop(self, action_name: str) -> None:
        pass


class Counting(pl.Callback):
    """Counts Python calls into files of the package between two quiet steps."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        sys.setprofile(self._see)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        sys.setprofile(None)

    def _see(self, frame: Any, event: str, arg: object) -> None:
        if event == "call" and _is_ours(frame.f_code.co_filename):
            self.calls[frame.f_code.co_qualname if sys.version_info >= (3, 11) else "?"] += 1

    @property
    def per_step(self) -> float:
        return sum(self.calls.values()) / STEPS


def quiet(**kwargs: Any) -> pl.Trainer:
    options: dict[str, Any] = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**options, **kwargs})


def measured(module: Bare, **kwargs: Any) -> tuple[Bare, float]:
    counting = Counting()
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.1)
    try:
        quiet(callbacks=[counting], **kwargs).fit(module, BATCHES)
    finally:
        sys.setprofile(None)
    return module, counting.per_step


def test_a_bare_step_is_shallow_and_cheap() -> None:
    module, calls = measured(Bare())
    assert 0 < module.frames <= MOST_FRAMES
    assert 0 < calls <= MOST_CALLS


def test_a_logged_value_is_cheap() -> None:
    _, bare = measured(Bare())
    ten = Bare()
    ten.values = 10
    _, logging = measured(ten)
    assert 0 < (logging - bare) / 10 <= CALLS_PER_VALUE


VARIANTS: dict[str, tuple[Callable[[], Bare], dict[str, Any]]] = {
    "overridden optimizer_step": (OwnOptimizerStep, {}),
    "scaler": (Bare, {"plugins": Scaler()}),
    "profiler": (Bare, {"profiler": Clock()}),
    "signature of 1.x": (OldSignature, {}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_each_extra_costs_little_and_gives_the_same_bits(name: str) -> None:
    make, arguments = VARIANTS[name]
    bare, bare_calls = measured(Bare())
    extra, calls = measured(make(), **arguments)
    assert extra.frames <= bare.frames + EXTRA_FRAMES
    assert calls <= bare_calls + EXTRA_CALLS
    for ours, theirs in zip(bare.parameters(), extra.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@contextmanager
def noted_waits(waits: list[str]) -> Iterator[None]:
    """Note every method that makes the host wait, where a file of the package calls it."""
    names = ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy")
    before = {name: getattr(Tensor, name) for name in names}

    def watch(name: str) -> Any:
        original = before[name]

        def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            if _is_ours(sys._getframe(1).f_code.co_filename):
                waits.append(f"{name} in {sys._getframe(1).f_code.co_qualname}")
            return original(self, *args, **kwargs)

        return method

    for name in names:
        setattr(Tensor, name, watch(name))
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(Tensor, name, original)


def test_no_wait_on_a_step_where_nothing_is_due() -> None:
    waits: list[str] = []

    class Watched(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):  # type: ignore[no-untyped-def]
            if batch_idx == 2:
                self.context = noted_waits(waits)
                self.context.__enter__()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):  # type: ignore[no-untyped-def]
            if batch_idx == STEPS - 3:
                self.context.__exit__(None, None, None)

    class Logging(Bare):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            assert isinstance(loss, Tensor)
            self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
            return loss

    quiet(callbacks=[Watched()], log_every_n_steps=STEPS, accumulate_grad_batches=2).fit(
        Logging(), BATCHES
    )
    assert waits == []


def test_the_watch_sees_a_wait() -> None:
    waits: list[str] = []
    trainer = quiet()

    class Reading(Bare):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            assert isinstance(loss, Tensor)
            self.log("loss", loss, prog_bar=True)
            with noted_waits(waits):
                trainer.progress_bar_metrics  # noqa: B018 - the property reads the values
            return loss

    trainer.fit(Reading(), BATCHES[:2])
    assert waits
