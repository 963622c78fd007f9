"""What a gradient scaler skips and scales, in the loops of a trainer."""

import pytest
import torch

from pytorch_lightning import Trainer
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.plugins import MixedPrecision, Precision

OVERFLOWS = float("inf")


def scaled(scale=16.0):
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))


class Model(BoringModel):
    """Batch by batch, a factor of the loss; infinity makes gradients that are not finite."""

    def __init__(self, factors):
        super().__init__()
        self.factors = factors
        self.rates, self.weights = [], []

    def training_step(self, batch, batch_idx):
        return self(batch).float().mean() * self.factors[batch_idx]

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.weights.append(self.layer.weight.detach().clone())


class Manual(Model):
    def __init__(self, factors):
        super().__init__(factors)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR)
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()
        scheduler.step()


class AtTheEnd(Manual):
    """Its schedule is one of epochs, stepped by hand behind the last batch."""

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(Model.training_step(self, batch, batch_idx))
        optimizer.step()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()


def run(model, precision=None, **options):
    trainer = Trainer(
        plugins=precision or scaled(),
        max_epochs=1,
        limit_train_batches=len(model.factors),
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model)
    return trainer


@pytest.mark.parametrize("kind", [Model, Manual], ids=["automatic", "manual"])
def test_a_step_that_is_skipped_holds_its_scheduler_back(kind):
    model = kind([1.0, OVERFLOWS, 1.0, OVERFLOWS])
    before = model.layer.weight.detach().clone()
    trainer = run(model)
    assert model.rates == [0.5, 0.5, 0.25, 0.25]
    moved = [
        not torch.equal(a, b)
        for a, b in zip([before, *model.weights[:-1]], model.weights, strict=True)
    ]
    assert moved == [True, False, True, False]
    assert all(weight.isfinite().all() for weight in model.weights)
    assert trainer.global_step == 4


def test_a_schedule_of_epochs_by_hand_does_not_wait_for_the_last_batch():
    model = AtTheEnd([1.0, 1.0, OVERFLOWS])
    run(model)
    assert model.rates == [1.0, 1.0, 0.5]
    model = AtTheEnd([OVERFLOWS, OVERFLOWS])
    run(model)
    assert model.rates == [1.0, 1.0]


@pytest.mark.parametrize("kind", [Model, Manual], ids=["automatic", "manual"])
def test_the_scale_does_not_change_what_is_learned(kind):
    weights = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(1)
        model = kind([1.0, 2.0, 3.0])
        run(model, scaled(scale))
        weights.append(model.layer.weight.detach())
    assert torch.equal(*weights)


class Clipping(Manual):
    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(Model.training_step(self, batch, batch_idx))
        self.clip_gradients(optimizer, 0.01, "norm")
        self.norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters()])
        optimizer.step()


class Automatic(Model):
    def configure_gradient_clipping(self, optimizer, gradient_clip_val, gradient_clip_algorithm):
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        self.norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters()])


@pytest.mark.parametrize("kind", [Automatic, Clipping], ids=["automatic", "manual"])
def test_gradients_are_clipped_at_their_true_size(kind):
    torch.manual_seed(1)
    model = kind([1.0])
    before = model.layer.weight.detach().clone()
    clipping = {} if kind is Clipping else {"gradient_clip_val": 0.01}
    run(model, scaled(1024.0), **clipping)
    assert model.norm == pytest.approx(0.01, rel=1e-3)
    assert 0 < torch.linalg.norm(model.layer.weight - before) <= 0.0101


class Two(BoringModel):
    """Two optimizers by hand, of which one overflows on each second batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.other = torch.nn.Linear(32, 2)
        self.moves = []

    def configure_optimizers(self):
        optimizers = [torch.optim.SGD(m.parameters(), 1.0) for m in (self.layer, self.other)]
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in optimizers]

    def training_step(self, batch, batch_idx):
        factors = (1.0, OVERFLOWS if batch_idx % 2 else 1.0)
        modules = (self.layer, self.other)
        for module, factor, optimizer, scheduler in zip(
            modules, factors, self.optimizers(), self.lr_schedulers(), strict=True
        ):
            before = module.weight.detach().clone()
            optimizer.zero_grad()
            self.manual_backward(module(batch).float().mean() * factor)
            optimizer.step()
            scheduler.step()
            self.moves.append(not torch.equal(module.weight, before))


def test_each_optimizer_and_its_scheduler_are_skipped_alone():
    model = Two()
    model.factors = [1.0] * 4
    trainer = run(model)
    assert model.moves == [True, True, True, False, True, True, True, False]
    assert [o.param_groups[0]["lr"] for o in trainer.optimizers] == [0.0625, 0.25]


def test_the_scale_travels_in_a_checkpoint_under_the_name_of_the_class(tmp_path):
    model = Model([1.0, OVERFLOWS])
    trainer = run(model)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["MixedPrecision"]
    assert saved["scale"] == 8.0  # halved by the overflow
    again = scaled(4.0)
    trainer = run(Model([1.0]), again)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, ckpt_path=tmp_path / "a.ckpt")
    assert again.scaler.get_scale() == 8.0


def test_a_scale_is_left_alone_where_nobody_scales(tmp_path):
    trainer = run(Model([1.0]))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    plain = run(Model([1.0]), Precision())
    plain.fit_loop.max_epochs = 2
    plain.fit(Model([1.0]), ckpt_path=tmp_path / "a.ckpt")
    assert plain.current_epoch == 2
