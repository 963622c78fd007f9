"""Training under DeepSpeed on the CPU, in one process; `make test-extras` runs it."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import DeepSpeedStrategy
from pytorch_lightning.utilities.deepspeed import convert_zero_checkpoint_to_fp32_state_dict
from pytorch_lightning.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.extras
pytest.importorskip("deepspeed")

DATA = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.losses = []

    def training_step(self, batch, batch_idx):
        loss = self.net(batch).float().pow(2).mean()
        self.losses.append(loss.item())
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self.net(batch).float().pow(2).mean())

    def predict_step(self, batch, batch_idx):
        return self.net(batch)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def loader():
    return DataLoader(DATA, batch_size=4)


def trainer(strategy="auto", **options):
    return Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "strategy": strategy,
            "max_epochs": 1,
            "gradient_clip_val": 0.3,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        }
    )


def strategy_of(stage):
    return DeepSpeedStrategy(stage=stage) if stage else DeepSpeedStrategy(zero_optimization=False)


def weights_of(folder, tmp_path):
    made = convert_zero_checkpoint_to_fp32_state_dict(folder, tmp_path / "one.ckpt")
    assert made["state_dict"].keys() == Model().state_dict().keys()
    return made["state_dict"]


def close(first, second):
    """Equal but for rounding: the engine clips by a formula of its own."""
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 4])  # 4 leaves a window of two batches
def test_ten_steps_are_those_of_one_device(stage, accumulate, tmp_path):
    plain, own = Model(), Model()
    trainer(accumulate_grad_batches=accumulate).fit(plain, loader(), loader())
    run = trainer(strategy_of(stage), accumulate_grad_batches=accumulate)
    run.fit(own, loader(), loader())
    assert run.global_step == math.ceil(10 / accumulate)
    close(own.losses, plain.losses)
    close(weights_of(run.checkpoint_callback.best_model_path, tmp_path), dict(plain.state_dict()))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_resumed_run_goes_on_exactly(stage, tmp_path):
    whole, first, second = Model(), Model(), Model()
    run = trainer(strategy_of(stage), max_epochs=2)
    run.fit(whole, loader())
    expected = weights_of(run.checkpoint_callback.best_model_path, tmp_path)
    run = trainer(strategy_of(stage), max_epochs=1)
    run.fit(first, loader())
    folder = Path(run.checkpoint_callback.best_model_path)
    assert folder.is_dir() and not list(folder.parent.glob("*.unfinished"))
    run = trainer(strategy_of(stage), max_epochs=2)
    run.fit(second, loader(), ckpt_path=folder)
    assert first.losses + second.losses == whole.losses
    assert run.global_step == 20
    found = weights_of(run.checkpoint_callback.best_model_path, tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stage", [2, 3])
def test_a_folder_serves_evaluation(stage):
    plain, own = Model(), Model()
    trainer().fit(plain, loader())
    fitted = trainer(strategy_of(stage))
    fitted.fit(own, loader())
    folder = fitted.checkpoint_callback.best_model_path
    (expected,) = trainer().validate(plain, loader(), verbose=False)
    run = trainer(strategy_of(stage))
    (found,) = run.validate(Model(), loader(), folder, verbose=False)
    close(found, expected)
    predicted = torch.cat(run.predict(Model(), loader(), ckpt_path=folder))
    close(predicted, plain.net(DATA).detach())


def test_the_file_of_another_strategy_serves_its_weights():
    plain = Model()
    run = trainer()
    run.fit(plain, loader())
    path = run.checkpoint_callback.best_model_path
    run = trainer(strategy_of(3))
    predicted = torch.cat(run.predict(Model(), loader(), ckpt_path=path))
    close(predicted, plain.net(DATA).detach())


def test_16_bits():
    model = Model()
    run = trainer(strategy_of(2), precision="bf16-mixed", max_epochs=2)
    run.fit(model, loader())
    assert run.strategy.config["bf16"] == {"enabled": True}
    assert model.losses[-1] < model.losses[0]


def test_the_last_checkpoint_is_a_folder_too(tmp_path):
    from pytorch_lightning.callbacks import ModelCheckpoint

    for how in (True, "link"):
        saver = ModelCheckpoint(tmp_path / str(how), save_last=how)
        trainer(strategy_of(1), callbacks=saver).fit(Model(), loader())
        assert Path(saver.last_model_path, "latest").read_text() == "checkpoint"


def test_stage_3_splits_the_layers_of_configure_model_at_once():
    seen = []

    class Late(Model):
        def __init__(self):
            super().__init__()
            self.net = None

        def configure_model(self):
            if self.net is None:
                self.net = nn.Linear(4, 2)
                seen.append(hasattr(self.net.weight, "ds_id"))

    model = Late()
    trainer("deepspeed_stage_3").fit(model, loader())
    assert seen == [True]
    assert model.losses[-1] < model.losses[0]


def test_manual_optimization():
    class Manual(Model):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            self.optimizers().step()

    model = Manual()
    trainer(strategy_of(2), gradient_clip_val=None).fit(model, loader())
    assert model.losses[-1] < model.losses[0]


class TwoOptimizers(Model):
    def training_step(self, batch, batch_idx, optimizer_idx):
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), 0.1) for _ in range(2)]


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (TwoOptimizers, {}, "one optimizer"),
        (Model, {"gradient_clip_algorithm": "value"}, "clips the norm"),
    ],
)
def test_what_the_engine_cannot_do_is_said_before_training(model, options, words):
    one = model()
    with pytest.raises(MisconfigurationException, match=words):
        trainer(strategy_of(1), **options).fit(one, loader())
    assert one.losses == []


def test_the_configuration_says_what_the_arguments_mean(tmp_path, monkeypatch):
    zero = DeepSpeedStrategy(stage=3, offload_optimizer=True, offload_parameters=True).config
    assert zero["zero_optimization"]["offload_param"]["device"] == "cpu"
    assert zero["zero_optimization"]["offload_optimizer"]["buffer_count"] == 4
    assert zero["aio"]["block_size"] == 1048576
    assert "zero_optimization" not in DeepSpeedStrategy(zero_optimization=False).config

    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 1}}))
    assert DeepSpeedStrategy(config=file).config == {"zero_optimization": {"stage": 1}}
    monkeypatch.setenv("PL_DEEPSPEED_CONFIG_PATH", os.fspath(file))
    assert DeepSpeedStrategy().config == {"zero_optimization": {"stage": 1}}
    with pytest.raises(MisconfigurationException, match="no such file"):
        DeepSpeedStrategy(config="nowhere.json")
    with pytest.raises(MisconfigurationException, match="accumulate_grad_batches"):
        DeepSpeedStrategy(config={"gradient_accumulation_steps": 4})


def test_the_names():
    made = trainer("deepspeed_stage_2_offload").strategy
    assert isinstance(made, DeepSpeedStrategy)
    assert made.config["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert not made.zero_stage_3 and trainer("deepspeed_stage_3").strategy.zero_stage_3
