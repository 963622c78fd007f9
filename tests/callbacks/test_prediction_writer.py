"""What `BasePredictionWriter` promises."""

import pytest
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks.prediction_writer import BasePredictionWriter
from pytorch_lightning.demos.boring_classes import BoringModel, RandomDataset
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def trainer_with(*callbacks, **arguments):
    defaults = {
        "max_epochs": 4,
        "limit_train_batches": 4,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**defaults, **arguments}, callbacks=list(callbacks))


@pytest.mark.parametrize(
    ("interval", "on_batch", "on_epoch"),
    [("batch", True, False), ("epoch", False, True), ("batch_and_epoch", True, True)],
)
def test_prediction_writer_intervals(interval, on_batch, on_epoch):
    writer = BasePredictionWriter(interval)
    assert (writer.interval.on_batch, writer.interval.on_epoch) == (on_batch, on_epoch)


def test_prediction_writer_refuses_unknown_intervals():
    with pytest.raises(MisconfigurationException, match="write_interval='never'"):
        BasePredictionWriter("never")


def test_prediction_writer_names_the_method_that_is_missing():
    writer = BasePredictionWriter()
    with pytest.raises(NotImplementedError, match="write_on_batch_end"):
        writer.write_on_batch_end(None, None, None, None, None, 0, 0)


class Writer(BasePredictionWriter):
    """Keeps what it is asked to write."""

    def __init__(self, write_interval):
        super().__init__(write_interval)
        self.batches, self.epochs = [], []

    def write_on_batch_end(
        self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx
    ):
        self.batches.append((list(batch_indices), batch_idx, dataloader_idx, len(prediction)))

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
        self.epochs.append((len(predictions), batch_indices))


def loader(length):
    return DataLoader(RandomDataset(32, length), batch_size=2)


def test_both_intervals():
    writer = Writer("batch_and_epoch")
    trainer_with(writer).predict(BoringModel(), loader(5))
    assert writer.batches == [([0, 1], 0, 0, 2), ([2, 3], 1, 0, 2), ([4], 2, 0, 1)]
    assert writer.epochs == [(3, [[[0, 1], [2, 3], [4]]])]


def test_several_loaders():
    writer = Writer("batch_and_epoch")
    trainer_with(writer).predict(BoringModel(), [loader(2), loader(3)])
    assert writer.batches == [([0, 1], 0, 0, 2), ([0, 1], 0, 1, 2), ([2], 1, 1, 1)]
    assert writer.epochs == [(2, [[[0, 1]], [[0, 1], [2]]])]


def test_one_interval():
    per_batch, at_end = Writer("batch"), Writer("epoch")
    trainer_with(per_batch, at_end).predict(BoringModel(), loader(4), return_predictions=False)
    assert (len(per_batch.batches), per_batch.epochs) == (2, [])
    assert at_end.batches == []
    assert [count for count, _ in at_end.epochs] == [2]
