"""Names, arguments and records of `ModelCheckpoint`, without a run."""

import datetime
import inspect
import os
import pickle

import pytest
import torch

from pytorch_lightning.callbacks.checkpoint import Checkpoint
from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint
from pytorch_lightning.callbacks.on_exception_checkpoint import OnExceptionCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException

METRICS = {
    "epoch": torch.tensor(3),
    "step": torch.tensor(7),
    "acc": torch.tensor(0.123456),
    "val/loss": torch.tensor(0.5),
}


def test_signature_is_the_documented_one():
    parameters = inspect.signature(ModelCheckpoint).parameters
    assert {name: p.default for name, p in parameters.items()} == {
        "dirpath": None,
        "filename": None,
        "monitor": None,
        "verbose": False,
        "save_last": None,
        "save_top_k": 1,
        "save_on_exception": False,
        "save_weights_only": False,
        "mode": "min",
        "auto_insert_metric_name": True,
        "every_n_train_steps": None,
        "train_time_interval": None,
        "every_n_epochs": None,
        "save_on_train_epoch_end": None,
        "enable_version_counter": True,
        "async_save": False,  # ours, and last
    }


@pytest.mark.parametrize(
    ("template", "labelled", "bare"),
    [
        (None, "epoch=3-step=7", "3-7"),
        ("{epoch}", "epoch=3", "3"),
        ("{epoch:02d}-{acc:.2f}", "epoch=03-acc=0.12", "03-0.12"),
        ("{epoch}-{val/loss:.2f}", "epoch=3-val/loss=0.50", "3-0.50"),
        ("e{epoch}-{missing:.3f}", "eepoch=3-missing=0.000", "e3-0.000"),
        ("{acc}", "acc=0.12345600128173828", "0.12345600128173828"),
        ("{val/loss}-{step:05d}", "val/loss=0.5-step=00007", "0.5-00007"),
        ("{acc:.2e}", "acc=1.23e-01", "1.23e-01"),
        ("x={acc:.2f}", "x=acc=0.12", "x=0.12"),
        ("{epoch:}", "epoch=3", "3"),
        ("plain", "plain", "plain"),
    ],
)
def test_template(tmp_path, template, labelled, bare):
    for insert, expected in ((True, labelled), (False, bare)):
        callback = ModelCheckpoint(tmp_path, template, auto_insert_metric_name=insert)
        assert callback.format_checkpoint_name(METRICS) == str(tmp_path / f"{expected}.ckpt")


def test_name_takes_file_name_version_and_prefix(tmp_path):
    callback = ModelCheckpoint(tmp_path)
    name = callback.format_checkpoint_name(METRICS, "{step}", ver=3, prefix="best")
    assert name == str(tmp_path / "best-step=7-v3.ckpt")
    assert ModelCheckpoint().format_checkpoint_name(METRICS) == "epoch=3-step=7.ckpt"


def test_characters_of_names_can_be_changed():
    class Colons(ModelCheckpoint):
        CHECKPOINT_JOIN_CHAR = "_"
        CHECKPOINT_EQUALS_CHAR = ":"
        FILE_EXTENSION = ".pt"

    assert Colons().format_checkpoint_name(METRICS, ver=1) == "epoch:3_step:7_v1.pt"


@pytest.mark.parametrize("template", ["{}", "{:.2f}", "{acc", "acc}", "{{acc}}", "{ }"])
def test_broken_template_is_refused_at_once(template):
    with pytest.raises(MisconfigurationException, match="filename="):
        ModelCheckpoint(filename=template)


def test_format_that_does_not_fit_names_the_value():
    with pytest.raises(ValueError, match=r"'acc' is tensor\(0\.1235\).*'03d'"):
        ModelCheckpoint(filename="{acc:03d}").format_checkpoint_name(METRICS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_top_k": -2}, "save_top_k=-2"),
        ({"save_top_k": 1.5, "monitor": "a"}, "save_top_k=1.5"),
        ({"save_top_k": 3}, "needs a `monitor`"),
        ({"every_n_train_steps": -1}, "every_n_train_steps=-1"),
        ({"every_n_epochs": -1}, "every_n_epochs=-1"),
        ({"every_n_epochs": 0.5}, "every_n_epochs=0.5"),
        ({"every_n_train_steps": 1, "every_n_epochs": 1}, "exclude each other"),
        (
            {"every_n_train_steps": 1, "train_time_interval": datetime.timedelta(1)},
            "exclude each other",
        ),
        ({"train_time_interval": 3}, "train_time_interval=3"),
        ({"mode": "up", "monitor": "a"}, "mode='up'"),
        ({"save_last": "newest"}, "save_last='newest'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(MisconfigurationException, match=message):
        ModelCheckpoint(**arguments)


def test_a_link_needs_a_local_folder():
    with pytest.raises(ValueError, match="save_last='link'.*remote"):
        ModelCheckpoint("memory://runs", save_last="link")


@pytest.mark.parametrize(
    ("arguments", "every_n_epochs"),
    [
        ({}, 1),
        ({"every_n_epochs": 3}, 3),
        ({"every_n_epochs": 0}, 0),
        ({"every_n_train_steps": 5}, 0),
        ({"every_n_train_steps": 0}, 0),
        ({"every_n_train_steps": 0, "every_n_epochs": 2}, 2),
        ({"train_time_interval": datetime.timedelta(minutes=1)}, 0),
    ],
)
def test_epochs_are_the_trigger_unless_another_is_given(arguments, every_n_epochs):
    assert ModelCheckpoint(**arguments).every_n_epochs == every_n_epochs


def test_state_key_is_the_documented_one_until_it_must_be_longer(tmp_path):
    documented = (
        "ModelCheckpoint{'monitor': 'a', 'mode': 'min', 'every_n_train_steps': 0, "
        "'every_n_epochs': 1, 'train_time_interval': None}"
    )
    one = ModelCheckpoint(tmp_path / "one", monitor="a")
    other = ModelCheckpoint(tmp_path / "other", monitor="a", filename="x")
    assert one.state_key == other.state_key == documented
    one.lengthen_state_key()
    other.lengthen_state_key()
    assert one.state_key != other.state_key
    assert one.state_key.startswith(documented[:-1])


def test_state_before_a_run(tmp_path):
    state = ModelCheckpoint(tmp_path, monitor="a", mode="max").state_dict()
    assert state.pop("kth_value") == torch.tensor(float("-inf"))
    assert state == {
        "monitor": "a",
        "best_model_score": None,
        "best_model_path": "",
        "current_score": None,
        "best_k_models": {},
        "kth_best_model_path": "",
        "last_model_path": "",
        "dirpath": str(tmp_path),
    }


def test_state_of_the_same_folder_is_taken_over(tmp_path):
    path = str(tmp_path / "a.ckpt")
    source = ModelCheckpoint(tmp_path, monitor="a")
    source.best_k_models = {path: torch.tensor(0.5)}
    source.best_model_path = source.kth_best_model_path = source.last_model_path = path
    source.best_model_score = source.kth_value = source.current_score = torch.tensor(0.5)
    target = ModelCheckpoint(tmp_path, monitor="a")
    target.load_state_dict(source.state_dict())
    assert target.state_dict() == source.state_dict()


def test_state_of_another_folder_gives_the_best_path_alone(tmp_path):
    source = ModelCheckpoint(tmp_path / "old", monitor="a")
    source.best_model_path, source.last_model_path = "old/best.ckpt", "old/last.ckpt"
    target = ModelCheckpoint(tmp_path / "new", monitor="a")
    with pytest.warns(UserWarning, match="only `best_model_path`"):
        target.load_state_dict(source.state_dict())
    assert target.best_model_path == "old/best.ckpt"
    assert target.last_model_path == ""


def test_state_of_a_file_cannot_set_other_attributes(tmp_path):
    callback = ModelCheckpoint(tmp_path)
    state = {**callback.state_dict(), "turn": {"turn_step": 4, "request": "x"}, "verbose": True}
    callback.load_state_dict(state)
    assert callback.verbose is False
    assert callback._request is None


def test_folder_is_made_absolute_and_urls_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ModelCheckpoint("some/folder").dirpath == os.path.join(str(tmp_path), "some/folder")
    assert ModelCheckpoint("memory://runs/a").dirpath == "memory://runs/a"
    assert ModelCheckpoint().dirpath is None


def test_list_of_the_best(tmp_path):
    callback = ModelCheckpoint(tmp_path, monitor="a")
    callback.best_k_models = {"x.ckpt": torch.tensor(0.5)}
    callback.to_yaml()
    assert (tmp_path / "best_k_models.yaml").read_text() == "x.ckpt: 0.5\n"
    callback.to_yaml(tmp_path / "other.yaml")
    assert (tmp_path / "other.yaml").read_text() == "x.ckpt: 0.5\n"


def test_who_saves_regularly():
    assert issubclass(ModelCheckpoint, Checkpoint)
    assert ModelCheckpoint.saves_regularly
    assert not OnExceptionCheckpoint.saves_regularly


def test_can_be_pickled(tmp_path):
    copied = pickle.loads(pickle.dumps(ModelCheckpoint(tmp_path, monitor="a")))
    assert copied.monitor == "a"
