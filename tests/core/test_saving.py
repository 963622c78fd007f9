"""Objects from checkpoint files."""

import argparse
import dataclasses
import io
import pathlib
import pickle

import pytest
import torch
from torch import nn

from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.core.saving import load_module
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.warnings import PossibleUserWarning


class Net(LightningModule):
    def __init__(self, a=1, b=2):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(2, 2)


class Bare(LightningModule):
    """No weights; remembers what it was made with."""

    def __init__(self, conf, x=3):
        super().__init__()
        self.made_with = (conf, x)
        self.save_hyperparameters(conf)


def content(module, **more):
    return {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "hparams_name": module._hparams_name,
        "pytorch-lightning_version": "2.6.0",
        "epoch": 0,
        "global_step": 0,
        **more,
    }


@pytest.fixture
def write(tmp_path):
    def write(checkpoint, name="some.ckpt"):
        path = tmp_path / name
        torch.save(checkpoint, path)
        return path

    return write


def test_weights_and_hyperparameters_come_back(write):
    net = Net(5)
    other = Net.load_from_checkpoint(write(content(net)))
    assert other.hparams == {"a": 5, "b": 2}
    assert torch.equal(other.layer.weight, net.layer.weight)
    assert other.training
    assert other.device == torch.device("cpu")


def test_paths_and_file_objects(write):
    path = write(content(Net(5)))
    assert Net.load_from_checkpoint(str(path)).hparams.a == 5
    assert Net.load_from_checkpoint(io.BytesIO(path.read_bytes())).hparams.a == 5
    assert Net.load_from_checkpoint(checkpoint_path=path, map_location="cpu").hparams.a == 5


def test_the_callers_arguments_win(write):
    net = Net.load_from_checkpoint(write(content(Net(5))), b=9)
    assert net.hparams == {"a": 5, "b": 9}


def test_an_unknown_argument_is_left_out_with_a_hint(write):
    class Model(LightningModule):
        def __init__(self, width=1):
            super().__init__()
            self.save_hyperparameters()

    with pytest.warns(PossibleUserWarning, match="Did you mean 'width'"):
        model = Model.load_from_checkpoint(write(content(Model(3))), widht=4)
    assert model.hparams == {"width": 3}


def test_stored_values_that_init_does_not_take_are_left_out(write):
    checkpoint = content(Net(5))
    checkpoint["hyper_parameters"]["gone"] = 1
    assert Net.load_from_checkpoint(write(checkpoint)).hparams == {"a": 5, "b": 2}


def test_rest_arguments_get_everything(write):
    class Rest(Bare):
        def __init__(self, a, **rest):
            LightningModule.__init__(self)
            self.rest = rest

    path = write(content(Net(5), state_dict={"x": torch.ones(1)}))
    assert Rest.load_from_checkpoint(path, strict=False, zz=3).rest == {"b": 2, "zz": 3}


def test_a_missing_argument_is_named_with_the_cure(write):
    class Needs(LightningModule):
        def __init__(self, width):
            super().__init__()

    path = write({"state_dict": {}, "pytorch-lightning_version": "2.6.0"})
    with pytest.raises(TypeError, match=r"needs 'width'.*load_from_checkpoint\(path, width=...\)"):
        Needs.load_from_checkpoint(path)
    assert isinstance(Needs.load_from_checkpoint(path, width=1), Needs)


def test_a_container_goes_to_the_argument_it_came_from(write):
    path = write(content(Bare({"q": 1})))
    conf, x = Bare.load_from_checkpoint(path).made_with
    assert (conf, conf.q, x) == ({"q": 1}, 1, 3)
    assert Bare.load_from_checkpoint(path, q=5).made_with == ({"q": 5}, 3)
    assert Bare.load_from_checkpoint(path, x=7).made_with == ({"q": 1}, 7)
    assert Bare.load_from_checkpoint(path, conf={"z": 3}).made_with == ({"z": 3}, 3)


def test_a_namespace_comes_back_as_attributes(write):
    path = write(content(Bare(argparse.Namespace(q=1))))
    assert Bare.load_from_checkpoint(path).made_with[0].q == 1


@dataclasses.dataclass
class Config:
    width: int = 1
    depth: int = 2


class Configured(LightningModule):
    def __init__(self, conf: Config | None = None):
        super().__init__()
        self.conf = conf
        self.save_hyperparameters(conf)


def test_a_dataclass_is_made_again_where_the_code_asks_for_one(write):
    path = write(content(Configured(Config(width=4))))
    assert Configured.load_from_checkpoint(path).conf == Config(width=4)
    assert Configured.load_from_checkpoint(path, depth=5).conf == Config(width=4, depth=5)


@pytest.mark.parametrize("key", ["hparams", "module_arguments"])
def test_keys_of_old_releases(write, key):
    checkpoint = content(Net())
    checkpoint[key] = checkpoint.pop("hyper_parameters") | {"a": 8}
    del checkpoint["hparams_name"]
    assert Net.load_from_checkpoint(write(checkpoint)).hparams == {"a": 8, "b": 2}


def test_hparams_file(write, tmp_path):
    path = write(content(Net(5)))
    (tmp_path / "h.yaml").write_text("a: 7\nb: 8\n")
    (tmp_path / "h.csv").write_text("key,value\na,6\nb,8.5\n")
    assert Net.load_from_checkpoint(path, hparams_file=tmp_path / "h.yaml").hparams.a == 7
    net = Net.load_from_checkpoint(path, hparams_file=str(tmp_path / "h.csv"))
    assert net.hparams == {"a": 6, "b": 8.5}
    with pytest.raises(ValueError, match="csv, .yml or .yaml"):
        Net.load_from_checkpoint(path, hparams_file="h.json")
    with pytest.raises(FileNotFoundError, match="no such file"):
        Net.load_from_checkpoint(path, hparams_file="nowhere.yaml")


def test_a_call_on_an_instance_is_refused(write):
    path = write(content(Net(5)))
    with pytest.raises(TypeError, match=r"model = Net.load_from_checkpoint"):
        Net().load_from_checkpoint(path)
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        LightningDataModule().load_from_checkpoint(path)


def test_an_override_may_call_its_parents(write):
    class Sub(Net):
        @classmethod
        def load_from_checkpoint(cls, *args, **kwargs):
            net = super().load_from_checkpoint(*args, **kwargs)
            net.found = True
            return net

    sub = Sub.load_from_checkpoint(write(content(Net(5))))
    assert type(sub) is Sub
    assert sub.found


class Late(LightningModule):
    def __init__(self):
        super().__init__()
        self.order = []

    def configure_model(self):
        self.order.append("configure_model")
        self.layer = nn.Linear(2, 2)

    def on_load_checkpoint(self, checkpoint):
        self.order.append("on_load_checkpoint")
        checkpoint["state_dict"]["layer.bias"] = torch.full((2,), 7.0)


def test_hooks_come_before_the_weights(write):
    late = Late.load_from_checkpoint(write(content(Net())))
    assert late.order == ["configure_model", "on_load_checkpoint"]
    assert late.layer.bias.tolist() == [7.0, 7.0]


class Wider(Net):
    def __init__(self, a=1):
        super().__init__(a)
        self.extra = nn.Linear(3, 3)
        self.layer = nn.Linear(2, 3)


def test_a_checkpoint_of_another_model_names_what_differs(write):
    with pytest.raises(CheckpointError) as caught:
        Wider.load_from_checkpoint(write(content(Net())))
    message = str(caught.value)
    assert "missing there (2): extra.weight, extra.bias" in message
    assert "layer.weight is (2, 2) there and (3, 2) here" in message
    assert "some.ckpt" in message
    assert "another model" in message


class Fewer(Net):
    def __init__(self):
        super().__init__()
        self.other = self.layer
        del self.layer


def test_strict(write):
    path = write(content(Net()))
    with pytest.raises(RuntimeError, match="strict=False"):
        Fewer.load_from_checkpoint(path)
    with pytest.warns(UserWarning) as caught:
        Fewer.load_from_checkpoint(path, strict=False)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "lacks weights that the module has: other.weight, other.bias" in messages
    assert "has weights that the module lacks: layer.weight, layer.bias" in messages


def test_strict_loading_of_the_module_is_asked_when_not_told(write):
    class Lax(Fewer):
        strict_loading = False

    path = write(content(Net()))
    with pytest.warns(UserWarning, match="lacks weights"):
        Lax.load_from_checkpoint(path)
    with pytest.raises(RuntimeError, match="missing there"):
        Lax.load_from_checkpoint(path, strict=True)


def test_a_prefix_of_a_wrapper_is_recognised(write):
    checkpoint = content(Net())
    checkpoint["state_dict"] = {f"module.{k}": v for k, v in checkpoint["state_dict"].items()}
    with pytest.raises(CheckpointError, match="prefix 'module.'"):
        Net.load_from_checkpoint(write(checkpoint))


def test_files_that_hold_no_module(write):
    with pytest.raises(CheckpointError, match="bare state dict"):
        Net.load_from_checkpoint(write(Net().state_dict()))
    with pytest.raises(CheckpointError, match=r"no 'state_dict'. It has 'a'"):
        Net.load_from_checkpoint(write({"a": 1}))


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        Net.load_from_checkpoint(tmp_path / "none.ckpt")


def test_map_location_may_be_a_function(write):
    placed = []

    def elsewhere(storage, location):
        placed.append(location)
        return storage

    net = Net.load_from_checkpoint(write(content(Net(5))), map_location=elsewhere)
    assert placed == ["cpu", "cpu"]
    assert net.device.type == "cpu"


def test_a_stored_namespace(write):
    checkpoint = content(Net(), hyper_parameters=argparse.Namespace(a=6))
    assert Net.load_from_checkpoint(write(checkpoint)).hparams.a == 6


class ClassSpec(LightningModule):
    def __init__(self, net=None, **rest):
        super().__init__()
        self.net, self.rest = net, rest


def test_what_a_command_line_interface_left_is_never_imported(write, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {"class_path": "evil_module.Evil", "init_args": {"a": 1}}
    checkpoint = {
        "state_dict": {"x": torch.ones(1)},
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "net": spec,
            "_instantiator": "evil_module.make",
            "_class_path": "evil_module.Evil",
        },
    }
    with pytest.warns(UserWarning, match=r"only names a class \(evil_module.Evil\)"):
        model = ClassSpec.load_from_checkpoint(write(checkpoint), strict=False)
    assert model.net == spec
    assert model.rest == {}
    model = ClassSpec.load_from_checkpoint(write(checkpoint), strict=False, net="mine")
    assert model.net == "mine"


class Runs:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("touched"),)


def test_code_in_a_file_is_not_run(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(content(Net(), extra=Runs()))
    with pytest.raises((CheckpointError, pickle.UnpicklingError)):
        Net.load_from_checkpoint(path)
    assert not (tmp_path / "touched").exists()


class Data(LightningDataModule):
    def __init__(self, a=1, b=2):
        super().__init__()
        self.save_hyperparameters()
        self.events = []

    def load_state_dict(self, state_dict):
        self.events.append(state_dict)


def test_a_datamodule(write):
    path = write(
        {
            "datamodule_hyper_parameters": {"a": 4},
            "datamodule_hparams_name": "kwargs",
            "hyper_parameters": {"b": 99},
            Data.__qualname__: {"position": 3},
        }
    )
    data = Data.load_from_checkpoint(path, b=5)
    assert data.hparams == {"a": 4, "b": 5}
    assert data.events == [{"position": 3}]


def test_a_datamodule_of_1x_gets_the_whole_checkpoint(write):
    class Older(Data):
        def on_load_checkpoint(self, checkpoint):
            self.events.append(checkpoint["mine"])

    assert Older.load_from_checkpoint(write({"mine": 6})).events == [6]


def test_the_function_takes_arguments_of_any_name(write):
    class Odd(LightningModule):
        def __init__(self, cls=1, checkpoint_path=2):
            super().__init__()
            self.save_hyperparameters()

    path = write({"state_dict": {"x": torch.ones(1)}})
    odd = load_module(Odd, path, strict=False, **{"cls": 3, "checkpoint_path": 4})
    assert odd.hparams == {"cls": 3, "checkpoint_path": 4}
