"""A run that an error ends goes on from the file that a callback then wrote."""

import pytest
from tests.resume.matrix import Cell, Net, assert_same, loader, train

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint

PLACES = ["training_step", "on_after_backward", "on_before_optimizer_step", "on_train_batch_end"]


class Fails(Net):
    """Raises in one hook, the fifth time that a batch comes there."""

    def __init__(self, place=None):
        super().__init__()
        if place is not None:
            self.calls = 0
            hook = getattr(self, place)

            def fail(*args):
                output = hook(*args)
                self.calls += 1
                if self.calls == 5:
                    raise RuntimeError("on purpose")
                return output

            setattr(self, place, fail)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("place", PLACES)
def test_from_the_file_that_an_error_left(place, accumulate, tmp_path):
    options = {"accumulate_grad_batches": accumulate}
    whole, _ = train(Cell(Fails, options=options), 1, tmp_path)
    keep = OnExceptionCheckpoint(tmp_path / "kept", "failed")
    broken = Cell(lambda: Fails(place), callbacks=lambda: [keep], options=options)
    with pytest.raises(RuntimeError, match="on purpose"):
        train(broken, 1, tmp_path)
    path = tmp_path / "kept" / "failed.ckpt"
    resumed, _ = train(Cell(Fails, options=options), 2, tmp_path, ckpt_path=path)
    for name in ("weights", "optimizers", "callback_metrics", "random"):
        assert_same(whole.final[name], resumed.final[name], name)


@pytest.mark.filterwarnings("ignore")
def test_model_checkpoints_can_save_on_an_error(tmp_path):
    whole, _ = train(Cell(), 1, tmp_path)
    keep = ModelCheckpoint(tmp_path / "kept", save_on_exception=True, every_n_epochs=100)
    with pytest.raises(RuntimeError, match="on purpose"):
        train(Cell(lambda: Fails("training_step"), callbacks=lambda: [keep]), 1, tmp_path)
    (path,) = (tmp_path / "kept").glob("*.ckpt")
    resumed, _ = train(Cell(), 2, tmp_path, ckpt_path=path)
    assert_same(whole.final["weights"], resumed.final["weights"])


def test_collected_outputs_are_said_to_be_incomplete(tmp_path):
    class Collects(Net):
        def training_epoch_end(self, outputs):
            self.story.events.append(len(outputs))

    whole, moments = train(Cell(Collects), 1, tmp_path, save_in="on_train_batch_end")
    with pytest.warns(UserWarning, match="outputs of the batches after this resume"):
        resumed, _ = train(Cell(Collects), 2, tmp_path, ckpt_path=moments[1].path)
    assert [e for e in whole.events if isinstance(e, int)] == [4, 4, 4]
    assert [e for e in resumed.events if isinstance(e, int)] == [2, 4, 4]


def test_a_file_between_two_optimizers_says_that_it_is_not_exact(tmp_path):
    class Pair(Net):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            self.optimizers().zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            self.optimizers().step()
            if batch_idx == 1:
                self.trainer.save_checkpoint(tmp_path / "between.ckpt")

    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="in the middle of a batch"):
        trainer.fit(Pair(), loader())
