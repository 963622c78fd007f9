"""Ranks with different numbers of batches: every batch is trained, nobody hangs."""

import itertools
import os

import pytest
import torch
from tests.distributed.ranks import outcomes_of_ranks, run_ranks
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import pytorch_lightning as pl

QUIET = dict(
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)


class Stream(IterableDataset):
    """Batches of which only iterating tells the number."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1).double()
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch_idx)
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batch_of(rank, index):
    generator = torch.Generator().manual_seed(100 * rank + index)
    return torch.randn(4, 3, generator=generator, dtype=torch.float64)


def _fit(counts, accumulate, epochs=1, strategy="ddp"):
    rank, world = int(os.environ["RANK"]), len(counts)
    module = Line()
    loader = DataLoader(Stream([batch_of(rank, i) for i in range(counts[rank])]), batch_size=None)
    trainer = pl.Trainer(
        devices=world,
        strategy=strategy,
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        **QUIET,
    )
    trainer.fit(module, loader)
    weights = [whole(p).tolist() for p in module.parameters()]
    return weights, module.seen, trainer.global_step


def whole(parameter):
    value = parameter.detach()
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def oracle(counts, accumulate):
    """One process on the batches of all ranks: the mean over the ranks that have data."""
    module = Line()
    optimizer = module.configure_optimizers()
    rounds = range(max(counts))
    for window in itertools.zip_longest(*[iter(rounds)] * accumulate):
        window = [index for index in window if index is not None]
        optimizer.zero_grad()
        for index in window:
            ranks = [r for r, count in enumerate(counts) if count > index]
            for rank in ranks:
                loss = module.layer(batch_of(rank, index)).pow(2).mean()
                (loss / len(ranks) / len(window)).backward()
        optimizer.step()
    return [p.detach().tolist() for p in module.parameters()]


def _fit_all(cells):
    return [_fit(*cell) for cell in cells]


def test_streams_of_different_lengths_train_every_batch():
    cells = [(c, a) for c in [(3, 5), (5, 3), (1, 4), (0, 3), (4, 4)] for a in (1, 2)]
    found = run_ranks(_fit_all, 2, cells)
    for index, (counts, accumulate) in enumerate(cells):
        expected = oracle(counts, accumulate)
        for rank in range(2):
            weights, seen, _ = found[rank][index]
            assert seen == list(range(counts[rank])), (counts, accumulate)
            torch.testing.assert_close(weights, expected, rtol=0, atol=1e-12)
        assert found[0][index][0] == found[1][index][0]
        assert found[0][index][2] == found[1][index][2] == -(-max(counts) // accumulate)


def test_where_each_forward_waits_for_all_a_rank_without_data_goes_through_it():
    cells = [((3, 5), 1, 1, "fsdp"), ((4, 1), 1, 1, "fsdp"), ((3, 5), 2, 1, "fsdp")]
    found = run_ranks(_fit_all, 2, cells)
    for index, (counts, accumulate, *_) in enumerate(cells):
        expected = oracle(counts, accumulate)
        for rank in range(2):
            weights, seen, _ = found[rank][index]
            assert seen == list(range(counts[rank])), (counts, accumulate)
            torch.testing.assert_close(weights, expected, rtol=0, atol=1e-12)


def test_without_any_data_such_a_rank_says_so():
    ended = outcomes_of_ranks(_fit, 2, (0, 2), 1, 1, "fsdp")
    assert not any(ok for ok, _, _ in ended)
    assert "Rank 0 has no training data at all" in ended[0][2]


def test_three_ranks_with_a_sized_loader_of_another_length_each():
    found = run_ranks(_fit_sized, 3)
    expected = oracle((2, 4, 1), 1)
    for weights in found:
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-12)


def _fit_sized():
    rank = int(os.environ["RANK"])
    module = Line()
    batches = [batch_of(rank, i) for i in range((2, 4, 1)[rank])]
    trainer = pl.Trainer(devices=3, strategy="ddp", max_epochs=1, **QUIET)
    trainer.fit(module, batches)
    return [p.detach().tolist() for p in module.parameters()]


@pytest.mark.parametrize("epochs", [3])
def test_the_next_epoch_begins_for_all(epochs):
    found = run_ranks(_fit, 2, (2, 3), 1, epochs)
    assert found[0][0] == found[1][0]
    assert found[0][2] == found[1][2] == 3 * epochs


class Manual(Line):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.seen.append(batch_idx)
        self.optimizers().zero_grad()
        self.manual_backward(self.layer(batch).pow(2).mean())
        self.optimizers().step()


def _fit_by_hand(cells):
    rank, found = int(os.environ["RANK"]), []
    for counts in cells:
        module = Manual()
        batches = [batch_of(rank, i) for i in range(counts[rank])]
        trainer = pl.Trainer(devices=2, strategy="ddp", max_epochs=1, **QUIET)
        trainer.fit(module, DataLoader(Stream(batches), batch_size=None))
        found.append((module.seen, [p.detach().tolist() for p in module.parameters()]))
    return found


def test_manual_optimization_ends_with_the_first_rank_that_has_no_more():
    cells = [(3, 5), (0, 3), (2, 2)]
    first, second = run_ranks(_fit_by_hand, 2, cells)
    for counts, one, other in zip(cells, first, second, strict=True):
        assert one == other
        assert one[0] == list(range(min(counts)))
