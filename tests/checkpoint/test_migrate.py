"""Files of earlier releases in today's layout."""

import copy
import pathlib
import warnings

import pytest
import torch

from pytorch_lightning.checkpoint.migrate import migrate_checkpoint
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import warnings_given

DATA = pathlib.Path(__file__).parent / "data"
OLD = ("1.6.5", "1.7.7", "1.9.5")


def golden(release, kind):
    return read_checkpoint(DATA / f"{release}-{kind}.ckpt")


@pytest.mark.parametrize("kind", ["end", "weights"])
@pytest.mark.parametrize("release", OLD)
def test_the_same_run_has_the_same_counters_in_every_release(release, kind):
    # The releases ran the same program, so the layout is all that differs in what they counted.
    migrated = migrate_checkpoint(golden(release, kind))
    today = golden("2.6.6", kind)
    assert migrated["loops"] == today["loops"]
    assert list(migrated.get("callbacks", {})) == list(today.get("callbacks", {}))
    assert migrated.keys() == today.keys()
    assert migrated["lr_schedulers" if kind == "end" else "epoch"] == (
        today["lr_schedulers"] if kind == "end" else today["epoch"]
    )


@pytest.mark.parametrize("release", OLD)
def test_the_middle_of_an_epoch_stays_the_middle(release):
    fit = migrate_checkpoint(golden(release, "middle"))["loops"]["fit_loop"]
    today = golden("2.6.6", "middle")["loops"]["fit_loop"]
    assert fit["epoch_loop.batch_progress"] == today["epoch_loop.batch_progress"]
    steps = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    assert steps["total"]["completed"] == 8
    assert fit["epoch_loop.state_dict"] == {"_batches_that_stepped": 8}


@pytest.mark.parametrize("release", [*OLD, "2.6.6"])
def test_weights_optimizers_and_hyperparameters_are_untouched(release):
    checkpoint = golden(release, "end")
    migrated = migrate_checkpoint(checkpoint)
    for key in ("state_dict", "optimizer_states", "hyper_parameters", "epoch", "global_step"):
        assert migrated[key] is checkpoint[key]


@pytest.mark.parametrize("release", [*OLD, "2.6.6"])
def test_the_argument_stays_as_it_was_and_twice_is_as_once(release):
    checkpoint = golden(release, "last")
    before = copy.deepcopy(checkpoint)
    migrated = migrate_checkpoint(checkpoint)
    assert checkpoint["loops"] == before["loops"]
    assert list(checkpoint["callbacks"]) == list(before["callbacks"])
    again = migrate_checkpoint(migrated)
    assert again["loops"] is migrated["loops"]
    assert again["callbacks"] is migrated["callbacks"]


def test_a_file_of_today_passes_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint = golden("2.6.6", "end")
        migrated = migrate_checkpoint(checkpoint)
    assert all(migrated[key] is checkpoint[key] for key in checkpoint)
    assert migrated.keys() == checkpoint.keys()


def test_a_newer_file_of_this_layout_is_read_with_one_warning():
    checkpoint = {"pytorch-lightning_version": "2.99.0", "state_dict": {}}
    warnings_given.clear()
    with pytest.warns(UserWarning, match="release 2.99.0"):
        migrated = migrate_checkpoint(checkpoint)
    assert migrated == checkpoint
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        migrate_checkpoint(checkpoint)


def test_a_file_of_a_newer_layout_is_an_error_with_its_name():
    checkpoint = {"pytorch-lightning_version": "3.1.0", "state_dict": {}}
    with pytest.raises(CheckpointError, match=r"'a\.ckpt' was saved by release 3.1.0.*up to 2.x"):
        migrate_checkpoint(checkpoint, "a.ckpt")


@pytest.mark.parametrize(
    "wrong",
    [{"loops": {"fit_loop": 3}}, {"epoch": "x", "global_step": []}, {"epoch": 1, "global_step": 1,
      "optimizer_states": 3}, {"callbacks": 3, "early_stop_callback_wait": 1}],
)  # fmt: skip
def test_counters_that_no_release_wrote_are_an_error_with_the_name(wrong):
    with pytest.raises(CheckpointError, match=r"'a\.ckpt' has counters or states"):
        migrate_checkpoint({"state_dict": {}, **wrong}, "a.ckpt")


@pytest.mark.parametrize("version", ["2.6.6", "2.6.6+own.0.1.0", "2.6.6.post1", "strange", None, 3])
def test_other_versions_are_not_newer(version):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        migrate_checkpoint({"pytorch-lightning_version": version, "state_dict": {}})


def ancient(**more):
    """What releases up to 0.9 wrote at the end of the second epoch of four batches."""
    return {
        "epoch": 2,
        "global_step": 8,
        "state_dict": {"w": torch.ones(1)},
        "optimizer_states": [{"state": {}}, {"state": {}}],
        "lr_schedulers": [],
        **more,
    }


def test_a_file_from_before_there_were_loops_gets_them():
    loops = migrate_checkpoint(ancient())["loops"]
    today = golden("2.6.6", "end")["loops"]
    assert {name: set(loop) for name, loop in loops.items()} == {
        name: set(loop) for name, loop in today.items()
    }
    fit = loops["fit_loop"]
    assert fit["epoch_progress"]["current"]["completed"] == 2
    assert fit["epoch_loop.state_dict"]["_batches_that_stepped"] == 8
    assert fit["epoch_loop.batch_progress"]["is_last_batch"] is True
    # today's steps are those of optimizers, of which there are two
    progress = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    assert progress["step"]["total"]["completed"] == 16


@pytest.mark.parametrize("key", ["hparams", "module_arguments", "hyper_parameters"])
def test_hyperparameters_had_other_names(key):
    assert migrate_checkpoint(ancient(**{key: {"lr": 1}}))["hyper_parameters"] == {"lr": 1}


@pytest.mark.parametrize(
    "key", ["native_amp_scaling_state", "NativeMixedPrecisionPlugin", "MixedPrecisionPlugin"]
)
def test_the_scaler_had_other_names(key):
    migrated = migrate_checkpoint(ancient(**{key: {"scale": 2.0}}))
    assert migrated["MixedPrecision"] == {"scale": 2.0}
    assert key not in migrated


def test_the_state_of_apex_is_dropped():
    assert "amp_scaling_state" not in migrate_checkpoint(ancient(amp_scaling_state={"a": 1}))


def test_callbacks_had_keys_of_their_own():
    migrated = migrate_checkpoint(
        ancient(
            checkpoint_callback_best_model_path="a.ckpt",
            checkpoint_callback_best_model_score=0.5,
            early_stop_callback_wait=2,
            early_stop_callback_patience=3,
        )
    )
    assert migrated["callbacks"] == {
        "ModelCheckpoint": {"best_model_path": "a.ckpt", "best_model_score": 0.5},
        "EarlyStopping": {"wait_count": 2, "patience": 3},
    }
    assert not any(key.startswith(("checkpoint_", "early_")) for key in migrated)


def test_callbacks_were_kept_under_their_classes():
    states = {"pytorch_lightning.callbacks.early_stopping.EarlyStopping": {"wait_count": 1}}
    migrated = migrate_checkpoint(ancient(callbacks={**states, dict: {"a": 1}}))
    assert migrated["callbacks"] == {"EarlyStopping": {"wait_count": 1}, "dict": {"a": 1}}


def test_a_class_inside_another_keeps_its_key():
    checkpoint = golden("2.6.6", "end")
    checkpoint["callbacks"] = {"Outer.Inner": {"a": 1}, "make.<locals>.Inner": {"a": 2}}
    assert migrate_checkpoint(checkpoint)["callbacks"] is checkpoint["callbacks"]


def test_what_is_no_checkpoint_of_a_run_passes():
    assert migrate_checkpoint({"w": 1}) == {"w": 1}
    assert migrate_checkpoint({"state_dict": {}}) == {"state_dict": {}}


def test_states_of_loaders_with_tensors_pass():
    checkpoint = golden("2.6.6", "end")
    checkpoint["loops"]["fit_loop"]["state_dict"] = {"combined_loader": [torch.ones(3)]}
    assert migrate_checkpoint(checkpoint)["loops"] is checkpoint["loops"]
