import inspect

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.fabric import Fabric, is_wrapped, seed_everything
from pytorch_lightning.precision import MixedPrecision, Precision
from pytorch_lightning.strategies import SingleDeviceStrategy


class Recorder:
    def __init__(self):
        self.seen = []

    def log_metrics(self, metrics, step=None):
        self.seen.append((dict(metrics), step))

    def on_after_setup(self, fabric, module):
        self.seen.append(("setup", type(module.module).__name__))

    def on_after_optimizer_step(self, strategy, optimizer):
        self.seen.append(("step", type(optimizer).__name__))


def _pair():
    module = nn.Linear(2, 1)
    return module, torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


def _loader(size=4):
    return DataLoader(TensorDataset(torch.arange(size).float()), batch_size=2)


def test_arguments_and_defaults_are_the_documented_ones():
    found = {n: p.default for n, p in inspect.signature(Fabric).parameters.items()}
    assert found == {
        **dict.fromkeys(["accelerator", "strategy", "devices"], "auto"),
        "num_nodes": 1,
        **dict.fromkeys(["precision", "plugins", "callbacks", "loggers"]),
    }


def test_one_process_on_the_cpu():
    fabric = Fabric()
    assert type(fabric.accelerator) is CPUAccelerator
    assert type(fabric.strategy) is SingleDeviceStrategy
    assert fabric.device == torch.device("cpu")
    assert (fabric.world_size, fabric.global_rank, fabric.local_rank, fabric.node_rank) == (
        *(1, 0, 0),
        0,
    )
    assert fabric.is_global_zero


def test_launch():
    fabric = Fabric()
    assert fabric.launch() is None
    assert fabric.launch(lambda given, x, y=0: (given is fabric, x, y), 1, y=2) == (True, 1, 2)
    with pytest.raises(TypeError, match="pass a function"):
        fabric.launch(3)
    with pytest.raises(TypeError, match="first argument"):
        fabric.launch(lambda: None)


def test_run_is_a_place_for_subclasses():
    class Program(Fabric):
        def run(self, x):
            return x + self.world_size

    assert Program().run(2) == 3
    assert Fabric().run() is None


def test_setup():
    fabric, (module, optimizer) = Fabric(), _pair()
    wrapped, stepper = fabric.setup(module, optimizer)
    assert wrapped.module is module
    assert stepper.optimizer is optimizer
    alone = fabric.setup(nn.Linear(1, 1))
    assert is_wrapped(alone)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    assert fabric.setup(*_pair(), scheduler=scheduler)[2] is scheduler


def test_setup_refuses_what_was_set_up():
    fabric = Fabric()
    wrapped, stepper = fabric.setup(*_pair())
    with pytest.raises(ValueError, match="module"):
        fabric.setup(wrapped)
    with pytest.raises(ValueError, match="optimizer"):
        fabric.setup(nn.Linear(1, 1), stepper)


def test_setup_can_leave_the_module_where_it_is():
    fabric = Fabric(strategy=SingleDeviceStrategy("meta"), accelerator=_Anywhere())
    assert fabric.setup(nn.Linear(1, 1), move_to_device=False).device.type == "cpu"
    assert fabric.setup(nn.Linear(1, 1)).device.type == "meta"


class _Anywhere(CPUAccelerator):
    def setup_device(self, device):
        pass


def test_setup_module():
    fabric, module = Fabric(precision="64-true"), nn.Linear(2, 1)
    wrapped = fabric.setup_module(module)
    assert wrapped.module is module
    assert wrapped.dtype is torch.float64
    with pytest.raises(ValueError, match="setup_module"):
        fabric.setup_module(wrapped)


def test_setup_optimizers():
    fabric, (_, first), (_, second) = Fabric(), _pair(), _pair()
    one = fabric.setup_optimizers(first)
    assert one.optimizer is first
    assert [o.optimizer for o in fabric.setup_optimizers(first, second)] == [first, second]
    with pytest.raises(ValueError, match="at least one"):
        fabric.setup_optimizers()
    with pytest.raises(ValueError, match="only once"):
        fabric.setup_optimizers(one)


def test_setup_dataloaders():
    fabric = Fabric(strategy=SingleDeviceStrategy("meta"), accelerator=_Anywhere())
    moved, other = fabric.setup_dataloaders(_loader(), _loader())
    assert [batch[0].device.type for batch in moved] == ["meta", "meta"]
    assert (len(moved), moved.batch_size, moved.device) == (2, 2, torch.device("meta"))
    left = fabric.setup_dataloaders(_loader(), move_to_device=False)
    assert left.device is None
    assert [batch[0].tolist() for batch in left] == [[0.0, 1.0], [2.0, 3.0]]
    assert is_wrapped(other)


def test_setup_dataloaders_refuses_what_is_none():
    fabric = Fabric()
    with pytest.raises(ValueError, match="at least one"):
        fabric.setup_dataloaders()
    with pytest.raises(TypeError, match="list"):
        fabric.setup_dataloaders([1, 2])
    with pytest.raises(ValueError, match="only once"):
        fabric.setup_dataloaders(fabric.setup_dataloaders(_loader()))


def test_backward():
    fabric, (module, optimizer) = Fabric(), _pair()
    wrapped, _ = fabric.setup(module, optimizer)
    loss = wrapped(torch.ones(1, 2)).sum()
    fabric.backward(loss, retain_graph=True)
    fabric.backward(loss, model=wrapped)
    assert module.weight.grad.tolist() == [[2.0, 2.0]]
    with pytest.raises(TypeError, match="fabric.setup"):
        fabric.backward(loss, model=module)


def test_backward_and_step_go_through_a_precision_of_the_user():
    class Tripling(Precision):
        def pre_backward(self, tensor, module):
            return tensor * 3

        def optimizer_step(self, optimizer, model, closure, **kwargs):
            return ("stepped", super().optimizer_step(optimizer, model, closure, **kwargs))

    fabric, (module, optimizer) = Fabric(plugins=Tripling()), _pair()
    wrapped, stepper = fabric.setup(module, optimizer)
    fabric.backward(wrapped(torch.ones(1, 2)).sum())
    assert module.weight.grad.tolist() == [[3.0, 3.0]]
    assert stepper.step(lambda: 7) == ("stepped", 7)


def test_clip_gradients():
    fabric, (module, optimizer) = Fabric(), _pair()
    wrapped, stepper = fabric.setup(module, optimizer)
    module.weight.grad, module.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([-4.0])
    assert fabric.clip_gradients(wrapped, stepper, clip_val=3.5) is None
    assert module.bias.grad.item() == -3.5
    module.bias.grad.fill_(-4.0)
    assert fabric.clip_gradients(wrapped, stepper, max_norm=1.0).item() == 5.0
    assert module.bias.grad.item() == pytest.approx(-0.8)
    with pytest.raises(ValueError, match="`clip_val` or `max_norm`"):
        fabric.clip_gradients(wrapped, stepper)
    with pytest.raises(ValueError, match="one of the two"):
        fabric.clip_gradients(wrapped, stepper, clip_val=1, max_norm=1)
    module.bias.grad.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="non-finite"):
        fabric.clip_gradients(wrapped, stepper, max_norm=1.0)
    fabric.clip_gradients(wrapped, stepper, max_norm=1.0, error_if_nonfinite=False)


def test_clip_gradients_sees_true_sizes_under_a_scaler():
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    fabric, (module, optimizer) = Fabric(plugins=MixedPrecision("16-mixed", "cpu", scaler)), _pair()
    wrapped, stepper = fabric.setup(module, optimizer)
    fabric.backward(wrapped(torch.ones(1, 2)).sum())
    norm = fabric.clip_gradients(wrapped, stepper, max_norm=100.0)
    assert norm.item() == pytest.approx(3**0.5)
    before = module.bias.item()
    stepper.step()
    assert module.bias.item() == pytest.approx(before - 0.1)


def test_no_backward_sync():
    fabric, module = Fabric(), nn.Linear(1, 1)
    wrapped = fabric.setup(module)
    with fabric.no_backward_sync(wrapped), fabric.no_backward_sync(wrapped, enabled=False):
        fabric.backward(wrapped(torch.ones(1, 1)).sum())
    assert module.weight.grad.item() == 1.0
    with pytest.raises(TypeError, match="fabric.setup"):
        fabric.no_backward_sync(module)


def test_all_gather():
    assert Fabric().all_gather({"a": 1.5, "b": torch.ones(1), "c": "text"}) == {
        "a": torch.tensor(1.5),
        "b": torch.ones(1),
        "c": "text",
    }


def test_all_reduce():
    reduced = Fabric().all_reduce([2, torch.tensor([1.0, 3.0])], reduce_op="sum")
    assert torch.is_tensor(reduced[0])
    assert (reduced[0].item(), reduced[1].tolist()) == (2, [1.0, 3.0])


def test_broadcast():
    assert Fabric().broadcast({"name": "run"}) == {"name": "run"}


def test_barrier():
    calls = []

    class Noting(SingleDeviceStrategy):
        def barrier(self, name=None):
            calls.append(name)

    Fabric(strategy=Noting()).barrier("here")
    assert calls == ["here"]


def test_save_and_load_give_back_everything(tmp_path):
    fabric, (module, optimizer) = Fabric(), _pair()
    wrapped, stepper = fabric.setup(module, optimizer)
    fabric.backward(wrapped(torch.ones(1, 2)).sum())
    stepper.step()
    scheduler = torch.optim.lr_scheduler.StepLR(stepper, 1)
    path = tmp_path / "sub" / "state.ckpt"
    fabric.save(path, {"m": wrapped, "o": stepper, "s": scheduler, "step": 3, "extra": [1, 2]})
    plain = torch.load(path, weights_only=True)
    assert set(plain["m"]) == {"weight", "bias"}
    other, another = fabric.setup(*_pair())
    state = {"m": other, "o": another, "step": 0}
    assert set(fabric.load(path, state)) == {"s", "extra"}
    assert state["step"] == 3
    assert state["m"] is other
    assert torch.equal(other.module.weight, module.weight)
    momentum = another.state[other.module.weight]["momentum_buffer"]
    assert torch.equal(momentum, optimizer.state[module.weight]["momentum_buffer"])


def test_save_filters_by_key_and_value(tmp_path):
    fabric, (module, _) = Fabric(), _pair()
    path = tmp_path / "state.ckpt"
    fabric.save(path, {"m": module, "n": 1}, filter={"m": lambda key, value: value.ndim == 2})
    assert set(fabric.load(path)["m"]) == {"weight"}
    with pytest.raises(ValueError, match="'q'"):
        fabric.save(path, {"m": module}, filter={"q": lambda key, value: True})
    with pytest.raises(TypeError, match="pass a function"):
        fabric.save(path, {"m": module}, filter={"m": 4})
    with pytest.raises(TypeError, match="int"):
        fabric.save(path, {"n": 4}, filter={"n": lambda key, value: True})


def test_load_that_misses_something_changes_nothing(tmp_path):
    fabric, (module, _) = Fabric(), _pair()
    fabric.save(tmp_path / "state.ckpt", {"m": module, "n": 1})
    state = {"n": 0, "unknown": 5}
    with pytest.raises(KeyError, match="unknown"):
        fabric.load(tmp_path / "state.ckpt", state)
    assert state == {"n": 0, "unknown": 5}
    assert set(fabric.load(tmp_path / "state.ckpt", state, strict=False)) == {"m"}
    assert state == {"n": 1, "unknown": 5}
    with pytest.raises(FileNotFoundError):
        fabric.load(tmp_path / "nowhere.ckpt")


def test_load_raw(tmp_path):
    fabric, (module, optimizer), (other, _) = Fabric(), _pair(), _pair()
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    fabric.load_raw(tmp_path / "weights.pt", fabric.setup(other))
    assert torch.equal(other.weight, module.weight)
    torch.save({"weight": module.weight.detach()}, tmp_path / "part.pt")
    with pytest.raises(RuntimeError, match="bias"):
        fabric.load_raw(tmp_path / "part.pt", other)
    fabric.load_raw(tmp_path / "part.pt", other, strict=False)
    torch.save({**optimizer.state_dict(), "state": {}}, tmp_path / "optimizer.pt")
    fabric.load_raw(tmp_path / "optimizer.pt", optimizer)


def test_autocast():
    fabric, module = Fabric(precision="bf16-mixed"), nn.Linear(1, 1)
    with fabric.autocast():
        assert module(torch.ones(1, 1)).dtype is torch.bfloat16
    with Fabric().autocast():
        assert module(torch.ones(1, 1)).dtype is torch.float32


def test_init_module():
    with Fabric(precision="bf16-true").init_module():
        assert nn.Linear(1, 1).weight.dtype is torch.bfloat16
    before = torch.get_rng_state()
    with Fabric().init_module(empty_init=True):
        nn.Linear(3, 3)
    assert torch.equal(before, torch.get_rng_state())


def test_init_tensor():
    with Fabric(precision="64-true").init_tensor():
        assert torch.ones(1).dtype is torch.float64
    assert torch.ones(1).dtype is torch.float32


def test_to_device():
    fabric = Fabric(strategy=SingleDeviceStrategy("meta"), accelerator=_Anywhere())
    module = nn.Linear(1, 1)
    assert fabric.to_device(module) is module
    assert module.weight.device.type == "meta"
    assert fabric.to_device([torch.ones(1), "text"])[0].device.type == "meta"


def test_print(capsys):
    Fabric().print("a", "b", sep="-")
    assert capsys.readouterr().out == "a-b\n"


def test_seed_everything():
    assert Fabric.seed_everything(7) == 7
    first = torch.rand(1)
    assert seed_everything(7) == 7
    assert torch.equal(torch.rand(1), first)


def test_call():
    seen = []

    class Mine:
        def on_thing(self, x, y=0):
            seen.append((x, y))

    fabric = Fabric(callbacks=[Mine(), object(), Mine()])
    fabric.call("on_thing", 1, y=2)
    fabric.call("on_nothing")
    assert seen == [(1, 2), (1, 2)]


def test_call_says_so_when_a_hook_is_no_method():
    class Mine:
        on_thing = 3

    with pytest.warns(UserWarning, match=r"Mine\.on_thing"):
        Fabric(callbacks=Mine()).call("on_thing")


def test_callbacks_hear_of_setup_and_steps():
    callback = Recorder()
    fabric = Fabric(callbacks=callback)
    _, stepper = fabric.setup(*_pair())
    stepper.step()
    assert callback.seen == [("setup", "Linear"), ("step", "SGD")]


def test_log():
    loggers = [Recorder(), Recorder()]
    Fabric(loggers=loggers).log("loss", torch.tensor(1.5), step=4)
    assert [logger.seen for logger in loggers] == [[({"loss": 1.5}, 4)]] * 2


def test_log_dict():
    logger = Recorder()
    fabric = Fabric(loggers=logger)
    fabric.log_dict({"a": torch.tensor(2), "b": 3.0})
    assert logger.seen == [({"a": 2, "b": 3.0}, None)]
    assert fabric.logger is logger
    assert fabric.loggers == [logger]
    with pytest.raises(IndexError, match="loggers="):
        _ = Fabric().logger


def test_rank_zero_first():
    with Fabric().rank_zero_first(), Fabric().rank_zero_first(local=True):
        entered = True
    assert entered


def test_is_wrapped():
    fabric, (module, optimizer), loader = Fabric(), _pair(), _loader()
    for plain in (module, optimizer, loader):
        assert not is_wrapped(plain)
    for wrapped in (*fabric.setup(module, optimizer), fabric.setup_dataloaders(loader)):
        assert is_wrapped(wrapped)


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).sum()
        self.log("loss", loss)
        self.log_dict({"index": float(batch_idx)})
        return loss


def test_a_lightning_module_runs_in_a_hand_written_loop(capsys):
    logger = Recorder()
    fabric, module = Fabric(loggers=logger), Module()
    wrapped, stepper = fabric.setup(module, torch.optim.SGD(module.parameters(), lr=0.1))
    loss = wrapped.training_step(torch.ones(1, 2), 3)
    assert logger.seen == [({"loss": loss.item()}, None), ({"index": 3.0}, None)]
    module.automatic_optimization = False
    module.manual_backward(loss)
    assert module.layer.weight.grad.tolist() == [[1.0, 1.0]]
    assert module.optimizers() is stepper
    assert module.fabric is fabric
    module.print("said")
    assert capsys.readouterr().out == "said\n"


def test_toggling_in_a_hand_written_loop_leaves_the_flags_as_they_were():
    fabric, module = Fabric(), Module()
    first = torch.optim.SGD([module.layer.weight], lr=0.1)
    second = torch.optim.SGD([module.layer.bias], lr=0.1)
    fabric.setup(module, first, second)
    opened, _ = module.optimizers()
    module.toggle_optimizer(opened)
    assert (module.layer.weight.requires_grad, module.layer.bias.requires_grad) == (True, False)
    module.untoggle_optimizer(opened)
    assert module.layer.bias.requires_grad
