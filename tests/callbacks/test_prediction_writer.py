"""What `BasePredictionWriter` promises."""

import pytest

from pytorch_lightning.callbacks.prediction_writer import BasePredictionWriter
from pytorch_lightning.utilities.exceptions import MisconfigurationException


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
