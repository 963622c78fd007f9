from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pytorch_lightning import strategies
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.precision import DoublePrecision, Precision
from pytorch_lightning.strategies import SingleDeviceStrategy, Strategy
from pytorch_lightning.utilities.exceptions import CheckpointError, MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum() + batch_idx

    validation_step = test_step = predict_step = training_step


def _trainer(stage="fit"):
    return SimpleNamespace(state=SimpleNamespace(fn=stage))


def _ready(strategy=None, stage="fit"):
    strategy = strategy or SingleDeviceStrategy(accelerator=CPUAccelerator())
    module = Model()
    strategy.connect(module)
    strategy.build_optimizers = lambda: ([torch.optim.Adam(module.parameters(), lr=0.1)], [])
    strategy.setup_environment()
    strategy.setup(_trainer(stage))
    return strategy, module


def _train(strategy, module, steps=1):
    (optimizer,) = strategy.optimizers
    for _ in range(steps):

        def closure():
            optimizer.zero_grad()
            return strategy.backward(strategy.training_step(torch.ones(1, 2), 0), optimizer)

        strategy.optimizer_step(optimizer, closure)
    return module.layer.weight.detach().clone()


def test_setup_makes_optimizers_when_fitting_only():
    assert len(_ready()[0].optimizers) == 1
    assert _ready(stage="validate")[0].optimizers == []


def test_a_step_trains():
    strategy, module = _ready()
    before = module.layer.weight.detach().clone()
    assert not torch.equal(before, _train(strategy, module))


@pytest.mark.parametrize(
    ("method", "context"),
    [
        ("training_step", "train_step_context"),
        ("validation_step", "val_step_context"),
        ("test_step", "test_step_context"),
        ("predict_step", "predict_step_context"),
    ],
)
def test_steps_run_in_the_context_of_the_precision(method, context):
    entered = []

    class Noting(Precision):
        pass

    setattr(Noting, context, lambda self: entered.append(context) or torch.no_grad())
    strategy, _ = _ready(SingleDeviceStrategy(precision_plugin=Noting()))
    result = getattr(strategy, method)(torch.ones(1, 2), 3)
    assert entered == [context]
    assert not result.requires_grad


def test_precision_converts_the_module_before_optimizers_are_made():
    strategy, module = _ready(SingleDeviceStrategy(precision_plugin=DoublePrecision()))
    assert module.layer.weight.dtype is torch.float64
    assert strategy.optimizers[0].param_groups[0]["params"][0] is module.layer.weight


def test_precision_may_replace_the_optimizers():
    class Replacing(Precision):
        def connect(self, model, optimizers, lr_schedulers):
            return model, [torch.optim.SGD(model.parameters(), lr=1.0)], ["scheduler"]

    strategy, _ = _ready(SingleDeviceStrategy(precision_plugin=Replacing()))
    assert type(strategy.optimizers[0]) is torch.optim.SGD
    assert strategy.lr_scheduler_configs == ["scheduler"]


def test_backward_calls_precision_and_module_in_order():
    calls = []

    class Noting(Precision):
        def pre_backward(self, tensor, module):
            calls.append("pre")
            return tensor * 2

        def post_backward(self, tensor, module):
            calls.append("post")
            return tensor / 2

    strategy, module = _ready(SingleDeviceStrategy(precision_plugin=Noting()))
    module.backward = lambda loss: calls.append(loss.item())
    assert strategy.backward(torch.tensor(3.0), None).item() == 3.0
    assert calls == ["pre", 6.0, "post"]


def test_batches_go_through_the_hooks_of_the_module():
    strategy, module = _ready()
    module.on_after_batch_transfer = lambda batch, dataloader_idx: (batch, dataloader_idx)
    batch, index = strategy.batch_to_device(torch.ones(1), dataloader_idx=2)
    assert (batch.device.type, index) == ("cpu", 2)
    strategy.transfer_batch = lambda batch, device, dataloader_idx: (device.type, dataloader_idx)
    assert strategy.batch_to_device(torch.ones(1)) == ("cpu", 0)


def test_without_a_module_a_batch_is_just_moved():
    moved = SingleDeviceStrategy("meta").batch_to_device({"x": torch.ones(1)})
    assert moved["x"].device.type == "meta"


def test_one_process_answers_for_itself():
    strategy, value = SingleDeviceStrategy(), torch.ones(2)
    assert strategy.reduce(value) is value
    assert strategy.all_gather(value) is value
    assert strategy.broadcast("x") == "x"
    assert strategy.reduce_boolean_decision(False) is False
    assert strategy.barrier("here") is None
    assert (strategy.world_size, strategy.global_rank, strategy.local_rank) == (1, 0, 0)
    assert strategy.node_rank == 0
    assert strategy.is_global_zero
    assert strategy.launcher is None


def test_state_goes_through_a_file_and_back(tmp_path):
    strategy, module = _ready()
    _train(strategy, module)
    saved = {
        "state_dict": strategy.lightning_module_state_dict(),
        "optimizer_states": [strategy.optimizer_state(o) for o in strategy.optimizers],
    }
    strategy.save_checkpoint(saved, tmp_path / "a.ckpt")
    expected = _train(strategy, module, steps=2)
    other, copy = _ready()
    loaded = other.load_checkpoint(tmp_path / "a.ckpt")
    other.load_model_state_dict(loaded)
    other.load_optimizer_state_dict(loaded)
    assert torch.equal(_train(other, copy, steps=2), expected)
    strategy.remove_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


def test_weights_that_do_not_fit_are_refused_unless_asked():
    strategy, _ = _ready()
    with pytest.raises(RuntimeError, match="layer.weight"):
        strategy.load_model_state_dict({"state_dict": {}})
    strategy.load_model_state_dict({"state_dict": {}}, strict=False)


def test_another_number_of_optimizers_is_refused():
    strategy, _ = _ready()
    with pytest.raises(CheckpointError, match="2 optimizer"):
        strategy.load_optimizer_state_dict({"optimizer_states": [{}, {}]})


def test_teardown_brings_module_and_optimizer_state_home():
    torn = []

    class Ending(Precision):
        def teardown(self):
            torn.append("precision")

    strategy, module = _ready(SingleDeviceStrategy(precision_plugin=Ending()))
    _train(strategy, module)
    (optimizer,) = strategy.optimizers
    state = optimizer.state[module.layer.weight]
    optimizer.state[module.layer.weight] = {
        n: v.to("meta") for n, v in state.items() if n != "step"
    }
    optimizer.state[module.layer.weight] = {
        **optimizer.state[module.layer.weight],
        "exp_avg": torch.ones(1),
        "exp_avg_sq": torch.ones(1),
    }
    strategy.teardown()
    assert torn == ["precision"]
    devices = {v.device.type for s in optimizer.state.values() for v in s.values()}
    assert devices | {p.device.type for p in module.parameters()} == {"cpu"}


def test_new_tensors_are_on_the_device_and_in_the_precision():
    strategy = SingleDeviceStrategy("meta", precision_plugin=DoublePrecision())
    with strategy.tensor_init_context():
        made = torch.ones(1)
    with strategy.module_init_context():
        module = nn.Linear(1, 1)
    assert (made.device.type, made.dtype) == ("meta", torch.float64)
    assert (module.weight.device.type, module.weight.dtype) == ("meta", torch.float64)


def test_empty_init_draws_no_random_numbers():
    strategy = SingleDeviceStrategy()
    before = torch.get_rng_state()
    with strategy.module_init_context(empty_init=True):
        nn.Linear(4, 4)
    assert torch.equal(before, torch.get_rng_state())
    with strategy.module_init_context():
        nn.Linear(4, 4)
    assert not torch.equal(before, torch.get_rng_state())


def test_the_parts_have_defaults_and_can_be_set():
    strategy = SingleDeviceStrategy()
    assert strategy.accelerator is None
    assert type(strategy.precision_plugin) is Precision
    assert type(strategy.checkpoint_io) is TorchCheckpointIO
    assert strategy.given_parts == frozenset()
    mine = DoublePrecision()
    strategy.precision_plugin = mine
    assert strategy.precision_plugin is mine
    assert SingleDeviceStrategy(precision_plugin=mine).given_parts == {"precision"}


def test_a_device_of_another_kind_is_refused_at_setup():
    strategy = SingleDeviceStrategy("meta", accelerator=CPUAccelerator())
    with pytest.raises(MisconfigurationException, match="meta"):
        strategy.setup_environment()


def test_marks_tell_what_a_subclass_overrides():
    class Mine(SingleDeviceStrategy):
        def training_step(self, *args, **kwargs):
            return super().training_step(*args, **kwargs)

        def on_train_start(self):
            pass

    names = ["validation_step", "backward", "optimizer_step", "batch_to_device", "reduce"]
    assert is_plain(Mine(), *names)
    assert not is_plain(Mine(), "training_step")
    assert not is_plain(Mine(), "on_train_start")


def test_the_contract_cannot_be_made_and_flags_are_false():
    with pytest.raises(TypeError, match="abstract"):
        Strategy()
    strategy = SingleDeviceStrategy()
    assert not strategy.restore_checkpoint_after_setup
    assert strategy.lightning_restore_optimizer
    assert not strategy.handles_gradient_accumulation
    with strategy.block_backward_sync(), strategy.model_sharded_context():
        pass
    assert strategies.SingleDeviceStrategy is SingleDeviceStrategy
