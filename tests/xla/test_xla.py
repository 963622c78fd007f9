"""Training on the XLA runtime, here on the CPU; `make test-xla` runs it.

A pass is evidence about the path of the program, not about a TPU.
"""

import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

pytestmark = pytest.mark.xla
torch_xla = pytest.importorskip("torch_xla")
os.environ.setdefault("PJRT_DEVICE", "CPU")
torch_xla.device()  # before the first backward, which counts the devices

from pytorch_lightning import Fabric, LightningModule, Trainer  # noqa: E402
from pytorch_lightning.accelerators import XLAAccelerator  # noqa: E402
from pytorch_lightning.plugins import XLACheckpointIO, XLAPrecision  # noqa: E402
from pytorch_lightning.plugins.environments import XLAEnvironment  # noqa: E402
from pytorch_lightning.strategies import SingleDeviceXLAStrategy, XLAStrategy  # noqa: E402
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # noqa: E402

DATA = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
STRATEGIES = ("auto", "single_xla", "xla")


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.places, self.losses = set(), []

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))

    def training_step(self, batch, batch_idx):
        self.places.add(batch.device.type)
        loss = self(batch).float().pow(2).mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self(batch).float().pow(2).mean())

    def predict_step(self, batch, batch_idx):
        return self(batch)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def loader():
    return DataLoader(DATA, batch_size=4)


def trainer(**options):
    return Trainer(
        **{
            "accelerator": "tpu",
            "devices": 1,
            "max_epochs": 2,
            "gradient_clip_val": 0.5,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        }
    )


def fitted(ckpt_path=None, **options):
    model, run = Model(), trainer(**options)
    run.fit(model, loader(), loader(), ckpt_path=ckpt_path)
    return model, run


def assert_close(first, second):
    for name, value in second.state_dict().items():
        torch.testing.assert_close(first.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_the_cpu_runtime_is_an_accelerator_when_it_was_asked_for():
    assert XLAAccelerator.is_available()
    assert trainer(accelerator="auto").accelerator.name() == "tpu"
    assert XLAAccelerator.parse_devices("auto") == XLAAccelerator.parse_devices("1") == 1
    assert XLAAccelerator.get_parallel_devices([0]) == [torch.device("xla", 0)]
    with pytest.raises(MisconfigurationException, match="1 XLA device"):
        trainer(devices=3)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_gives_the_weights_of_the_cpu(strategy, accumulate):
    cpu, _ = fitted(accelerator="cpu", accumulate_grad_batches=accumulate)
    xla, run = fitted(strategy=strategy, accumulate_grad_batches=accumulate)
    assert xla.places == {"xla"} and cpu.places == {"cpu"}
    assert next(xla.parameters()).device.type == "cpu"  # it has come home
    assert xla.second.weight is xla.first.weight
    assert_close(xla, cpu)
    (expected,) = trainer(accelerator="cpu").validate(cpu, loader(), verbose=False)
    (found,) = run.validate(xla, loader(), verbose=False)
    assert found["val"] == pytest.approx(expected["val"], rel=1e-5)
    predicted = torch.cat(run.predict(xla, loader()))
    assert predicted.device.type == "cpu"
    torch.testing.assert_close(predicted, cpu(DATA), rtol=1e-4, atol=1e-5)


def test_kinds_of_parts():
    one, many = trainer(), trainer(strategy="xla")
    assert type(one.strategy) is SingleDeviceXLAStrategy and type(many.strategy) is XLAStrategy
    assert isinstance(many.strategy.cluster_environment, XLAEnvironment)
    for run in (one, many):
        assert type(run.precision_plugin) is XLAPrecision
        assert type(run.strategy.checkpoint_io) is XLACheckpointIO
    assert (many.world_size, many.global_rank, many.is_global_zero) == (1, 0, True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_checkpoint_is_a_file_for_any_machine_and_goes_on(strategy):
    whole, _ = fitted(strategy=strategy)
    _, run = fitted(strategy=strategy, max_epochs=1)
    path = run.checkpoint_callback.best_model_path
    saved = torch.load(path, weights_only=True)
    assert {value.device.type for value in saved["state_dict"].values()} == {"cpu"}
    assert Path(path).is_file()
    resumed, run = fitted(path, strategy=strategy)
    assert run.global_step == 10
    assert_close(resumed, whole)
    elsewhere, _ = fitted(path, accelerator="cpu")
    assert_close(elsewhere, whole)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_16_bits(precision):
    model, run = fitted(precision=precision)
    assert run.precision_plugin.precision == precision
    assert model.losses[-1] < model.losses[0]
    expected = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert model.first.weight.dtype == expected


@pytest.mark.parametrize("precision", ["16-mixed", "64-true"])
def test_precisions_that_xla_lacks_are_refused(precision):
    with pytest.raises(MisconfigurationException, match="on XLA devices pass"):
        trainer(precision=precision)


def test_manual_optimization():
    class Manual(Model):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return loss

    model, cpu = Manual(), Manual()
    trainer(gradient_clip_val=None).fit(model, loader())
    trainer(gradient_clip_val=None, accelerator="cpu").fit(cpu, loader())
    assert_close(model, cpu)


def test_collectives_of_one_process():
    strategy = trainer(strategy="xla").strategy
    strategy.setup_environment()
    tensor = torch.tensor([1.0, 2.0])
    assert strategy.broadcast({"a": 1}) == {"a": 1}
    assert strategy.gather_objects("b") == ["b"]
    assert strategy.reduce_boolean_decision(True) is True
    assert strategy.all_gather(tensor).tolist() == [[1.0, 2.0]]
    assert strategy.reduce(tensor, reduce_op="sum").tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="'sum' or 'mean'"):
        strategy.reduce(tensor, reduce_op="max")


def by_hand(accelerator):
    fabric = Fabric(accelerator=accelerator, devices=1)
    fabric.launch()
    torch.manual_seed(2)
    layer = nn.Linear(4, 1)
    model, optimizer = fabric.setup(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    for batch in fabric.setup_dataloaders(loader()):
        assert batch.device.type == fabric.device.type
        optimizer.zero_grad()
        fabric.backward(model(batch).pow(2).mean())
        optimizer.step()
    return layer.weight.detach().cpu()


def test_a_hand_written_loop():
    torch.testing.assert_close(by_hand("tpu"), by_hand("cpu"))
