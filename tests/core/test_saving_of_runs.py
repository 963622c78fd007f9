"""What a run writes, `load_from_checkpoint` reads."""

import argparse
import dataclasses
import pathlib

import pytest
import torch

import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel


class Net(BoringModel):
    def __init__(self, width, path=pathlib.Path("a"), options=(1, {"b": None}), **rest):
        super().__init__()
        self.save_hyperparameters()
        self.made_with = (width, path, options, rest)


class Data(BoringDataModule):
    def __init__(self, batch_size=1):
        super().__init__()
        self.save_hyperparameters()
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state_dict):
        self.position = state_dict["position"]


def save(module, datamodule=None, **options):
    trainer = pl.Trainer(
        max_steps=2,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )
    trainer.fit(module, datamodule=datamodule)
    trainer.save_checkpoint("run.ckpt")
    return "run.ckpt"


def test_arguments_of_many_kinds():
    net = Net(3, options=(2, {"c": [1.5, "x"]}), extra=True)
    other = Net.load_from_checkpoint(save(net))
    assert other.made_with == net.made_with
    assert other.hparams == net.hparams
    assert torch.equal(other.layer.weight, net.layer.weight)


def test_the_file_is_plain_enough_for_torch_alone():
    content = torch.load(save(Net(3)), weights_only=True)
    assert content["hyper_parameters"]["width"] == 3
    assert content["hparams_name"] == "kwargs"


def test_hyperparameters_that_a_run_changed_are_stored_changed():
    class Changing(Net):
        def on_train_start(self):
            self.hparams.width = 9

    assert Changing.load_from_checkpoint(save(Changing(3))).made_with[0] == 9


@dataclasses.dataclass
class Config:
    width: int = 1
    name: str = "n"


class Configured(BoringModel):
    def __init__(self, conf: Config):
        super().__init__()
        self.conf = conf
        self.save_hyperparameters(conf)


def test_a_dataclass_as_container():
    path = save(Configured(Config(width=5)))
    assert Configured.load_from_checkpoint(path).conf == Config(width=5)


class WithNamespace(BoringModel):
    def __init__(self, args):
        super().__init__()
        self.width = args.width
        self.save_hyperparameters(args)


@pytest.mark.parametrize("args", [argparse.Namespace(width=5), Config(width=5)])
def test_a_container_with_attributes(args):
    path = save(WithNamespace(args))
    assert WithNamespace.load_from_checkpoint(path).width == 5


def test_a_dataclass_module():
    @dataclasses.dataclass(eq=False)
    class Module(BoringModel):
        width: int = 2

        def __post_init__(self):
            super().__init__()
            self.save_hyperparameters()

    assert Module.load_from_checkpoint(save(Module(7))).width == 7


def test_a_datamodule_from_the_same_file():
    data = Data(batch_size=4)
    data.position = 6
    path = save(Net(3), data)
    other = Data.load_from_checkpoint(path)
    assert other.hparams == {"batch_size": 4}
    assert other.position == 6
    assert Data.load_from_checkpoint(path, batch_size=2).hparams.batch_size == 2
    assert Net.load_from_checkpoint(path).hparams.width == 3


def test_module_and_datamodule_that_disagree():
    class Clashing(BoringDataModule):
        def __init__(self, width):
            super().__init__()
            self.save_hyperparameters()

    logger = pl.loggers.CSVLogger(".")
    with pytest.raises(RuntimeError, match="width"):
        pl.Trainer(max_steps=1, logger=logger).fit(Net(3), datamodule=Clashing(4))


def test_hyperparameters_reach_the_logger_unless_told_otherwise():
    class Quiet(BoringModel):
        def __init__(self, width):
            super().__init__()
            self.save_hyperparameters(logger=False)

    for module, expected in ((Net(3), True), (Quiet(3), False)):
        logger = pl.loggers.CSVLogger(".", name=type(module).__name__)
        pl.Trainer(max_steps=1, limit_val_batches=0, logger=logger, enable_progress_bar=False).fit(
            module
        )
        file = pathlib.Path(logger.log_dir, "hparams.yaml")
        assert ("width: 3" in (file.read_text() if file.exists() else "")) is expected
