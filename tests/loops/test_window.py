"""`training_step` returns `(loss_sum, weight)`: the gradient is that of the one big batch."""

import pytest
import torch
from tests.loops.weighted_runs import (
    LENGTHS,
    Tokens,
    network,
    one_big_batch,
    sequence,
    train,
    weights_of,
)

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException


@pytest.mark.parametrize("pieces", [1, 3, 4, 12])
@pytest.mark.parametrize("spelling", ["pair", "tensor", "dict"])
def test_weights_equal_those_of_one_big_batch(pieces, spelling):
    module = Tokens(spelling)
    trainer = train(module, range(12), pieces, steps=4)
    assert trainer.global_step == 4
    for found, expected in zip(weights_of(module), one_big_batch(4), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_the_output_holds_the_mean_of_the_batch():
    module = Tokens("dict")
    train(module, range(12), 12, steps=1)
    layers = network()
    first = layers(sequence(0)).pow(2).mean()
    assert module.outputs[0]["more"] == 0
    torch.testing.assert_close(module.outputs[0]["loss"], first.detach())


def test_a_window_that_ends_early_is_divided_by_what_it_held():
    """Five batches with windows of three: the second window holds two."""
    module = Tokens()
    order = list(range(5))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, [[sequence(i)] for i in order])
    layers = network()
    stepper = torch.optim.SGD(layers.parameters(), lr=0.1)
    for window in (order[:3], order[3:]):
        tokens = sum(LENGTHS[i] for i in window)
        stepper.zero_grad()
        (sum(layers(sequence(i)).pow(2).sum() for i in window) / tokens).backward()
        stepper.step()
    for found, expected in zip(weights_of(module), layers.parameters(), strict=True):
        torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-12)


class Mean(Tokens):
    """The same in one batch and by hand: the mean over all tokens of a step."""

    def training_step(self, batch, batch_idx):
        loss_sum, count = super().training_step(batch, batch_idx)
        return loss_sum / count


def _in_precision(kind, precision, pieces):
    module = kind(lr=0.05).float()
    batches = []
    for step in range(6):
        tokens = [sequence(i, step).float() for i in range(12)]
        size = 12 // pieces
        batches += [tokens[start : start + size] for start in range(0, 12, size)]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        precision=precision,
        accumulate_grad_batches=pieces,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches)
    return weights_of(module), trainer.scaler.get_scale() if trainer.scaler is not None else None


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("pieces", [1, 4])
def test_mixed_precision_equals_the_mean_and_overflows_no_more(precision, pieces):
    found, scale = _in_precision(Tokens, precision, pieces)
    expected, scale_of_mean = _in_precision(Mean, precision, 1)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-2)
    assert scale == scale_of_mean  # as many steps were skipped


class Empty(Tokens):
    """Every second batch holds nothing that counts."""

    def training_step(self, batch, batch_idx):
        loss_sum, count = super().training_step(batch, batch_idx)
        return (loss_sum * float("nan"), 0) if batch_idx % 2 else (loss_sum, count)


def test_a_weight_of_zero_skips_the_step_and_the_scheduler():
    class Scheduled(Empty):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, weight_decay=0.1)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    module = Scheduled()
    trainer = train(module, range(12), 1, steps=4, clip=None)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.1 * 0.5**2
    assert all(torch.isfinite(p).all() for p in module.parameters())


def _fit(step, accumulate=1):
    class Returns(Tokens):
        def training_step(self, batch, batch_idx):
            loss_sum, count = super().training_step(batch, batch_idx)
            return step(loss_sum, count, batch_idx)

    train(Returns(), range(12), accumulate, steps=2)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda loss, n, i: (loss, -1), "weight -1"),
        (lambda loss, n, i: (loss, "3"), "weight '3'"),
        (lambda loss, n, i: (loss, True), "weight True"),
        (lambda loss, n, i: (1.0, n), "must be a tensor"),
        (lambda loss, n, i: (loss, n, n), "tuple"),
        (lambda loss, n, i: {"loss_sum": loss}, "without 'weight'"),
        (lambda loss, n, i: (loss, n) if i == 0 else loss / n, "plain loss after weighted"),
    ],
)
def test_what_is_no_weighted_loss_says_so(step, said):
    with pytest.raises(MisconfigurationException, match=said):
        _fit(step)


def test_a_plain_loss_before_a_weighted_one_in_a_window_says_so():
    with pytest.raises(MisconfigurationException, match="same accumulation window"):
        _fit(lambda loss, n, i: (loss, n) if i else loss / n, accumulate=4)
