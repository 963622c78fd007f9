"""Each kind of run, stopped after every batch and epoch and resumed in a process of its own."""

import pytest
import torch
from tests.resume import test_axes as axes
from tests.resume.matrix import Net, Samples, loader
from tests.resume.test_sources_of_chance import Measured, batches_of_indices, weighted
from torch.utils.data import DataLoader, get_worker_info

from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.testing import assert_exact_resume
from pytorch_lightning.utilities.combined_loader import CombinedLoader


class Reloads(Net):
    def train_dataloader(self):
        return loader(3 + 2 * self.current_epoch)

    def val_dataloader(self):
        return loader(1 + self.current_epoch)


class Augmented(Samples):
    """Noise of the worker that makes the sample, and its number."""

    def __getitem__(self, index):
        number, x = super().__getitem__(index)
        info = get_worker_info()
        return number, x * (1 + torch.rand(1)) + (0 if info is None else info.id)


class Curved(Net):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), 0.01, max_iter=3)


def scheduled(make):
    return lambda: axes.Scheduled(make)


def augmented(**options):
    return lambda: DataLoader(Augmented(7), 2, shuffle=True, num_workers=2, **options)


VALIDATED = {"val_data": lambda: loader(3, shuffle=False)}
CELLS = {
    "shuffled": (Net, loader, VALIDATED),
    "workers": (Net, augmented(), {}),
    "workers that persist": (Net, augmented(persistent_workers=True), VALIDATED),
    "drop_last": (Net, lambda: loader(7, drop_last=True), {}),
    "windows": (Net, loader, {"accumulate_grad_batches": 3, **VALIDATED}),
    "validation by step": (Net, loader, {"val_check_interval": 2, **VALIDATED}),
    "validation with workers": (
        Net,
        loader,
        {"val_check_interval": 2, "val_data": lambda: loader(4, workers=2)},
    ),
    "plateau": (scheduled(axes.plateau), loader, VALIDATED),
    "plateau by step": (scheduled(axes.plateau_by_step), loader, {}),
    "one cycle": (scheduled(axes.one_cycle), loader, {}),
    "steps": (scheduled(axes.every_step), loader, {"accumulate_grad_batches": 2}),
    "early stopping": (
        Net,
        loader,
        {
            **VALIDATED,
            "callbacks": lambda: [EarlyStopping("val_loss", patience=1, min_delta=10.0)],
            "max_epochs": 5,
        },
    ),
    "files": (
        Net,
        loader,
        {**VALIDATED, "callbacks": lambda: [ModelCheckpoint(monitor="val_loss")]},
    ),
    "optimizers in turn": (axes.InTurn, loader, {}),
    "optimizers by frequency": (axes.ByFrequency, loader, {}),
    "by hand": (axes.Manual, loader, {}),
    "windows by hand": (axes.ByHandEverySecondBatch, loader, {}),
    "closures": (Curved, loader, {}),
    "dict": (Net, lambda: {"a": loader(5), "b": loader(3)}, {}),
    **{
        mode: (Net, lambda mode=mode: CombinedLoader([loader(7), loader(5)], mode), {})
        for mode in ("min_size", "max_size", "max_size_cycle")
    },
    "loaders of workers": (Net, lambda: [augmented()(), loader(3)], {}),
    "reloaded": (Reloads, lambda: None, {"reload_dataloaders_every_n_epochs": 1}),
    "weights": (Net, weighted, {}),
    "batch sampler": (Net, batches_of_indices, {}),
    "stream": (Net, axes.stream, {}),
    "stream of workers": (Net, lambda: axes.stream(2), {}),
    "metric objects": (Measured, loader, VALIDATED),
    "modes": (axes.HalfFrozen, loader, VALIDATED),
    "clipping": (Net, loader, {"gradient_clip_val": 0.1}),
    "float64": (Net, loader, {"precision": "64-true"}),
    "bfloat16": (Net, loader, {"precision": "bf16-mixed"}),
}
# what the modules of this folder write down about themselves
OWN = ["story", "saves"]


def resumes(name, every, **options):
    module, data, own = CELLS[name]
    return assert_exact_resume(module, data, every=every, ignore=OWN, **{**own, **options})


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
def test_every_batch(name, tally):
    tally("resume in a new process", resumes(name, 1))


@pytest.mark.parametrize("name", ["shuffled", "workers that persist", "windows", "by hand", "dict"])
def test_some_batches(name, tally):
    tally("resume in a new process", resumes(name, 5, max_epochs=2))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["shuffled", "workers", "stream"])
def test_interpreters_that_are_started_anew(name, tally):
    module, data, own = CELLS[name]
    data = {"workers": in_workers}.get(name, data)
    own = {**own, "val_data": None}
    tried = assert_exact_resume(module, data, every=9, ignore=OWN, start="spawn", **own)
    tally("resume in a new process", tried)


def in_workers():
    return augmented()()
