"""Resuming from files: of `ModelCheckpoint`, beside CSV logs, of other releases."""

import ast
from pathlib import Path

import pytest
import torch
from tests.resume.matrix import Cell, Net, Saver, loader, train
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

DATA = Path(__file__).parents[1] / "checkpoint" / "data"


def quiet(folder, **options):
    return pl.Trainer(
        **{
            "default_root_dir": folder,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **options,
        }
    )


def with_files(folder, seed, ckpt_path=None):
    """Train with CSV rows and a file after every step; the module and the callback."""
    pl.seed_everything(seed, verbose=False)
    keep = ModelCheckpoint(folder / "kept", every_n_train_steps=1, save_top_k=-1)
    best = ModelCheckpoint(folder / "best", monitor="val_loss", save_top_k=2, save_last=True)
    trainer = quiet(
        folder,
        logger=CSVLogger(folder, name="", version="logs"),
        enable_checkpointing=True,
        callbacks=[keep, best],
        max_epochs=3,
        val_check_interval=2,
        log_every_n_steps=1,
    )
    module = Net()
    trainer.fit(module, loader(), loader(3, shuffle=False), ckpt_path=ckpt_path)
    return module, best


def files(folder):
    return sorted(path.name for path in folder.glob("*.ckpt"))


@pytest.mark.parametrize("step", range(1, 13))
def test_files_of_every_step_with_rows_and_best_ones(step, tmp_path):
    whole, best = with_files(tmp_path / "whole", 1)
    kept = tmp_path / "whole" / "kept"
    assert len(files(kept)) == 12
    rows = (tmp_path / "whole" / "logs" / "metrics.csv").read_text()
    names = files(tmp_path / "whole" / "best")
    path = next(path for path in kept.iterdir() if path.name.endswith(f"step={step}.ckpt"))
    resumed, best_again = with_files(tmp_path / "whole", 7, ckpt_path=path)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert (tmp_path / "whole" / "logs" / "metrics.csv").read_text() == rows
    assert torch.equal(best.best_model_score, best_again.best_model_score)
    assert set(names) <= set(files(tmp_path / "whole" / "best"))


def test_the_sample_ids_of_the_rest_of_an_epoch_are_seen_once(tmp_path):
    whole, moments = train(Cell(), 1, tmp_path, save_in="on_train_batch_end")
    resumed, _ = train(Cell(), 9, tmp_path, ckpt_path=moments[1].path)

    def ids(events):
        return [i for e in events if e[0] == "train" for i in ast.literal_eval(e[1])]

    first = ids(whole.events[: moments[1].events])
    rest = ids(resumed.events)[: 7 - len(first)]
    assert sorted(first + rest) == list(range(7))


def test_a_fit_after_a_failed_one_starts_its_epoch_again(tmp_path):
    class Fails(Net):
        fails = True

        def on_train_batch_end(self, outputs, batch, batch_idx):
            if self.fails and self.trainer.global_step == 6:
                raise RuntimeError("on purpose")

    module = Fails()
    trainer = quiet(tmp_path, max_epochs=2)
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(module, loader())
    module.fails = False
    trainer.fit(module, loader())
    trained = [event for event in module.story.events if event[0] == "train"]
    assert len(trained) == 6 + 4
    assert trainer.current_epoch == 2


def test_training_goes_on_after_an_early_stop(tmp_path):
    class Stops(Net):
        def on_train_epoch_end(self):
            self.trainer.should_stop = True

    trainer = quiet(tmp_path, max_epochs=5)
    trainer.fit(Stops(), loader())
    assert trainer.current_epoch == 1
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    again = quiet(tmp_path, max_epochs=3)
    again.fit(Net(), loader(), ckpt_path=tmp_path / "stopped.ckpt")
    assert again.current_epoch == 3


def test_a_stop_kept_in_a_file_is_said_and_can_be_lifted(tmp_path):
    class Stops(Net):
        def on_train_epoch_end(self):
            self.trainer.should_stop = True

    class GoesOn(Net):
        def on_train_start(self):
            self.trainer.should_stop = False

    story = Net().story
    saver = Saver(story, "on_train_epoch_end", tmp_path, by_request=True)
    quiet(tmp_path, max_epochs=5, callbacks=[saver]).fit(Stops(), loader())
    again = quiet(tmp_path, max_epochs=3)
    with pytest.warns(UserWarning, match="asked to stop"):
        again.fit(Net(), loader(), ckpt_path=tmp_path / "0.ckpt")
    assert again.current_epoch == 1
    again = quiet(tmp_path, max_epochs=3)
    again.fit(GoesOn(), loader(), ckpt_path=tmp_path / "0.ckpt")
    assert again.current_epoch == 3


# --- files of other releases ----------------------------------------------------------------------


class Golden(pl.LightningModule):
    """The module that the files are of."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)
        self.head = torch.nn.Linear(3, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, self.trainer.global_step))
        return torch.nn.functional.mse_loss(self.head(self.layer(batch[0])), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))
        self.seen.pop()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


def golden_loader():
    x = torch.arange(12, dtype=torch.float32).reshape(6, 2) / 10
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=1)


def by_hand(path, epochs):
    """Go on from the states in a file with a plain loop, up to so many epochs of the scheduler."""
    file = torch.load(path, weights_only=False)
    module = Golden()
    module.load_state_dict(file["state_dict"])
    optimizers, schedulers = module.configure_optimizers()
    optimizers[0].load_state_dict(file["optimizer_states"][0])
    schedulers[0].load_state_dict(file["lr_schedulers"][0])
    while schedulers[0].last_epoch < epochs:
        for x, y in golden_loader():
            optimizers[0].zero_grad()
            torch.nn.functional.mse_loss(module.head(module.layer(x)), y).backward()
            optimizers[0].step()
        schedulers[0].step()
    return file["global_step"], module.state_dict()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["end", "last"])
@pytest.mark.parametrize("release", ["2.6.6", "1.9.5", "1.7.7", "1.6.5"])
def test_from_the_end_of_an_epoch_of_another_release(release, kind, tmp_path):
    path = DATA / f"{release}-{kind}.ckpt"
    module = Golden()
    trainer = quiet(tmp_path, max_epochs=4, callbacks=[EarlyStopping("val_loss", patience=5)])
    trainer.fit(module, golden_loader(), golden_loader(), ckpt_path=path, weights_only=False)
    step, expected = by_hand(path, 4)
    assert module.seen[0] == (step // 6, 0, step)
    assert (trainer.current_epoch, trainer.global_step) == (4, 24)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_from_the_middle_of_an_epoch_of_another_release(tmp_path):
    path = Path(__file__).parent / "data" / "2.6.6-third-batch.ckpt"
    module = Golden()
    trainer = quiet(tmp_path, max_epochs=2)
    with pytest.warns(UserWarning, match="starts again at its first batch"):
        trainer.fit(module, golden_loader(), golden_loader(), ckpt_path=path)
    assert module.seen[0] == (1, 0, 9)
    assert (trainer.current_epoch, trainer.global_step) == (2, 15)
    for tensor, expected in zip(module.parameters(), by_hand(path, 2)[1].values(), strict=True):
        assert torch.equal(tensor, expected)


def _in_float64(folder, epochs, path=None):
    pl.seed_everything(1 if path is None else 2, verbose=False)
    module = Net()
    trainer = quiet(folder, precision="64-true", max_epochs=epochs)
    trainer.fit(module, loader(), ckpt_path=path)
    return module, trainer


def test_a_module_of_float32_that_trains_in_float64_goes_on_exactly(tmp_path):
    whole, _ = _in_float64(tmp_path, 3)
    _, trainer = _in_float64(tmp_path, 1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    resumed, _ = _in_float64(tmp_path, 3, tmp_path / "one.ckpt")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert one.dtype == torch.float64
        assert torch.equal(one, other)
