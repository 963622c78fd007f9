"""Nothing that a step, an epoch or a fit made is there when it is over."""

import gc
import os
import threading
import tracemalloc
import weakref
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, NonFinite
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger


class Batches:
    """Batches that nobody but the run holds."""

    def __init__(self, count):
        self.count = count
        self.made = []

    def __len__(self):
        return self.count

    def __iter__(self):
        return map(self._make, range(self.count))  # a generator would hold its last batch

    def _make(self, index):
        batch = torch.full((2, 4), float(index))
        self.made.append(weakref.ref(batch))
        return batch


class Watched(pl.LightningModule):
    """Sees at each step that nothing of the steps before is alive."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.past, self.alive, self.looked = [], 0, 0

    def look(self, batch, value):
        """Count what is left of earlier steps; remember this one."""
        self.looked += 1
        self.alive += sum(reference() is not None for reference in self.past)
        self.past = [weakref.ref(batch), weakref.ref(value)]

    def loss(self, batch):
        value = self.layer(batch).square().mean()
        self.look(batch, value)
        return value

    def training_step(self, batch, batch_idx):
        value = self.loss(batch)
        self.log("loss", value, on_step=True, on_epoch=True, prog_bar=True)
        return value

    def validation_step(self, batch, batch_idx):
        value = self.loss(batch)
        self.log("val", value)
        return value

    def test_step(self, batch, batch_idx):
        return {"loss": self.loss(batch)}

    def predict_step(self, batch, batch_idx):
        return self.loss(batch)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class Unlogged(Watched):
    def training_step(self, batch, batch_idx):
        return {"loss": self.loss(batch), "more": batch}


class Manual(Watched):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        value = self.loss(batch)
        self.manual_backward(value)
        optimizer = self.optimizers()
        optimizer.step()
        optimizer.zero_grad()
        return value


class Pair(Watched):
    def training_step(self, batch, batch_idx, optimizer_idx):
        value = self.layer(batch).square().mean()
        if optimizer_idx == 0:
            self.look(batch, value)
        self.log(f"loss_{optimizer_idx}", value)
        return value

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), 0.01) for _ in range(2)]


def quiet(**options):
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(enable_model_summary=False, **{"max_epochs": 1, **silent, **options})


VARIANTS = {
    "automatic": (Watched, {}),
    "without logs": (Unlogged, {}),
    "manual": (Manual, {}),
    "two optimizers": (Pair, {}),
    "accumulation": (Watched, {"accumulate_grad_batches": 3}),
    "clipping": (Watched, {"gradient_clip_val": 1.0}),
    "scaler": (Watched, {"precision": "16-mixed"}),
    "validation": (Watched, {"val_check_interval": 2}),
    "raise": (Watched, {"callbacks": [NonFinite()]}),
    "skip": (Watched, {"callbacks": [NonFinite("skip")]}),
    "rollback": (Watched, {"callbacks": [NonFinite("rollback")]}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_batches_and_losses_are_dead_after_their_step(variant, tmp_path):
    make, options = VARIANTS[variant]
    module, data, seen = make(), Batches(8), Batches(4)
    logger = CSVLogger(tmp_path) if make is not Manual else False
    gc.disable()  # a reference cycle would show
    try:
        quiet(logger=logger, log_every_n_steps=2, **options).fit(module, data, seen)
        assert module.looked >= 8
        assert module.alive == 0
        assert not any(reference() is not None for reference in data.made + seen.made)
    finally:
        gc.enable()


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_so_they_are_in_evaluation_and_prediction(verb):
    module, data = Watched(), Batches(6)
    options = {"return_predictions": False} if verb == "predict" else {}
    gc.disable()
    try:
        getattr(quiet(), verb)(module, data, **options)
        assert (module.looked, module.alive) == (6, 0)
        assert not any(reference() is not None for reference in data.made)
    finally:
        gc.enable()


ON_RANKS = ("automatic", "manual", "accumulation", "validation", "skip")


def _steps_of_a_rank():
    found = {}
    for variant in ON_RANKS:
        make, options = VARIANTS[variant]
        module, data = make(), Batches(8)
        gc.disable()
        quiet(devices=2, strategy="ddp", **options).fit(module, data, Batches(4))
        left = sum(reference() is not None for reference in data.made)
        gc.enable()
        found[variant] = module.looked >= 8, module.alive, left
    return found


def test_so_they_are_on_two_ranks():
    for found in run_ranks(_steps_of_a_rank, 2):
        assert found == dict.fromkeys(found, (True, 0, 0))


# --- after a fit --------------------------------------------------------------------------------


class Small(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        value = self.layer(batch).square().mean()
        self.log("loss", value, on_step=True, on_epoch=True)
        return value

    def validation_step(self, batch, batch_idx):
        self.log("val", self.layer(batch).mean())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters())
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def one_fit(folder, *, trainer=None, logger=None, workers=0, **options):
    """A fit with what usually comes with it."""
    if trainer is None:
        saver = ModelCheckpoint(folder, monitor="val", save_top_k=2, save_last=True)
        trainer = quiet(
            callbacks=[saver, NonFinite()],
            enable_checkpointing=True,
            logger=logger or False,
            log_every_n_steps=1,
            **options,
        )
    else:
        trainer.fit_loop.max_epochs = trainer.current_epoch + 1
    module = Small()
    data = DataLoader(torch.randn(8, 4), batch_size=2, num_workers=workers)
    trainer.fit(module, data, DataLoader(torch.randn(4, 4), batch_size=2))
    return trainer, module, data


@pytest.mark.parametrize("logs", ["csv", "tensorboard", "none"])
def test_trainer_module_and_loader_die_when_nobody_holds_them(logs, tmp_path):
    loggers = {"csv": CSVLogger, "tensorboard": TensorBoardLogger, "none": lambda _: False}
    one_fit(tmp_path / "first", logger=loggers[logs](tmp_path))  # what is imported once
    gc.collect()
    trainer, module, data = one_fit(tmp_path / "kept", logger=loggers[logs](tmp_path))
    parts = [trainer, module, data, *trainer.callbacks, module.layer.weight]
    references = [weakref.ref(part) for part in parts]
    del trainer, module, data, parts
    gc.collect()
    assert [type(reference()) for reference in references] == [type(None)] * len(references)


# --- many of them -------------------------------------------------------------------------------


def resources():
    """Memory of Python in KiB, of the process in MiB, and threads, handles and children."""
    gc.collect()
    me = Path("/proc/self")
    pages = int((me / "statm").read_text().split()[1])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    counts = {
        "threads": threading.active_count(),
        "handles": len(list((me / "fd").iterdir())),
        "children": len(children),
        "objects": len(gc.get_objects()),
    }
    return counts, tracemalloc.get_traced_memory()[0] / 1024, pages * 4096 / 2**20


def grown(work, times, warm):
    """What was more after `times` calls than after `warm`: counts, KiB of Python, MiB in all."""
    tracemalloc.start()
    try:
        for _ in range(warm):
            work()
        before = resources()
        for _ in range(times):
            work()
        after = resources()
    finally:
        tracemalloc.stop()
    counts = {name: after[0][name] - count for name, count in before[0].items()}
    return counts, after[1] - before[1], after[2] - before[2]


def is_flat(found, times, each=0.2):
    """Nothing is left open, and next to nothing stays.

    Args:
        each: KiB of Python's memory per call. A fit leaves 2, which torch's operators keep in small
            pieces that are no objects; the process does not grow by them.
    """
    counts, kibibytes, mebibytes = found
    assert max(counts[name] for name in ("threads", "handles", "children")) <= 0, counts
    assert counts["objects"] < 2 * times + 200, counts
    assert kibibytes < each * times + 64, found
    assert mebibytes < 0.02 * times + 24, found


LOGGERS = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}


def fits(tmp_path, logs, times, warm, **options):
    def work():
        one_fit(tmp_path / "kept", logger=LOGGERS[logs](tmp_path / "logs"), **options)

    is_flat(grown(work, times, warm), times, each=3)


@pytest.mark.parametrize("logs", LOGGERS)
def test_some_fits_leave_nothing(logs, tmp_path):
    fits(tmp_path, logs, times=6, warm=4)


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.parametrize("logs", LOGGERS)
@pytest.mark.parametrize("workers", [0, 1])
def test_fifty_fits_leave_nothing(logs, workers, tmp_path, tally):
    tally("fit of 50 in one process", 50)
    fits(tmp_path, logs, times=50, warm=5, workers=workers)


@pytest.mark.faults
@pytest.mark.long
def test_fifty_fits_of_one_trainer_leave_nothing(tmp_path, tally):
    tally("fit of 50 in one process", 50)
    trainer, _, _ = one_fit(tmp_path / "kept", logger=CSVLogger(tmp_path))
    is_flat(grown(lambda: one_fit(tmp_path, trainer=trainer), 50, 5), 50, each=3)


def _fits_of_a_rank(folder, times):
    def work():
        one_fit(folder / "kept", logger=CSVLogger(folder / "logs"), devices=2, strategy="ddp")

    return grown(work, times, warm=3)


def test_some_fits_on_two_ranks_leave_nothing(tmp_path):
    for found in run_ranks(_fits_of_a_rank, 2, tmp_path, 4):
        is_flat(found, 4, each=3)


@pytest.mark.faults
@pytest.mark.long
def test_fifty_fits_on_two_ranks_leave_nothing(tmp_path, tally):
    tally("fit of 50 in one process", 50)
    for found in run_ranks(_fits_of_a_rank, 2, tmp_path, 50, limit=300):
        is_flat(found, 50, each=3)


class Measuring(pl.Callback):
    """Measures when a number of steps or epochs has passed, and at the end."""

    def __init__(self, *, steps=None, epochs=None):
        self.steps, self.epochs = steps, epochs
        self.before = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.steps:
            self.before = resources()

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epochs:
            self.before = resources()
        self.after = resources() if trainer.current_epoch == trainer.max_epochs - 1 else None

    def growth(self):
        counts = {name: self.after[0][name] - n for name, n in self.before[0].items()}
        return counts, self.after[1] - self.before[1], self.after[2] - self.before[2]


def steps(tmp_path, count, **options):
    measuring = Measuring(steps=count // 5)
    data = [torch.randn(2, 4)] * count
    tracemalloc.start()
    try:
        trainer = quiet(callbacks=[measuring, NonFinite()], logger=CSVLogger(tmp_path), **options)
        trainer.fit(Small(), data)
    finally:
        tracemalloc.stop()
    is_flat(measuring.growth(), count // 50)


def test_a_thousand_steps_leave_nothing(tmp_path):
    steps(tmp_path, 1000)


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 4}, {"precision": "16-mixed"}])
def test_ten_thousand_steps_leave_nothing(options, tmp_path, tally):
    tally("step of 10,000", 10000)
    steps(tmp_path, 10000, **options)


def epochs(tmp_path, count, persistent):
    measuring = Measuring(epochs=count // 5)
    data = DataLoader(torch.randn(4, 4), batch_size=2, num_workers=1, persistent_workers=persistent)
    tracemalloc.start()
    try:
        trainer = quiet(callbacks=[measuring], logger=CSVLogger(tmp_path), max_epochs=count)
        trainer.fit(Small(), data, data)
    finally:
        tracemalloc.stop()
    counts, kibibytes, mebibytes = measuring.growth()
    is_flat((counts, kibibytes, mebibytes), count)


@pytest.mark.parametrize("persistent", [True, False])
def test_some_epochs_with_workers_leave_nothing(persistent, tmp_path):
    epochs(tmp_path, 10, persistent)


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.parametrize("persistent", [True, False])
def test_two_hundred_epochs_with_workers_leave_nothing(persistent, tmp_path, tally):
    tally("epoch of 200 with workers", 200)
    epochs(tmp_path, 200, persistent)
