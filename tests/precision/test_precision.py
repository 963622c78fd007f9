import pytest
import torch
from torch import nn

from pytorch_lightning.precision import Precision
from pytorch_lightning.utilities.plain_mark import is_plain


def _with_gradients(*values):
    parameter = nn.Parameter(torch.zeros(len(values)))
    parameter.grad = torch.tensor(values)
    return parameter, torch.optim.SGD([parameter], lr=1.0)


def test_32_bits_change_nothing():
    precision, module, batch = Precision(), nn.Linear(2, 2), {"x": torch.ones(2)}
    assert precision.precision == "32-true"
    assert precision.convert_module(module) is module
    assert precision.convert_input(batch) is batch
    assert precision.convert_output(batch) is batch
    assert precision.connect(module, [], []) == (module, [], [])
    assert precision.state_dict() == {}


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_step_contexts_enter_what_forward_context_gives(stage):
    class Counting(Precision):
        entered = 0

        def forward_context(self):
            Counting.entered += 1
            return super().forward_context()

    with getattr(Counting(), f"{stage}_step_context")():
        pass
    assert Counting.entered == 1


def test_backward_goes_through_the_hook_of_the_module():
    class Doubling(nn.Module):
        def backward(self, loss, *args, **kwargs):
            (2 * loss).backward(*args, **kwargs)

    weight = nn.Parameter(torch.ones(()))
    Precision().backward(weight * 3, Doubling(), None)
    assert weight.grad.item() == 6
    Precision().backward(weight * 3, None, None)
    assert weight.grad.item() == 9


def test_optimizer_step_returns_what_the_closure_returned():
    parameter, optimizer = _with_gradients(1.0)
    assert Precision().optimizer_step(optimizer, None, lambda: "result") == "result"
    assert parameter.item() == -1


def test_clipping_by_norm_and_by_value():
    parameter, optimizer = _with_gradients(3.0, 4.0)
    Precision().clip_gradients(optimizer, 1.0)
    assert parameter.grad.norm().item() == pytest.approx(1.0, abs=1e-5)
    parameter, optimizer = _with_gradients(3.0, -4.0)
    Precision().clip_gradients(optimizer, 2.0, gradient_clip_algorithm="value")
    assert parameter.grad.tolist() == [2.0, -2.0]


def test_clip_value_zero_means_no_clipping():
    parameter, optimizer = _with_gradients(3.0, 4.0)
    Precision().clip_gradients(optimizer)
    assert parameter.grad.tolist() == [3.0, 4.0]


def test_clipping_goes_through_main_params_of_a_subclass():
    first, optimizer = _with_gradients(3.0, 4.0)
    second, _ = _with_gradients(6.0, 8.0)

    class OnlySecond(Precision):
        def main_params(self, optimizer):
            yield second

    OnlySecond().clip_gradients(optimizer, 1.0)
    assert first.grad.tolist() == [3.0, 4.0]
    assert second.grad.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_an_override_carries_no_mark():
    class Mine(Precision):
        def forward_context(self):
            return super().forward_context()

    assert is_plain(Precision(), "forward_context", "backward", "unscale_gradients")
    assert is_plain(Mine(), "backward")
    assert not is_plain(Mine(), "backward", "forward_context")
