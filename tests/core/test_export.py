"""A module without its trainer: ONNX, TorchScript, torch.export, TensorRT."""

import io

import pytest
import torch
from tests.loops.logging_runs import fitted, numbers
from torch import nn

import pytorch_lightning as pl

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Net(pl.LightningModule):
    """A layer, dropout, and hyperparameters."""

    def __init__(self, width=3):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(1, width)
        self.dropout = nn.Dropout(0.5)
        self.example_input_array = torch.ones(2, 1)

    def forward(self, x):
        return self.dropout(self.layer(x))

    def training_step(self, batch, batch_idx):
        loss = self(batch).sum()
        self.log("x", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(params=["new", "trained"])
def net(request):
    module = Net()
    if request.param == "trained":
        fitted(module, numbers(4))
    return module


def expected(net, x):
    return nn.functional.linear(x, net.layer.weight, net.layer.bias)


@pytest.mark.parametrize("method", ["script", "trace"])
def test_torchscript(net, method, tmp_path):
    x, was = torch.ones(2, 1), net.dropout.training
    compiled = net.to_torchscript(tmp_path / "net.pt", method=method)
    assert isinstance(compiled, torch.jit.ScriptModule)
    for found in (compiled, torch.jit.load(tmp_path / "net.pt")):
        assert torch.allclose(found(x), expected(net, x))  # without dropout
    assert net.dropout.training == was
    if net._trainer is not None:
        assert net.trainer is not None


def test_torchscript_without_a_path_and_with_other_inputs(net):
    net.example_input_array = None
    compiled = net.to_torchscript(method="trace", example_inputs=torch.ones(4, 1))
    assert compiled(torch.ones(1, 1)).shape == (1, 3)


def test_torchscript_mistakes():
    net = Net()
    with pytest.raises(ValueError, match="'script' or 'trace'"):
        net.to_torchscript(method="compile")
    net.example_input_array = None
    with pytest.raises(ValueError, match="example_input_array"):
        net.to_torchscript(method="trace")


def test_torchscript_of_a_module_with_another_inside():
    class Outer(Net):
        def __init__(self):
            super().__init__()
            self.inner = Net(1)

        def forward(self, x):
            return self.layer(self.inner(x))

    module = Outer()
    fitted(module, numbers(4))
    assert module.to_torchscript()(torch.ones(2, 1)).shape == (2, 3)


def test_torch_export(net):
    net.eval()
    program = torch.export.export(net, (torch.ones(2, 1),))
    assert torch.allclose(program.module()(torch.ones(2, 1)), expected(net, torch.ones(2, 1)))


def test_onnx(net, tmp_path):
    onnx = pytest.importorskip("onnx")
    net.to_onnx(tmp_path / "net.onnx", torch.ones(2, 1), dynamo=False)
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"))


def test_onnx_takes_the_example_and_a_buffer():
    onnx = pytest.importorskip("onnx")
    file = io.BytesIO()
    Net().to_onnx(file, dynamo=False, input_names=["x"])
    model = onnx.load_from_string(file.getvalue())
    assert [value.name for value in model.graph.input] == ["x"]


def test_onnx_program():
    pytest.importorskip("onnxscript")
    program = Net().to_onnx(dynamo=True)
    assert program.model_proto.graph.output


@pytest.mark.parametrize(
    "example", [(torch.ones(2, 1), 2.0), {"x": torch.ones(2, 1), "times": 2.0}]
)
def test_onnx_with_several_inputs(example, tmp_path):
    pytest.importorskip("onnxscript")

    class Several(Net):
        def forward(self, x, times):
            return self.layer(x) * times

    net = Several()
    net.example_input_array = example
    net.to_onnx(tmp_path / "net.onnx", dynamo=True)
    assert (tmp_path / "net.onnx").stat().st_size > 0


def test_onnx_mistakes(tmp_path):
    net = Net()
    with pytest.raises(ValueError, match="dynamo=True"):
        net.to_onnx()
    net.example_input_array = None
    with pytest.raises(ValueError, match="example_input_array"):
        net.to_onnx(tmp_path / "net.onnx")


def test_tensorrt_says_what_is_missing():
    with pytest.raises(ModuleNotFoundError, match="torch_tensorrt"):
        Net().to_tensorrt()
