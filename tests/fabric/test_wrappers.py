import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from pytorch_lightning.fabric import Fabric, is_wrapped
from pytorch_lightning.precision import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy


class Drawing(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.randint(2**31, ())


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.note = "old"

    def forward(self, x):
        return self.layer(x)

    def training_step(self, x):
        return self.layer(x).dtype, self(x)

    def other(self, x):
        return self.layer(x)


def test_attributes_and_methods_reach_the_module_inside():
    module = Module()
    wrapped = Fabric().setup(module)
    wrapped.note = "new"
    assert module.note == wrapped.note == "new"
    wrapped.own = 1
    assert not hasattr(module, "own")
    assert wrapped.layer is module.layer
    with pytest.raises(AttributeError, match="nowhere"):
        _ = wrapped.nowhere


def test_the_state_has_the_names_of_the_module_inside():
    wrapped, other = Fabric().setup(Module()), Fabric().setup(Module())
    assert list(wrapped.state_dict()) == ["layer.weight", "layer.bias"]
    assert list(wrapped.state_dict(prefix="a.")) == ["a.layer.weight", "a.layer.bias"]
    other.load_state_dict(wrapped.state_dict())
    assert torch.equal(other.layer.weight, wrapped.layer.weight)
    assert len(list(wrapped.parameters())) == 2


def test_train_and_eval_reach_the_module_inside():
    module = Module()
    Fabric().setup(module).eval()
    assert not module.training
    assert not module.layer.training


def test_forward_and_steps_run_in_the_precision_and_give_default_types():
    wrapped = Fabric(precision="bf16-mixed").setup(Module())
    x = torch.ones(1, 2)
    assert wrapped(x).dtype is torch.float32
    inside, output = wrapped.training_step(x)
    assert (inside, output.dtype) == (torch.bfloat16, torch.float32)
    assert wrapped.other(x).dtype is torch.float32


def test_other_methods_are_marked_to_run_like_forward():
    wrapped = Fabric(precision="16-true").setup(Module())
    with pytest.raises(RuntimeError, match="dtype"):
        wrapped.other(torch.ones(1, 2))
    wrapped.mark_forward_method("other")
    assert wrapped.other(torch.ones(1, 2)).dtype is torch.float32
    wrapped.mark_forward_method(wrapped.module.other)
    with pytest.raises(AttributeError, match="'nope'"):
        wrapped.mark_forward_method("nope")
    with pytest.raises(ValueError, match="forward"):
        wrapped.mark_forward_method("forward")


def test_a_copy_is_whole():
    wrapped = copy.deepcopy(Fabric().setup(Module()))
    assert wrapped(torch.ones(1, 2)).shape == (1, 1)
    assert wrapped.layer is wrapped.module.layer


def test_the_optimizer_is_one_of_its_kind_and_shares_its_state():
    module = Module()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    stepper = Fabric().setup_optimizers(optimizer)
    assert isinstance(stepper, torch.optim.Adam)
    assert stepper.param_groups is optimizer.param_groups
    module(torch.ones(1, 2)).sum().backward()
    assert stepper.step() is None
    stepper.zero_grad()
    assert module.layer.weight.grad is None
    assert stepper.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()
    other = Fabric().setup_optimizers(torch.optim.Adam(module.parameters(), lr=0.3))
    other.load_state_dict(stepper.state_dict())
    assert other.param_groups[0]["lr"] == 0.1
    assert "Adam" in repr(stepper)


def test_a_closure_is_run_and_its_result_returned():
    module = Module()
    stepper = Fabric().setup_optimizers(torch.optim.SGD(module.parameters(), lr=0.1))
    assert stepper.step(lambda: "loss") == "loss"


def test_schedulers_take_the_wrapped_optimizer_without_complaint(recwarn):
    stepper = Fabric().setup_optimizers(torch.optim.SGD(Module().parameters(), lr=1.0))
    scheduler = torch.optim.lr_scheduler.StepLR(stepper, 1, gamma=0.5)
    stepper.step()
    scheduler.step()
    assert stepper.param_groups[0]["lr"] == 0.5
    assert not [w for w in recwarn if "lr_scheduler" in str(w.message)]


def test_a_pickled_optimizer_stays_wrapped():
    stepper = Fabric().setup_optimizers(torch.optim.SGD(Module().parameters(), lr=1.0))
    again = pickle.loads(pickle.dumps(stepper))
    assert is_wrapped(again)
    assert again.param_groups[0]["lr"] == 1.0


def test_the_loader_can_be_run_through_again_and_tells_its_sampler_the_epoch():
    data = TensorDataset(torch.arange(8).float())
    sampler = DistributedSampler(data, num_replicas=1, rank=0, shuffle=True)
    loader = Fabric().setup_dataloaders(DataLoader(data, batch_size=8, sampler=sampler))
    first, second = (next(iter(loader))[0].tolist() for _ in range(2))
    assert sorted(first) == sorted(second)
    assert first != second
    assert sampler.epoch == 1


def test_a_compiled_module_is_looked_into():
    module = Module()
    compiled = torch.compile(module, backend="eager")
    wrapped = Fabric().setup(compiled)
    assert wrapped.module is module
    assert list(wrapped.state_dict()) == ["layer.weight", "layer.bias"]
    torch.testing.assert_close(wrapped(torch.ones(1, 2)), module(torch.ones(1, 2)))
    assert is_wrapped(torch.compile(wrapped, backend="eager"))


def test_a_module_that_the_precision_replaces_is_the_one_that_runs():
    class Replacing(Precision):
        def convert_module(self, module):
            return nn.Sequential(module, nn.Flatten(0))

    wrapped = Fabric(plugins=Replacing()).setup(Module())
    assert wrapped(torch.ones(3, 2)).shape == (3,)
    assert type(wrapped.module) is Module


def _numbers_of_workers(rank):
    torch.manual_seed(1)
    fabric = Fabric(strategy=Ranked(rank))
    loader = DataLoader(Drawing(), num_workers=1, batch_size=4)
    (numbers,) = fabric.setup_dataloaders(loader)
    assert loader.worker_init_fn is None
    return numbers.tolist()


class Ranked(SingleDeviceStrategy):
    def __init__(self, rank):
        super().__init__()
        self.rank = rank

    @property
    def global_rank(self):
        return self.rank


def test_workers_of_two_ranks_draw_other_numbers_when_asked():
    assert _numbers_of_workers(0) == _numbers_of_workers(1)
    Fabric.seed_everything(1, workers=True)
    assert _numbers_of_workers(0) != _numbers_of_workers(1)
