"""A run is taken up exactly from every point at which it can be saved."""

import pytest
from tests.resume.matrix import Cell, check

SAVED_IN = [
    *("on_train_start", "on_train_epoch_start", "on_train_batch_start", "training_step"),
    *("on_before_optimizer_step", "on_train_batch_end", "on_train_epoch_end"),
    *("on_validation_start", "on_validation_epoch_start", "on_validation_batch_start"),
    *("on_validation_batch_end", "on_validation_epoch_end", "on_validation_end"),
]


@pytest.mark.parametrize("hook", SAVED_IN)
def test_from_each_hook(hook, tmp_path):
    assert check(Cell(), hook, tmp_path) >= 1


@pytest.mark.parametrize("hook", SAVED_IN)
def test_inside_an_accumulation_window(hook, tmp_path):
    options = {"accumulate_grad_batches": 3, "val_check_interval": 2}
    assert check(Cell(options=options), hook, tmp_path) >= 1


@pytest.mark.parametrize("hook", [hook for hook in SAVED_IN if hook != "training_step"])
def test_by_request(hook, tmp_path):
    options = {"accumulate_grad_batches": 3, "val_check_interval": 2}
    assert check(Cell(options=options), hook, tmp_path, by_request=True) >= 1
