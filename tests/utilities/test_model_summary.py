import math
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from pytorch_lightning.utilities.model_summary import (
    DeepSpeedSummary,
    ModelSummary,
    get_formatted_model_size,
    get_human_readable_count,
    parse_batch_shape,
    summarize,
)
from pytorch_lightning.utilities.model_summary.model_summary import UNKNOWN_SIZE, warning_cache


class Net(nn.Module):
    def __init__(self, example=None):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
        self.shared = self.layer[0]
        self.bn = nn.BatchNorm1d(2).eval()
        self.scale = nn.Parameter(torch.zeros(3, 3))
        self.loss = nn.MSELoss()
        self.layer[0].weight.requires_grad_(False)
        self.example_input_array = example

    def forward(self, x):
        return self.bn(self.layer(x))


TABLE = """\
  | Name         | Type        | Params | Mode  | In sizes | Out sizes
----------------------------------------------------------------------------
0 | layer        | Sequential  | 562    | train | [4, 32]  | [4, 2]   \n\
1 | shared       | Linear      | 528    | train | [4, 32]  | [4, 16]  \n\
2 | bn           | BatchNorm1d | 4      | eval  | [4, 2]   | [4, 2]   \n\
3 | loss         | MSELoss     | 0      | train | ?        | ?        \n\
  | other params | n/a         | 9      | n/a   | n/a      | n/a      \n\
----------------------------------------------------------------------------
63        Trainable params
512       Non-trainable params
575       Total params
0.002     Total estimated model params size (MB), 2.3 KB
5         Modules in train mode
1         Modules in eval mode"""


def test_the_table_as_users_know_it():
    assert str(ModelSummary(Net(torch.zeros(4, 32)))) == TABLE
    assert repr(summarize(Net(torch.zeros(4, 32)))) == TABLE


def test_numbers_are_attributes():
    summary = summarize(Net(), max_depth=1)
    assert summary.layer_names == ["layer", "shared", "bn", "loss"]
    assert summary.layer_types == ["Sequential", "Linear", "BatchNorm1d", "MSELoss"]
    assert summary.param_nums == [562, 528, 4, 0]
    assert summary.in_sizes == summary.out_sizes == [UNKNOWN_SIZE] * 4
    assert summary.training_modes == [True, True, False, True]
    assert (summary.total_parameters, summary.trainable_parameters) == (575, 63)
    assert summary.total_layer_params == 566
    assert summary.model_size == pytest.approx(575 * 4 / 1e6)
    assert summary.total_training_modes == {"train": 5, "eval": 1}


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (0, []),
        (1, ["layer", "shared", "bn", "loss"]),
        (2, ["layer", "layer.0", "layer.1", "layer.2", "bn", "loss"]),
        (-1, ["layer", "layer.0", "layer.1", "layer.2", "bn", "loss"]),
    ],
)
def test_depth(depth, names):
    summary = ModelSummary(Net(), max_depth=depth)
    assert summary.layer_names == names
    assert summary.total_parameters == 575


@pytest.mark.parametrize("depth", [-2, "full", 1.5, None])
def test_a_depth_that_means_nothing_is_refused(depth):
    with pytest.raises(ValueError, match=f"can be -1, 0 or > 0, got {depth}"):
        ModelSummary(Net(), max_depth=depth)


def test_shared_parameters_count_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    summary = ModelSummary(model)
    assert summary.param_nums == [20, 20]
    assert summary.total_parameters == summary.total_layer_params == 24
    assert "other params" not in str(summary)


def test_sizes_are_those_of_the_real_types():
    assert ModelSummary(nn.Linear(10, 9).half()).model_size == pytest.approx(198 / 1e6)
    assert "99        Total params" in str(ModelSummary(nn.Linear(10, 9)))


def test_lazy_layers_have_no_size_until_they_are_used():
    class Lazy(nn.Module):
        def __init__(self, example=None):
            super().__init__()
            self.layer, self.other = nn.LazyLinear(5), nn.Linear(1, 1)
            self.example_input_array = example

        def forward(self, x):
            return self.layer(x)

    warning_cache.clear()
    with pytest.warns(UserWarning, match="Some layers are lazy"):
        summary = ModelSummary(Lazy())
    assert "0 | layer | LazyLinear | ?      | train" in str(summary)
    assert summary.total_parameters == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ModelSummary(Lazy(torch.zeros(2, 3))).param_nums == [20, 2]


def test_the_forward_pass_leaves_no_trace():
    class Dropping(Net):
        def forward(self, x):
            assert not self.training
            assert not torch.is_grad_enabled()
            return super().forward(x) + torch.randn(1)

    model = Dropping(torch.zeros(4, 32))
    modes = [module.training for module in model.modules()]
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    summary = ModelSummary(model)
    assert torch.equal(torch.rand(1), expected)
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert summary.in_sizes[0] == [4, 32]


def test_an_example_that_does_not_fit_leaves_the_model_as_it_was():
    model = Net(torch.zeros(4, 7))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        ModelSummary(model)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    "example",
    [
        (torch.zeros(1, 3), torch.zeros(2)),
        [torch.zeros(1, 3), torch.zeros(2)],
        {"x": torch.zeros(1, 3), "y": torch.zeros(2)},
    ],
)
def test_examples_of_several_arguments(example):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(3, 2)
            self.example_input_array = example

        def forward(self, x, y):
            return self.cell(x), y

    summary = ModelSummary(Two())
    assert summary.in_sizes == [[1, 3]]
    assert summary.out_sizes == [[[1, 2], [[1, 2], [1, 2]]]]


def test_the_first_call_of_a_layer_is_shown():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.example_input_array = torch.zeros(1, 3)

        def forward(self, x):
            return self.layer(self.layer(x).repeat(5, 1))

    assert ModelSummary(Twice()).in_sizes == [[1, 3]]


def test_operations_are_counted_on_request():
    summary = ModelSummary(Net(torch.zeros(4, 32)), max_depth=2, flops=True)
    first, last = 2 * 4 * 32 * 16, 2 * 4 * 16 * 2
    assert summary.total_flops == first + last
    assert summary.flop_counts["layer"] == first + last
    assert summary.flop_counts["layer.2"] == last
    assert "4.4 K     Total Flops" in str(summary)
    assert "| FLOPs |" in str(summary)


def test_no_compiler_is_loaded_unasked():
    program = (
        "import sys, torch; from pytorch_lightning.utilities.model_summary import ModelSummary; "
        "model = torch.nn.Linear(2, 2); model.example_input_array = torch.zeros(1, 2); "
        "str(ModelSummary(model)); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_empty_model_has_a_table_without_rows():
    text = str(ModelSummary(nn.Module()))
    assert text.startswith("  | Name | Type | Params | Mode\n")
    assert "0         Total params" in text


def test_scripted_layers_are_shown_without_shapes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.Linear(2, 2))
    model = nn.Sequential(scripted)
    model.example_input_array = torch.zeros(1, 2)
    assert ModelSummary(model).in_sizes == [UNKNOWN_SIZE]


def test_deepspeed_counts_what_is_elsewhere():
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    weight = model[0].weight
    weight.ds_numel, weight.ds_tensor = 160, torch.zeros(40)
    summary = DeepSpeedSummary(model)
    assert (summary.total_parameters, summary.param_nums) == (160, [160])
    assert summary.parameters_per_layer == [40]
    assert "| Params | Params per Device | Mode" in str(summary)


def test_formats():
    counts = [0, 999, 1000, 12345, 1e6, 2e9, 3e14, 5e15]
    assert [get_human_readable_count(n).strip() for n in counts] == [
        "0",
        "999",
        "1.0 K",
        "12.3 K",
        "1.0 M",
        "2.0 B",
        "300 T",
        "5,000 T",
    ]
    with pytest.raises(ValueError, match="not negative"):
        get_human_readable_count(-1)
    assert get_formatted_model_size(math.pi * 1000) == "3,141.593"
    assert parse_batch_shape([torch.zeros(1), (torch.zeros(2, 3), None)]) == [[1], [[2, 3], "?"]]
