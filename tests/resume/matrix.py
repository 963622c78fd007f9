"""Runs a training once without a break and once from every point where it was saved.

A cell of the matrix is what is trained and how; `check` saves it in one hook, each time that the
hook comes, and takes it up again from each file in a new trainer under another seed. Everything
that one can observe must be bit-equal to the run that was never interrupted.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.seed import capture_rng

INSIDE = (
    *("on_train_batch_start", "training_step", "on_before_optimizer_step"),
    "on_validation_batch_start",
)
TRACED = [
    *("on_train_start", "on_train_epoch_start", "on_train_epoch_end", "on_train_end"),
    *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_after_backward"),
    *("on_before_optimizer_step", "on_validation_start", "on_validation_end", "on_fit_end"),
    *("on_validation_epoch_start", "on_validation_epoch_end"),
    *("on_validation_batch_start", "on_validation_batch_end"),
]


class Samples(Dataset):
    """Numbered samples with noise drawn where they are made, from two generators."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        x = torch.arange(4.0) + index
        return index, x / 10 + torch.rand(4) + random.random()


def loader(size=7, *, shuffle=True, workers=0, batch_size=2, **options):
    """A loader of random samples."""
    return DataLoader(Samples(size), batch_size, shuffle=shuffle, num_workers=workers, **options)


def count(kind, number=1):
    """Counts what is tried; the tests of this folder put the tally in its place."""


class Story:
    """What was observed of a run."""

    def __init__(self):
        self.events = []
        self.rows = []
        self.batch_began = (0, 0)
        self.final = {}

    def now(self):
        return len(self.events), len(self.rows)


class Net(pl.LightningModule):
    """Dropout, batch statistics, values on step and epoch; what it sees goes to its story."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1)
        )
        self.story = Story()
        self.saves = None

    def loss(self, batch):
        """The mean square for (ids, x), or for any collection of such pairs."""
        if isinstance(batch, dict):
            batch = list(batch.values())
        if isinstance(batch[0], list | tuple):
            parts = [self.loss(part) for part in batch if part is not None]
            return sum(parts)
        return self.net(torch.cat([batch[1], batch[1]])).square().mean()

    def saw(self, what, batch, loss):
        self.story.events.append((what, repr(ids_of(batch)), loss.item()))

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.saw("train", batch, loss)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("most", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("number", 1.5 * batch_idx, on_step=False, on_epoch=True)
        if self.saves is not None:
            self.saves()
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        loss = self.loss(batch) + torch.rand(())
        self.saw(f"validation {dataloader_idx}", batch, loss)
        self.log("val_loss", loss)
        self.log("val_step", loss, on_step=True, on_epoch=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.05)

    def lr_scheduler_step(self, scheduler, metric):
        self.story.events.append(("scheduler", type(scheduler).__name__, repr(metric)))
        super().lr_scheduler_step(scheduler, metric)


def ids_of(batch):
    """The sample numbers in a batch, in whatever collection."""
    if isinstance(batch, dict):
        return {key: ids_of(part) for key, part in batch.items()}
    if isinstance(batch, list | tuple) and not isinstance(batch[0], torch.Tensor):
        return [ids_of(part) for part in batch]
    return None if batch is None else batch[0].tolist()


def _trace(name):
    def hook(self, trainer, module, *args, **kwargs):
        if name in ("on_train_batch_start", "on_validation_batch_start"):
            self.story.batch_began = self.story.now()
        self.story.events.append(name)

    return hook


class Trace(pl.Callback):
    """Appends the names of hooks to a story."""

    def __init__(self, story):
        self.story = story


for _name in TRACED:
    setattr(Trace, _name, _trace(_name))


class Rows(Logger):
    """Keeps what it is told in a story."""

    def __init__(self, story):
        super().__init__()
        self.story = story

    name = "rows"
    version = 0

    def log_metrics(self, metrics, step=None):
        self.story.rows.append((step, sorted(metrics.items())))

    def log_hyperparams(self, params, *args, **kwargs):
        """Not observed."""


@dataclass
class Moment:
    """A file, and how much of the story comes before the run that it starts."""

    path: Path
    events: int
    rows: int


class Saver(pl.Callback):
    """Saves whenever one hook comes, at once or by request; the last of all listeners."""

    monitors_metrics = True

    def __init__(self, story, hook, folder, by_request):
        self.story = story
        self.folder = folder
        self.by_request = by_request
        self.inside = hook in INSIDE
        self.moments = []
        if hook != "training_step":
            setattr(self, hook, self._called)

    def _called(self, trainer, module, *args, **kwargs):
        if trainer.sanity_checking:
            return
        if self.by_request:
            trainer.request_checkpoint(lambda: self.save(trainer))
        else:
            self.save(trainer)

    def save(self, trainer):
        """Write a file now."""
        path = self.folder / f"{len(self.moments)}.ckpt"
        inside = self.inside and not self.by_request
        began = self.story.batch_began if inside else self.story.now()
        self.moments.append(Moment(path, *began))
        trainer.save_checkpoint(path)


@dataclass(frozen=True)
class Cell:
    """What is trained and how."""

    module: Callable[[], Net] = Net
    train: Callable[[], Any] = loader
    validation: Callable[[], Any] | None = lambda: loader(3, shuffle=False)
    callbacks: Callable[[], list[pl.Callback]] = list
    options: dict[str, Any] = field(default_factory=dict)


def train(cell, seed, folder, *, save_in=None, by_request=False, ckpt_path=None):
    """Train a cell; the story and the moments at which it was saved."""
    pl.seed_everything(seed, verbose=False)
    module = cell.module()
    story = module.story
    callbacks = [Trace(story), *cell.callbacks()]
    saver = None
    if save_in is not None:
        saver = Saver(story, save_in, folder, by_request)
        callbacks.append(saver)
    options = {"max_epochs": 3, "num_sanity_val_steps": 0, "log_every_n_steps": 1, **cell.options}
    trainer = pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=Rows(story),
        callbacks=callbacks,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    if save_in == "training_step":
        module.saves = lambda: saver.save(trainer)
    validation = cell.validation() if cell.validation is not None else None
    trainer.fit(module, cell.train(), validation, ckpt_path=ckpt_path)
    story.final = {
        "weights": module.state_dict(),
        "modes": [m.training for m in module.modules()],
        "optimizers": [o.state_dict() for o in trainer.optimizers],
        "schedulers": [c.scheduler.state_dict() for c in trainer.lr_scheduler_configs],
        "callbacks": [c.state_dict() for c in trainer.callbacks if c is not saver],
        "callback_metrics": dict(trainer.callback_metrics),
        "logged_metrics": dict(trainer.logged_metrics),
        "counters": (trainer.current_epoch, trainer.global_step),
        "random": capture_rng(),
    }
    return story, saver.moments if saver is not None else []


def assert_same(one, two, where=""):
    """Bit-equal, whatever they are made of."""
    assert type(one) is type(two), (where, one, two)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), (where, one, two)
    elif isinstance(one, dict):
        assert list(one) == list(two), (where, list(one), list(two))
        for key, value in one.items():
            assert_same(value, two[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), (where, one, two)
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}/{index}")
    elif hasattr(one, "__dict__") and type(one).__eq__ is object.__eq__:
        assert_same(vars(one), vars(two), where)
    else:
        assert one == two, (where, one, two)


def assert_same_list(whole, resumed, where):
    """Equal, or say where they part."""
    for number, (one, two) in enumerate(zip(whole, resumed, strict=False)):
        assert one == two, (where, number, "whole", one, "resumed", two)
    assert len(whole) == len(resumed), (where, whole[len(resumed) :], resumed[len(whole) :])


def assert_continues(whole, moment, resumed):
    """The story up to a moment and the resumed one make the whole one."""
    started = resumed.events.index("on_train_start") + 1
    assert_same_list(whole.events[moment.events :], resumed.events[started:], moment.path.name)
    assert_same_list(whole.rows[moment.rows :], resumed.rows, moment.path.name)
    final = whole.final
    for name, value in final.items():
        mine = resumed.final[name]
        if name.endswith("metrics"):
            value, mine = dict(sorted(value.items())), dict(sorted(mine.items()))
        assert_same(mine, value, f"{moment.path.name}: {name}")


def check(cell, save_in, folder, *, by_request=False, every=1):
    """Save a cell whenever a hook comes, and resume from each (or each so many) of the files.

    Returns:
        How many files were tried.
    """
    whole, moments = train(cell, 1, folder, save_in=save_in, by_request=by_request)
    plain, _ = train(cell, 1, folder)
    assert plain.events == whole.events  # saving disturbs nothing
    assert_same(plain.final["weights"], whole.final["weights"])
    chosen = moments[::every]
    count(f"resume from `{save_in}`", len(chosen))
    for number, moment in enumerate(chosen):
        resumed, _ = train(cell, 2 + number, folder, ckpt_path=moment.path)
        assert_continues(whole, moment, resumed)
    return len(chosen)
