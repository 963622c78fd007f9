import pytest
import torch
from torch import nn

from pytorch_lightning.precision import DoublePrecision, HalfPrecision


def test_double_makes_module_inputs_and_new_tensors_float64():
    precision = DoublePrecision()
    module = precision.convert_module(nn.Linear(2, 2))
    batch = precision.convert_input({"x": torch.ones(2), "index": torch.tensor([1])})
    assert module.weight.dtype is torch.float64
    assert batch["x"].dtype is torch.float64
    assert batch["index"].dtype is torch.int64
    with precision.train_step_context():
        assert torch.zeros(1).dtype is torch.float64
    assert torch.get_default_dtype() is torch.float32


def test_the_context_can_be_entered_again_inside_itself():
    precision = DoublePrecision()
    with precision.forward_context():
        with precision.tensor_init_context():
            pass
        assert torch.get_default_dtype() is torch.float64
    assert torch.get_default_dtype() is torch.float32


def test_an_error_inside_leaves_the_default_type_as_it_was():
    with pytest.raises(RuntimeError, match="inside"), DoublePrecision().forward_context():
        raise RuntimeError("inside")
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize(
    ("name", "dtype"), [("bf16-true", torch.bfloat16), ("16-true", torch.half)]
)
def test_half_makes_everything_16_bits_and_results_32(name, dtype):
    precision = HalfPrecision(name)
    module = precision.convert_module(nn.Linear(2, 2))
    (x,) = precision.convert_input((torch.ones(1, 2),))
    with precision.forward_context():
        made = torch.ones(1)
        output = module(x)
    assert {module.weight.dtype, x.dtype, made.dtype, output.dtype} == {dtype}
    assert precision.convert_output(output).dtype is torch.float32


def test_half_refuses_other_names():
    with pytest.raises(ValueError, match="'16-mixed'"):
        HalfPrecision("16-mixed")
