"""An error of an allocator says who holds the memory."""

import pytest
import torch
from tests.distributed.ranks import outcomes_of_ranks
from tests.small_runs import Small, loader
from torch import nn

import pytorch_lightning as pl

pytestmark = pytest.mark.faults

TOO_MUCH = 1 << 60


def ask_for_too_much():
    torch.empty(TOO_MUCH, dtype=torch.uint8)


class Greedy(Small):
    """Asks for more memory than there is, in one hook, once the optimizer has a state."""

    def __init__(self, where="training_step"):
        super().__init__()
        self.layer = nn.Linear(4, 1024)
        self.where = where

    def training_step(self, batch, batch_idx):
        if self.where == "training_step" and batch_idx == 2:
            ask_for_too_much()
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        if self.where == "validation_step":
            ask_for_too_much()

    def predict_step(self, batch, batch_idx):
        raise MemoryError

    def on_after_backward(self):
        if self.where == "on_after_backward" and self.global_step == 2:
            ask_for_too_much()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


def quiet(**options):
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(max_epochs=1, enable_model_summary=False, **{**silent, **options})


def report_of(error):
    return next(note for note in error.__notes__ if note.startswith("Out of memory"))


def test_the_report_names_the_batch_and_who_holds_how_much(tally):
    tally("out of memory")
    with pytest.raises(RuntimeError, match="allocate") as caught:
        quiet().fit(Greedy("on_after_backward"))
    report = report_of(caught.value)
    # 5 * 1024 numbers of 4 bytes; Adam keeps two of each, and a step of 4 bytes per tensor
    assert "parameters and buffers 20.0 KiB, gradients 20.0 KiB, " in report
    assert "optimizer state 40.0 KiB, batch 32 bytes, the rest (" in report
    assert "The batch: (2, 4) float32." in report
    assert "accumulate_grad_batches" in report and "bf16-mixed" in report
    assert "MiB in use" in report or "GiB in use" in report


def test_gradients_that_were_cleared_count_nothing(tally):
    tally("out of memory")
    with pytest.raises(RuntimeError) as caught:
        module = Greedy()
        module.optimizer_zero_grad = lambda *_: None
        module.on_train_batch_start = lambda *_: module.zero_grad()
        quiet().fit(module)
    assert "gradients 0 bytes" in report_of(caught.value)


@pytest.mark.parametrize("verb", ["validate", "predict"])
def test_other_entry_points_report_too(verb, tally):
    tally("out of memory")
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        getattr(quiet(), verb)(Greedy("validation_step"))
    assert "optimizer state 0 bytes, batch 32 bytes" in report_of(caught.value)


def test_a_tensor_that_is_shared_counts_once(tally):
    class Tied(Greedy):
        def __init__(self):
            super().__init__()
            self.other = nn.Linear(4, 1024, bias=False)
            self.other.weight = nn.Parameter(self.layer.weight.data)  # the same memory

        def training_step(self, batch, batch_idx):
            ask_for_too_much()

    tally("out of memory")
    with pytest.raises(RuntimeError) as caught:
        quiet().fit(Tied())
    assert "parameters and buffers 20.0 KiB" in report_of(caught.value)


def test_other_errors_carry_no_report():
    class Wrong(Small):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ") as caught:
        quiet().fit(Wrong())
    assert not any("Out of memory" in note for note in caught.value.__notes__)


def _greedy_rank():
    class OnOneRank(Greedy):
        def training_step(self, batch, batch_idx):
            if self.global_rank == 1 and batch_idx == 1:
                ask_for_too_much()
            return Small.training_step(self, batch, batch_idx)

    quiet(devices=2, strategy="ddp").fit(OnOneRank(), loader(8), loader(4))


def test_the_report_names_the_rank(tally):
    tally("out of memory")
    (_, _, _), (ok, _, text) = outcomes_of_ranks(_greedy_rank, 2, limit=40)
    assert not ok
    assert " in use of rank 1: parameters" in text
