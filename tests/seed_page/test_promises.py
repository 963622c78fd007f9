"""What the founding page says in prose, claim by claim."""

import copy
import importlib.metadata
import importlib.util
import pickle
import sys
from pathlib import Path

import pytest
import torch
from tests.trainer.watched import Watched, WithLoaders, numbers, quiet
from torch import nn
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Autoencoder(pl.LightningModule):
    """The page's system, smaller."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.decoder = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x):
        return self.encoder(x)

    def training_step(self, batch, batch_idx):
        x, _ = batch
        loss = nn.functional.mse_loss(self.decoder(self(x)), x)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def pairs(count=8, **options):
    generator = torch.Generator().manual_seed(0)
    rows = [(torch.rand(4, generator=generator), index) for index in range(count)]
    return DataLoader(rows, **options)


def test_names_at_the_paths_of_the_page():
    page = {
        "pytorch_lightning.core.datamodule": "LightningDataModule",
        "pytorch_lightning.core.lightning": "LightningModule",
        "pytorch_lightning.trainer.trainer": "Trainer",
        "pytorch_lightning.trainer": "Trainer",
    }
    for path, name in page.items():
        assert getattr(importlib.import_module(path), name) is getattr(pl, name)
    old = importlib.import_module("pytorch_lightning.core.lightning")
    assert isinstance(Autoencoder(), old.LightningModule)


def test_it_installs_under_the_name_of_the_page():
    assert importlib.metadata.metadata("pytorch-lightning")["Name"] == "pytorch-lightning"
    needed = importlib.metadata.requires("pytorch-lightning")
    always = [line for line in needed if "extra ==" not in line]
    assert any(line.startswith("torch>=2.6") for line in always)
    assert not any("torchvision" in line for line in always)


def test_torchvision_is_optional():
    from pytorch_lightning.utilities.imports import _TORCHVISION_AVAILABLE

    found = importlib.util.find_spec("torchvision") is not None
    assert bool(_TORCHVISION_AVAILABLE) is found
    assert "torchvision" not in sys.modules  # the package is imported, this is not


# --- the module ---------------------------------------------------------------------------------


def test_a_system_is_a_torch_module():
    module = Autoencoder()
    assert isinstance(module, nn.Module)
    assert [name for name, _ in module.named_children()] == ["encoder", "decoder"]
    assert len(list(module.parameters())) == len(module.state_dict()) == 8
    assert module.to(torch.float64).decoder[0].weight.dtype == torch.float64
    assert module.float()(torch.ones(3, 4)).shape == (3, 2)


def test_a_system_is_copied_pickled_and_exported():
    module = Autoencoder()
    trainer = quiet()
    trainer.fit(module, pairs())
    x = torch.ones(1, 4)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(x), module(x))
        assert other._trainer is None
    traced = module.to_torchscript(method="trace", example_inputs=x)
    assert torch.equal(traced(x), module(x))


def test_forward_is_inference_and_needs_no_trainer():
    module = Autoencoder()
    assert module(torch.ones(1, 4)).shape == (1, 2)
    [found] = quiet().predict(module, DataLoader(torch.ones(3, 4), batch_size=3))
    assert torch.equal(found, module(torch.ones(3, 4)))


@pytest.mark.parametrize("returned", ["tensor", "mapping", "nothing"])
def test_what_a_training_step_may_return(returned):
    class Returns(Watched):
        def training_step(self, samples, number):
            loss = self(samples).mean()
            return {"tensor": loss, "mapping": {"loss": loss, "more": 1}, "nothing": None}[returned]

    module = Returns()
    before = copy.deepcopy(module.state_dict())
    quiet().fit(module, numbers(4))
    moved = [not torch.equal(before[k], v) for k, v in module.state_dict().items()]
    assert all(moved) if returned != "nothing" else not any(moved)


def test_a_training_step_may_leave_out_the_index():
    class Short(Watched):
        def training_step(self, batch):
            self.note("train", 0)
            return self(batch).mean()

    module = Short()
    quiet().fit(module, numbers(4))
    assert module.count("train") == 2


def test_batches_are_what_the_loader_yields():
    given = []

    class Keeps(Autoencoder):
        def training_step(self, batch, batch_idx):
            given.append(batch)
            return super().training_step(batch, batch_idx)

    quiet().fit(Keeps(), pairs(4, batch_size=2))
    plain = list(pairs(4, batch_size=2))
    assert all(
        torch.equal(a, b)
        for batch, one in zip(given, plain, strict=True)
        for a, b in zip(batch, one, strict=True)
    )


def test_logged_values_are_written_every_so_many_steps(tmp_path):
    for every, expected in ((50, [49, 99]), (30, [29, 59, 89])):
        logger = CSVLogger(tmp_path / str(every), flush_logs_every_n_steps=1)
        quiet(logger=logger, log_every_n_steps=every).fit(Autoencoder(), pairs(110))
        rows = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
        step = rows[0].split(",").index("step")
        assert [int(row.split(",")[step]) for row in rows[1:]] == expected


def test_one_module_may_hold_several_models_steps_and_schedulers():
    class System(WithLoaders):
        def __init__(self):
            super().__init__()
            self.other = nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            return (self(batch) + self.other(batch)).mean()

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    module, trainer = System(), quiet(max_epochs=2)
    trainer.fit(module)
    trainer.test(module, verbose=False)
    trainer.predict(module)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.025)
    assert [module.count(event) for event in ("val", "test", "predict")] == [4, 2, 2]


def test_any_part_can_be_changed_by_a_hook():
    class Hooked(Watched):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
            self.note("step", batch_idx)
            optimizer.step(closure=optimizer_closure)

        def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
            self.note("zero", batch_idx)
            optimizer.zero_grad()

        def backward(self, loss):
            self.note("backward", 0)
            loss.backward()

    module = Hooked()
    quiet().fit(module, numbers(2))
    assert [e[0] for e in module.seen] == ["step", "train", "zero", "backward"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_backward_gets_as_many_arguments_as_it_asks_for(count):
    class Own(Watched):
        def backward(self, *given):
            raise AssertionError

    def one(self, loss):
        self.note("backward", None, None)
        loss.backward()

    def two(self, loss, optimizer):
        self.note("backward", type(optimizer).__name__, None)
        loss.backward()

    def three(self, loss, optimizer, optimizer_idx):
        self.note("backward", type(optimizer).__name__, optimizer_idx)
        loss.backward()

    Own.backward = (one, two, three)[count - 1]
    module = Own()
    quiet().fit(module, numbers(2))
    expected = ("backward", *("SGD" if count > 1 else None, 0 if count > 2 else None))
    assert expected in module.seen


# --- data and trainer ---------------------------------------------------------------------------


def test_a_loader_without_any_argument():
    module = Autoencoder()
    trainer = quiet()
    trainer.fit(model=module, train_dataloaders=DataLoader([(torch.ones(4), 0)] * 3))
    assert trainer.global_step == 3


def test_gpus_are_refused_with_a_sentence_where_there_are_none():
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(MisconfigurationException, match=r"`accelerator='gpu'`.*Available: 'cpu'"):
        pl.Trainer(accelerator="gpu", devices=8)


def test_the_loop_steps_clears_and_goes_backward_inside_the_closure():
    order = []

    class Optimizer(torch.optim.SGD):
        def step(self, closure=None):
            order.append("step")
            result = super().step(closure)
            order.append("stepped")
            return result

        def zero_grad(self, set_to_none=True):
            order.append("zero_grad")
            super().zero_grad(set_to_none)

    class Ordered(Watched):
        def training_step(self, batch, batch_idx):
            order.append("training_step")
            return self(batch).mean()

        def on_after_backward(self):
            order.append("backward")

        def configure_optimizers(self):
            return Optimizer(self.parameters(), lr=0.1)

    quiet().fit(Ordered(), numbers(2))
    assert order == ["step", "training_step", "zero_grad", "backward", "stepped"]


def test_modes_and_gradients_during_evaluation_and_after():
    class Modes(WithLoaders):
        def __init__(self):
            super().__init__()
            self.frozen = nn.BatchNorm1d(2).eval()

        def validation_step(self, batch, batch_idx):
            self.note("modes", self.training, self.frozen.training, torch.is_grad_enabled())

        def on_train_batch_end(self, *_):
            self.note("modes", self.training, self.frozen.training, torch.is_grad_enabled())

    module = Modes()
    quiet(limit_train_batches=2, limit_val_batches=1, val_check_interval=1).fit(module)
    modes = [entry[1:] for entry in module.seen if entry[0] == "modes"]
    assert modes == [(True, False, True), (False, False, False)] * 2
    assert module.training


def test_checkpoints_are_written_and_loaded(tmp_path):
    trainer = pl.Trainer(
        max_epochs=1,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Autoencoder()
    trainer.fit(module, pairs())
    path = Path(trainer.checkpoint_callback.best_model_path)
    assert path.name == "epoch=0-step=8.ckpt"
    loaded = Autoencoder.load_from_checkpoint(path)
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in loaded.state_dict().items())
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    resumed = quiet(max_epochs=2)
    resumed.fit(Autoencoder(), pairs(), ckpt_path=tmp_path / "mine.ckpt")
    assert resumed.global_step == 16


def test_manual_optimization_of_a_pair_of_networks():
    class Pair(Watched):
        def __init__(self):
            super().__init__()
            self.other = nn.Linear(2, 1)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            first, second = self.optimizers()
            for optimizer, net in ((first, self.layer), (second, self.other)):
                self.toggle_optimizer(optimizer)
                optimizer.zero_grad()
                self.manual_backward(net(batch).mean())
                optimizer.step()
                self.untoggle_optimizer(optimizer)

        def configure_optimizers(self):
            nets = (self.layer, self.other)
            return [torch.optim.SGD(net.parameters(), lr=0.1) for net in nets]

    trainer = quiet()
    trainer.fit(Pair(), numbers(4))
    assert trainer.global_step == 4


def test_half_precision_spelled_as_on_the_page():
    assert pl.Trainer(precision="bf16", logger=False).precision == "bf16-mixed"
    assert pl.Trainer(precision=16, logger=False).precision == "16-mixed"


def test_extensions_are_given_to_the_trainer(tmp_path):
    heard = []
    callback = LambdaCallback(on_train_start=lambda trainer, module: heard.append("start"))
    logger = CSVLogger(tmp_path)
    trainer = quiet(callbacks=[callback], logger=logger)
    trainer.fit(WithLoaders())
    assert heard == ["start"]
    assert trainer.logger is logger


def test_any_optimizer_with_the_usual_methods_will_do():
    class Plain:
        """Not a subclass of torch's."""

        def __init__(self, parameters):
            self.param_groups = [{"params": list(parameters), "lr": 0.1}]
            self.state, self.defaults = {}, {}

        def step(self, closure=None):
            loss = closure() if closure is not None else None
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter -= 0.1 * parameter.grad
            return loss

        def zero_grad(self, set_to_none=True):
            for parameter in self.param_groups[0]["params"]:
                parameter.grad = None

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    class Uses(Watched):
        def configure_optimizers(self):
            return Plain(self.parameters())

    module, trainer = Uses(), quiet()
    before = module.layer.weight.detach().clone()
    trainer.fit(module, numbers(4))
    assert trainer.global_step == 2
    assert not torch.equal(before, module.layer.weight)


def test_one_module_runs_under_other_arguments():
    for arguments in (
        {"precision": "64-true"},
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 0.5},
        {"fast_dev_run": True},
        {"detect_anomaly": True},
        {"max_steps": 2},
        {"barebones": True, "enable_progress_bar": False},
    ):
        module = WithLoaders()
        trainer = pl.Trainer(**{"max_epochs": 1, "logger": False, **arguments})
        trainer.fit(module)
        assert trainer.state.finished
        assert module.count("train") > 0


def test_a_seed_repeats_a_run():
    def weights():
        pl.seed_everything(3, workers=True, verbose=False)
        module = Autoencoder()
        quiet(deterministic=True).fit(module, pairs(shuffle=True))
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    assert torch.equal(weights(), weights())


def test_mistakes_are_found_before_training():
    class NoStep(Watched):
        training_step = pl.LightningModule.training_step

    module = NoStep()
    with pytest.raises(MisconfigurationException, match="training_step"):
        quiet(num_sanity_val_steps=2).fit(module, numbers(), numbers())
    assert module.seen == []


def test_a_module_knows_its_device():
    class Device(Watched):
        def training_step(self, batch, batch_idx):
            self.note("device", self.device, torch.ones(1).type_as(batch).device)
            return self(batch).mean()

    module = Device()
    quiet().fit(module, numbers(2))
    assert module.seen == [("device", torch.device("cpu"), torch.device("cpu"))]
