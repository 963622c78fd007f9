"""A subclass that overrides any one documented method of a strategy is really used by a trainer."""

import pytest
import torch

from pytorch_lightning import Trainer
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.plugins import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy, StrategyRegistry

SETTING_UP = (
    "connect",
    "setup_environment",
    "setup",
    "setup_optimizers",
    "setup_precision_plugin",
    "model_to_device",
    "module_to_device",
    "tensor_init_context",
    "model_sharded_context",
    "process_dataloader",
    "teardown",
)
STEPPING = (
    "batch_to_device",
    "training_step",
    "validation_step",
    "test_step",
    "predict_step",
    "pre_backward",
    "backward",
    "post_backward",
    "post_training_step",
    "optimizer_step",
    "reduce_boolean_decision",
    "barrier",
    "all_gather",
)
SAVING = (
    "lightning_module_state_dict",
    "optimizer_state",
    "save_checkpoint",
    "load_checkpoint",
    "load_model_state_dict",
    "load_optimizer_state_dict",
    "remove_checkpoint",
)
HOOKS = (
    "on_train_start",
    "on_train_end",
    "on_train_batch_start",
    "on_validation_start",
    "on_validation_end",
    "on_test_start",
    "on_test_end",
    "on_predict_start",
    "on_predict_end",
)


def overriding(*names):
    """A strategy that overrides methods, and counts the calls of each."""

    def method(name):
        def override(self, *args, **kwargs):
            self.calls[name] = self.calls.get(name, 0) + 1
            return getattr(SingleDeviceStrategy, name)(self, *args, **kwargs)

        return override

    return type("Mine", (SingleDeviceStrategy,), {name: method(name) for name in names})


class Model(BoringModel):
    def training_step(self, batch, batch_idx):
        self.all_gather(torch.ones(1))
        return super().training_step(batch, batch_idx)

    def predict_step(self, batch, batch_idx):
        return self(batch)


class Manual(Model):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        loss = super().training_step(batch, batch_idx)["loss"]
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


def run_all(strategy, model, folder):
    strategy.calls = {}
    trainer = Trainer(
        strategy=strategy,
        max_epochs=2,
        limit_train_batches=1,
        limit_val_batches=1,
        limit_test_batches=1,
        limit_predict_batches=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(model)
    path = trainer.checkpoint_callback.best_model_path
    trainer.validate(model, verbose=False)
    trainer.test(model, verbose=False)
    trainer.predict(model)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, ckpt_path=path)
    return strategy.calls


@pytest.mark.parametrize("kind", [Model, Manual], ids=["automatic", "manual"])
def test_all_at_once(kind, tmp_path):
    names = [*SETTING_UP, *STEPPING, *SAVING, *HOOKS]
    calls = run_all(overriding(*names)(), kind(), tmp_path)
    assert [name for name in names if not calls.get(name)] == []


@pytest.mark.parametrize("name", [*STEPPING, *HOOKS])
def test_each_alone(name, tmp_path):
    calls = run_all(overriding(name)(), Model(), tmp_path)
    assert calls.get(name, 0) > 0


def test_an_error_is_told(tmp_path):
    class Breaks(Model):
        def training_step(self, batch, batch_idx):
            raise ArithmeticError("broken")

    told = []

    class Hears(SingleDeviceStrategy):
        def on_exception(self, exception):
            told.append(exception)

    with pytest.raises(ArithmeticError) as raised:
        run_all(Hears(), Breaks(), tmp_path)
    assert told == [raised.value]


def test_synchronization_is_held_back_through_the_strategy(tmp_path):
    strategy = overriding("block_backward_sync")()
    strategy.calls = {}
    trainer = Trainer(
        strategy=strategy,
        accumulate_grad_batches=3,
        limit_train_batches=3,
        limit_val_batches=0,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(BoringModel())
    assert strategy.calls == {"block_backward_sync": 2}


def test_what_an_override_of_a_loader_returns_is_read(tmp_path):
    class Halved(SingleDeviceStrategy):
        def process_dataloader(self, dataloader):
            return [batch * 0 + 0.5 for batch in dataloader]

    seen = []

    class Watching(Model):
        def training_step(self, batch, batch_idx):
            seen.append(batch.unique().tolist())
            return super().training_step(batch, batch_idx)

    run_all(Halved(), Watching(), tmp_path)
    assert seen == [[0.5]] * 3


def test_a_strategy_has_its_own_kind_of_precision():
    class Own(Precision):
        precision = "bf16-mixed"

    class Makes(SingleDeviceStrategy):
        def make_precision(self, precision):
            return Own() if precision == "bf16-mixed" else None

    assert type(Trainer(strategy=Makes(), precision="bf16", logger=False).precision_plugin) is Own
    assert type(Trainer(strategy=Makes(), logger=False).precision_plugin) is Precision


def test_a_registered_strategy_is_made_with_its_arguments():
    class Named(SingleDeviceStrategy):
        def __init__(self, flavour="plain", **kwargs):
            super().__init__(**kwargs)
            self.flavour = flavour

    StrategyRegistry.register("named", Named, "of a third party", flavour="salt")
    try:
        assert Trainer(strategy="named", logger=False).strategy.flavour == "salt"
    finally:
        StrategyRegistry.remove("named")
