import pytest
import torch
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.precision import MixedPrecision, Precision
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def _scaled(scale=1024.0, **options):
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, **options)
    return MixedPrecision("16-mixed", "cpu", scaler)


def _backward(precision, loss):
    precision.backward(precision.pre_backward(loss, None), None, None)


def test_bf16_computes_in_bf16_and_keeps_parameters():
    precision, module = MixedPrecision("bf16-mixed", "cpu"), nn.Linear(2, 2)
    with precision.forward_context():
        output = module(torch.ones(1, 2))
    assert output.dtype is torch.bfloat16
    assert module.weight.dtype is torch.float32
    assert precision.convert_output([output])[0].dtype is torch.float32
    assert precision.scaler is None
    assert precision.state_dict() == {}


def test_16_has_a_scaler_on_the_cpu_too():
    precision = MixedPrecision("16-mixed", "cpu")
    with precision.forward_context():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype is torch.float16
    assert precision.scaler is not None


def test_gradients_are_unscaled_once_before_they_are_clipped():
    precision = _scaled()
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    seen = []

    def closure():
        loss = (weight * torch.tensor([3.0, 4.0])).sum()
        _backward(precision, loss)
        precision.unscale_gradients(optimizer)
        precision.unscale_gradients(optimizer)
        seen.append(weight.grad.tolist())
        precision.clip_gradients(optimizer, 1.0)
        return loss

    precision.optimizer_step(optimizer, None, closure)
    assert seen == [[3.0, 4.0]]
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.6, -0.8]))


def test_the_same_bits_as_without_a_scaler():
    def train(precision):
        torch.manual_seed(1)
        module = nn.Linear(4, 1)
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            _backward(precision, module(torch.ones(2, 4)).sum())
            precision.optimizer_step(optimizer, None, None)
        return module.weight

    assert torch.equal(train(_scaled()), train(Precision()))


def test_an_overflow_skips_the_step_says_so_and_lowers_the_scale():
    precision = _scaled(scale=4.0)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    _backward(precision, (weight * float("inf")).sum())
    precision.optimizer_step(optimizer, None, None)
    assert precision.step_skipped
    assert weight.item() == 1.0
    optimizer.zero_grad()
    _backward(precision, weight.sum())
    precision.optimizer_step(optimizer, None, None)
    assert not precision.step_skipped
    assert weight.item() == 0.0
    assert precision.state_dict()["scale"] == 2.0


@pytest.mark.parametrize("fused", [False, True])
def test_fused_optimizers_skip_and_step_alike(fused):
    precision = _scaled(scale=4.0)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0, fused=fused)
    for factor, skipped, expected in [(float("nan"), True, 1.0), (1.0, False, 0.0)]:
        optimizer.zero_grad()
        _backward(precision, (weight * factor).sum())
        precision.optimizer_step(optimizer, None, None)
        assert precision.step_skipped is skipped
        assert weight.item() == expected


def test_two_optimizers_after_one_backward_both_get_true_gradients():
    precision = _scaled(growth_interval=1)
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizers = [torch.optim.SGD([p], lr=1.0) for p in (first, second)]
    precision.connect(nn.Module(), optimizers, [])
    _backward(precision, (first + 2 * second).sum())
    for optimizer in optimizers:
        precision.optimizer_step(optimizer, None, None)
    assert (first.item(), second.item()) == (-1.0, -2.0)


def test_gradients_that_wait_for_another_step_follow_the_scale():
    precision = _scaled(growth_interval=1)
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizers = [torch.optim.SGD([p], lr=1.0) for p in (first, second)]
    precision.connect(nn.Module(), optimizers, [])
    _backward(precision, second.sum())
    for _ in range(2):  # each step of the first one doubles the scale
        optimizers[0].zero_grad()
        _backward(precision, first.sum())
        precision.optimizer_step(optimizers[0], None, None)
    _backward(precision, second.sum())
    precision.optimizer_step(optimizers[1], None, None)
    assert second.item() == -2.0


def test_a_step_without_gradients_does_nothing():
    precision = _scaled()
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    assert precision.optimizer_step(optimizer, None, lambda: None) is None
    assert weight.item() == 1.0
    assert not precision.step_skipped


def test_the_scale_is_saved_and_taken_up():
    precision = _scaled(scale=8.0, growth_interval=1)
    weight = nn.Parameter(torch.ones(1))
    _backward(precision, weight.sum())
    precision.optimizer_step(torch.optim.SGD([weight], lr=1.0), None, None)
    other = _scaled()
    other.load_state_dict(precision.state_dict())
    assert other.state_dict()["scale"] == 16.0


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="'32-true'"):
        MixedPrecision("32-true", "cpu")
    with pytest.raises(MisconfigurationException, match="scaler"):
        MixedPrecision("bf16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    with pytest.raises(MisconfigurationException, match="LBFGS"):
        _scaled().optimizer_step(torch.optim.LBFGS([nn.Parameter(torch.ones(1))]), None, None)


def test_saving_while_an_optimizer_is_about_to_step_changes_nothing():
    precision = _scaled(growth_interval=1)
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    first, second = (torch.optim.SGD([w], lr=1.0) for w in weights)
    precision.connect(nn.Module(), [first, second], [])
    _backward(precision, (weights[0] + weights[1]).sum())
    precision.optimizer_step(first, None, None)
    precision.unscale_gradients(second)
    precision.state_dict()
    precision.optimizer_step(second, None, None)
    assert [w.item() for w in weights] == [-1.0, -1.0]
    assert precision.state_dict()["scale"] == 2048.0


class _HomeMade:
    """Steps like an optimizer of torch, without being one."""

    def __init__(self, weight):
        self.param_groups = [{"params": [weight]}]

    def step(self):
        with torch.no_grad():
            for weight in self.param_groups[0]["params"]:
                weight -= weight.grad


@pytest.mark.parametrize(("factor", "skipped"), [(1.0, False), (float("inf"), True)])
def test_an_optimizer_that_torch_does_not_know_is_skipped_alike(factor, skipped):
    precision, weight = _scaled(), nn.Parameter(torch.ones(1))
    _backward(precision, (weight * factor).sum())
    precision.optimizer_step(_HomeMade(weight), None, None)
    assert precision.step_skipped is skipped
    assert weight.item() == (1.0 if skipped else 0.0)


def test_a_window_that_held_nothing_leaves_the_next_gradients_scaled_right():
    class Weighted(pl.LightningModule):
        def __init__(self, empty):
            super().__init__()
            self.layer, self.empty = nn.Linear(2, 1), empty
            nn.init.constant_(self.layer.weight, 0.5)
            nn.init.zeros_(self.layer.bias)

        def training_step(self, batch, batch_idx):
            loss = self.layer(batch).square().sum()
            return (loss * 0, 0) if batch_idx in self.empty else (loss, 4)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    def weight_after(batches, empty):
        module = Weighted(empty)
        silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        scaler = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))
        trainer = pl.Trainer(max_epochs=1, enable_model_summary=False, plugins=scaler, **silent)
        trainer.fit(module, [torch.ones(4, 2)] * batches)
        return module.layer.weight.detach()

    assert torch.equal(weight_after(3, {1}), weight_after(2, ()))
