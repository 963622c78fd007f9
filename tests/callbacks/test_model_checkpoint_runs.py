"""What `ModelCheckpoint` leaves on disk after a run."""

import os
from datetime import timedelta

import pytest
import torch

import pytorch_lightning as pl
from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers.csv_logs import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

SCORES = (5.0, 3.0, 4.0, 2.0, 6.0)
NAN, INF = float("nan"), float("inf")
ALL = [f"epoch={epoch}-step={4 * epoch + 4}" for epoch in range(5)]


class Scored(BoringModel):
    """Its `score` of each epoch is known beforehand; `place` is that of the last step."""

    def __init__(self, scores=SCORES):
        super().__init__()
        self.scores = scores

    def training_step(self, batch, batch_idx):
        self.log("place", float(self.trainer.global_step))
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self):
        self.log("score", self.scores[self.trainer.current_epoch])


def trainer_with(*callbacks, **arguments):
    defaults = {
        "max_epochs": 5,
        "limit_train_batches": 4,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**defaults, **arguments}, callbacks=list(callbacks))


def run(folder, module=None, trainer=None, **arguments):
    callback = ModelCheckpoint(folder, **arguments)
    trainer_with(callback, **(trainer or {})).fit(module or Scored())
    return callback


def stems(folder):
    return sorted(name.removesuffix(".ckpt") for name in os.listdir(folder))


def stem(path):
    return os.path.basename(path).removesuffix(".ckpt")


def read(path):
    return torch.load(path, weights_only=True)


def step_in(path):
    return read(path)["global_step"]


@pytest.mark.parametrize(
    ("arguments", "trainer", "expected"),
    [
        ({}, {}, ALL[4:]),
        ({"save_top_k": -1}, {}, ALL),
        ({"save_top_k": 0}, {}, []),
        ({"every_n_epochs": 2, "save_top_k": -1}, {}, [ALL[1], ALL[3]]),
        ({"every_n_epochs": 0, "save_top_k": -1}, {}, []),
        ({"monitor": "score", "save_top_k": 2}, {}, [ALL[1], ALL[3]]),
        ({"monitor": "score", "mode": "max", "save_top_k": 2}, {}, [ALL[0], ALL[4]]),
        ({"monitor": "score", "save_top_k": -1}, {}, ALL),
        (
            {"every_n_train_steps": 3, "save_top_k": -1},
            {},
            [f"epoch={(step - 1) // 4}-step={step}" for step in (3, 6, 9, 12, 15, 18)],
        ),
        (
            {"every_n_train_steps": 3, "save_top_k": 2, "monitor": "place", "mode": "max"},
            {},
            ["epoch=3-step=15", "epoch=4-step=18"],
        ),
        ({"every_n_train_steps": 5, "save_top_k": -1}, {"max_steps": 7}, ["epoch=1-step=5"]),
        ({"save_top_k": -1}, {"max_steps": 7}, [ALL[0], "epoch=1-step=7"]),
        (
            {"save_top_k": -1},
            {"val_check_interval": 2, "max_epochs": 2},
            ["epoch=0-step=2", "epoch=0-step=4", "epoch=1-step=6", "epoch=1-step=8"],
        ),
        ({"save_top_k": -1}, {"check_val_every_n_epoch": 2}, [ALL[1], ALL[3]]),
        ({"save_top_k": -1, "save_on_train_epoch_end": False}, {}, ALL),
        (
            {"save_top_k": -1, "save_on_train_epoch_end": True},
            {"check_val_every_n_epoch": 2},
            ALL,
        ),
        ({"save_top_k": -1}, {"limit_val_batches": 0, "val_check_interval": 0.5}, ALL),
        ({"filename": "x", "monitor": "score", "save_top_k": 2}, {}, ["x", "x-v1"]),
        (
            {"filename": "x", "monitor": "score", "save_top_k": 2, "enable_version_counter": False},
            {},
            ["x"],
        ),
        ({"filename": "{epoch}-{score:.1f}", "monitor": "score"}, {}, ["epoch=3-score=2.0"]),
    ],
)
def test_which_files_are_there(tmp_path, arguments, trainer, expected):
    os.mkdir(tmp_path / "files")
    run(tmp_path / "files", trainer=trainer, **arguments)
    assert stems(tmp_path / "files") == sorted(expected)


def test_records_of_the_best(tmp_path):
    callback = run(tmp_path / "files", monitor="score", save_top_k=2)
    best_k = {stem(path): score.item() for path, score in callback.best_k_models.items()}
    assert best_k == {ALL[1]: 3.0, ALL[3]: 2.0}
    assert stem(callback.best_model_path) == ALL[3]
    assert callback.best_model_score == callback.current_score == 2.0
    assert stem(callback.kth_best_model_path) == ALL[1]
    assert callback.kth_value == 3.0
    assert callback.last_model_path == ""


def test_records_without_a_monitor(tmp_path):
    callback = run(tmp_path / "files")
    assert stem(callback.best_model_path) == ALL[4]
    assert callback.best_model_score is None
    assert callback.best_k_models == {}


@pytest.mark.parametrize(
    ("scores", "arguments", "expected"),
    [
        ((NAN, 3.0, NAN, INF, 3.0), {}, [ALL[1]]),
        ((NAN, NAN, NAN, NAN, NAN), {}, [ALL[0]]),
        ((NAN, 3.0, NAN, -INF, 3.0), {"save_top_k": 2, "mode": "max"}, [ALL[1], ALL[4]]),
        ((1.0, 1.0, 1.0, 1.0, 1.0), {"save_top_k": 2}, ALL[:2]),
    ],
)
def test_nan_is_the_worst_and_ties_keep_the_older(tmp_path, scores, arguments, expected):
    callback = run(tmp_path / "files", Scored(scores), monitor="score", **arguments)
    assert stems(tmp_path / "files") == expected
    assert not torch.isnan(callback.best_model_score)


def test_last_is_the_newest_state_though_the_monitor_got_worse(tmp_path):
    callback = run(tmp_path / "files", monitor="score", save_last=True)
    assert stems(tmp_path / "files") == [ALL[3], "last"]
    assert step_in(callback.last_model_path) == 20
    assert step_in(callback.best_model_path) == 16


def test_last_holds_what_the_ranked_file_of_that_moment_holds(tmp_path):
    callback = run(tmp_path / "files", save_last=True)
    with open(callback.last_model_path, "rb") as last, open(callback.best_model_path, "rb") as best:
        assert last.read() == best.read()


@pytest.mark.parametrize("arguments", [{"save_top_k": 0}, {"every_n_epochs": 0}])
def test_last_alone(tmp_path, arguments):
    callback = run(tmp_path / "files", save_last=True, **arguments)
    assert stems(tmp_path / "files") == ["last"]
    assert step_in(callback.last_model_path) == 20


def test_last_with_values_in_its_name_replaces_the_one_before(tmp_path):
    class Named(ModelCheckpoint):
        CHECKPOINT_NAME_LAST = "last-{step}"

    callback = Named(tmp_path / "files", save_last=True, save_top_k=0)
    trainer_with(callback, max_epochs=3).fit(Scored())
    assert stems(tmp_path / "files") == ["last-step=12"]


def test_last_as_a_link(tmp_path):
    improving = run(tmp_path / "files", Scored((5.0, 4.0)), {"max_epochs": 2}, save_last="link")
    assert os.path.islink(improving.last_model_path)
    assert os.path.realpath(improving.last_model_path) == improving.best_model_path
    assert not os.path.isabs(os.readlink(improving.last_model_path))


def test_a_state_that_does_not_rank_is_no_link(tmp_path):
    callback = run(tmp_path / "files", monitor="score", save_last="link")
    assert not os.path.islink(callback.last_model_path)
    assert step_in(callback.last_model_path) == 20
    assert step_in(callback.best_model_path) == 16


def test_a_second_run_leaves_the_files_of_the_first(tmp_path):
    run(tmp_path / "files", trainer={"max_epochs": 1}, save_last=True)
    with pytest.warns(UserWarning, match="is not empty"):
        second = run(tmp_path / "files", trainer={"max_epochs": 1}, save_last=True)
    assert stems(tmp_path / "files") == [ALL[0], f"{ALL[0]}-v1", "last", "last-v1"]
    assert stem(second.best_model_path) == f"{ALL[0]}-v1"
    assert stem(second.last_model_path) == "last-v1"


def test_names_that_are_taken_may_be_overwritten(tmp_path):
    arguments = {"trainer": {"max_epochs": 1}, "enable_version_counter": False}
    run(tmp_path / "files", **arguments)
    with pytest.warns(UserWarning, match="is not empty"):
        run(tmp_path / "files", **arguments)
    assert stems(tmp_path / "files") == [ALL[0]]


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "other.ckpt").write_text("mine")
    with pytest.warns(UserWarning, match="is not empty"):
        run(tmp_path, monitor="score", save_last=True)
    assert (tmp_path / "notes.txt").read_text() == (tmp_path / "other.ckpt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == [
        f"{ALL[3]}.ckpt",
        "last.ckpt",
        "notes.txt",
        "other.ckpt",
    ]


def test_a_save_by_steps_waits_for_the_validation_of_its_step(tmp_path):
    run(tmp_path / "files", every_n_train_steps=4, monitor="score", save_top_k=-1)
    for path in (tmp_path / "files").iterdir():
        file = read(path)
        state = next(iter(file["callbacks"].values()))
        assert state["current_score"] == SCORES[file["epoch"]]


def test_a_save_whose_monitor_does_not_exist_yet_waits_for_validation(tmp_path):
    run(tmp_path / "files", trainer={"max_epochs": 1}, every_n_train_steps=3, monitor="score")
    assert stems(tmp_path / "files") == [ALL[0]]


@pytest.mark.parametrize("arguments", [{"save_top_k": 1}, {"save_top_k": 3, "monitor": "score"}])
def test_a_file_knows_itself(tmp_path, arguments):
    class Watching(ModelCheckpoint):
        """Reads each file as soon as it is whole."""

        def _carry_out(self, trainer, turn):
            super()._carry_out(trainer, turn)
            now = self.state_dict()
            for path in filter(None, (turn.path, turn.last)):
                state = read(path)["callbacks"][self.state_key]
                seen.append(path)
                for name in ("best_model_path", "best_k_models", "last_model_path", "kth_value"):
                    assert state[name] == now[name]

    seen = []
    trainer_with(Watching(tmp_path / "files", save_last=True, **arguments)).fit(Scored())
    assert len(seen) >= 8


class FailingIO(TorchCheckpointIO):
    """Refuses to write from the third file on."""

    written = 0

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        self.written += 1
        if self.written > 2:
            raise OSError(28, "No space left on device")
        super().save_checkpoint(checkpoint, path, storage_options)


def test_a_save_that_fails_leaves_files_and_records_as_they_were(tmp_path):
    callback = ModelCheckpoint(tmp_path / "files", monitor="place", mode="max")
    with pytest.raises(OSError, match="No space left"):
        trainer_with(callback, plugins=[FailingIO()]).fit(Scored())
    assert stems(tmp_path / "files") == [ALL[1]]
    assert stem(callback.best_model_path) == ALL[1]
    assert list(callback.best_k_models) == [callback.best_model_path]
    assert callback.state_dict()["best_model_path"] == callback.best_model_path


def test_files_without_optimizers(tmp_path):
    callback = run(tmp_path / "files", trainer={"max_epochs": 1}, save_weights_only=True)
    file = read(callback.best_model_path)
    assert "state_dict" in file
    assert "optimizer_states" not in file
    assert "callbacks" not in file


def test_by_time(tmp_path):
    run(
        tmp_path / "files",
        trainer={"max_epochs": 1},
        train_time_interval=timedelta(microseconds=1),
        save_top_k=-1,
    )
    assert stems(tmp_path / "files") == [f"epoch=0-step={step}" for step in (1, 2, 3, 4)]
    run(
        tmp_path / "hourly",
        trainer={"max_epochs": 1},
        train_time_interval=timedelta(hours=1),
        save_top_k=-1,
    )
    assert not (tmp_path / "hourly").exists()


def test_a_window_of_batches_is_saved_once(tmp_path):
    run(
        tmp_path / "files",
        trainer={"accumulate_grad_batches": 2, "max_epochs": 1},
        every_n_train_steps=1,
        save_top_k=-1,
    )
    assert stems(tmp_path / "files") == ["epoch=0-step=1", "epoch=0-step=2"]


def test_manual_optimization_by_steps(tmp_path):
    class Manual(BoringModel):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            loss = super().training_step(batch, batch_idx)["loss"]
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    model = Manual()
    model.automatic_optimization = False
    run(
        tmp_path / "files",
        model,
        {"max_epochs": 1},
        every_n_train_steps=2,
        save_top_k=-1,
    )
    assert stems(tmp_path / "files") == ["epoch=0-step=2", "epoch=0-step=4"]


@pytest.mark.parametrize("trainer", [{"fast_dev_run": 2}, {"max_epochs": 0}])
def test_nothing_is_saved_when_nothing_is_trained_for_good(tmp_path, trainer):
    run(tmp_path / "files", trainer=trainer, save_last=True)
    assert not (tmp_path / "files").exists()


def test_evaluation_saves_nothing(tmp_path):
    callback = ModelCheckpoint(tmp_path / "files", save_on_train_epoch_end=False)
    trainer = trainer_with(callback)
    trainer.validate(BoringModel(), verbose=False)
    trainer.test(BoringModel(), verbose=False)
    assert not (tmp_path / "files").exists()


def test_the_sanity_check_saves_nothing(tmp_path):
    run(
        tmp_path / "files",
        trainer={"max_epochs": 0, "num_sanity_val_steps": 1},
        save_on_train_epoch_end=False,
    )
    assert not (tmp_path / "files").exists()


def test_default_folders(tmp_path):
    arguments = {"max_epochs": 1, "default_root_dir": tmp_path}
    plain = trainer_with(**arguments)
    plain.fit(BoringModel())
    assert stems(tmp_path / "checkpoints") == [ALL[0]]
    logged = trainer_with(**{**arguments, "logger": CSVLogger(tmp_path, version="trial")})
    logged.fit(BoringModel())
    assert stems(tmp_path / "lightning_logs" / "trial" / "checkpoints") == [ALL[0]]
    numbered = trainer_with(**{**arguments, "logger": CSVLogger(tmp_path, name="x")})
    numbered.fit(BoringModel())
    assert stems(tmp_path / "x" / "version_0" / "checkpoints") == [ALL[0]]


def test_loggers_hear_of_each_save(tmp_path):
    class Listening(CSVLogger):
        def after_save_checkpoint(self, checkpoint_callback):
            heard.append(stem(checkpoint_callback.best_model_path))
            assert os.path.exists(checkpoint_callback.best_model_path)

    heard = []
    logger = Listening(tmp_path)
    run(tmp_path / "files", trainer={"logger": logger, "max_epochs": 2})
    assert heard == ALL[:2]


# --- a monitor that is not there ------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{}, {"every_n_train_steps": 2}, {"save_on_train_epoch_end": False}, {"save_top_k": -1}],
)
def test_a_monitor_that_is_never_logged_is_an_error_at_its_first_turn(tmp_path, arguments):
    callback = ModelCheckpoint(tmp_path / "files", monitor="scor", **arguments)
    trainer = trainer_with(callback)
    with pytest.raises(MisconfigurationException, match="Did you mean 'score'"):
        trainer.fit(Scored())
    assert trainer.current_epoch == 0


def test_without_any_validation_it_is_an_error_too(tmp_path):
    class NoValidation(Scored):
        validation_step = None
        val_dataloader = None

    callback = ModelCheckpoint(tmp_path / "files", monitor="plac")
    with pytest.raises(MisconfigurationException, match="Did you mean 'place'"):
        trainer_with(callback).fit(NoValidation())


def test_a_validation_that_is_switched_off_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="No validation runs"):
        run(tmp_path / "files", trainer={"limit_val_batches": 0}, monitor="score", save_last=True)
    assert not (tmp_path / "files").exists()


def test_a_validation_that_comes_later_is_waited_for(tmp_path):
    run(
        tmp_path / "files",
        trainer={"check_val_every_n_epoch": 3},
        monitor="score",
        save_on_train_epoch_end=True,
    )
    assert stems(tmp_path / "files") == [ALL[2]]


# --- exceptions and resuming ----------------------------------------------------------------------


class Breaking(Scored):
    """Fails at a step."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def training_step(self, batch, batch_idx):
        if self.trainer.global_step == self.at:
            raise RuntimeError("broken")
        return super().training_step(batch, batch_idx)


def test_the_state_at_an_exception(tmp_path):
    callback = ModelCheckpoint(tmp_path / "files", save_on_exception=True, save_last=True)
    with pytest.raises(RuntimeError, match="broken"):
        trainer_with(callback).fit(Breaking(at=6))
    assert stems(tmp_path / "files") == [ALL[0], "epoch=1-step=6", "last"]
    assert step_in(callback.last_model_path) == 6
    assert stem(callback.best_model_path) == ALL[0]


def test_without_it_an_exception_saves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="broken"):
        run(tmp_path / "files", Breaking(at=6))
    assert stems(tmp_path / "files") == [ALL[0]]


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_resumed_run_keeps_what_an_uninterrupted_one_keeps(tmp_path, cut):
    arguments = {"monitor": "score", "save_top_k": 2, "save_last": True}
    whole = run(tmp_path / "whole", **arguments)
    run(tmp_path / "parts", trainer={"max_epochs": cut}, **arguments)
    resumed = ModelCheckpoint(tmp_path / "parts", **arguments)
    trainer_with(resumed).fit(Scored(), ckpt_path=tmp_path / "parts" / "last.ckpt")
    assert stems(tmp_path / "parts") == stems(tmp_path / "whole")
    assert step_in(resumed.last_model_path) == 20
    for name in ("best_model_score", "current_score", "kth_value"):
        assert getattr(resumed, name) == getattr(whole, name)
    assert stem(resumed.best_model_path) == stem(whole.best_model_path)


def test_the_file_resumed_from_stays(tmp_path):
    first = run(tmp_path / "files", trainer={"max_epochs": 1})
    callback = ModelCheckpoint(tmp_path / "files")
    trainer_with(callback, max_epochs=3).fit(Scored(), ckpt_path=first.best_model_path)
    assert stems(tmp_path / "files") == [ALL[0], ALL[2]]


def test_the_file_resumed_from_is_not_overwritten_either(tmp_path):
    first = run(tmp_path / "files", trainer={"max_epochs": 1}, filename="x")
    callback = ModelCheckpoint(tmp_path / "files", filename="x")
    trainer_with(callback, max_epochs=3).fit(Scored(), ckpt_path=first.best_model_path)
    assert step_in(tmp_path / "files" / "x.ckpt") == 4
    assert step_in(callback.best_model_path) == 12
    assert stems(tmp_path / "files") == ["x", "x-v1"]


def test_two_callbacks_that_differ_in_their_folder_keep_their_own_state(tmp_path):
    def callbacks():
        return [ModelCheckpoint(tmp_path / name, monitor="score") for name in ("one", "two")]

    first = callbacks()
    trainer_with(*first, max_epochs=2).fit(Scored())
    second = callbacks()
    trainer_with(*second, max_epochs=2).fit(Scored(), ckpt_path=first[1].best_model_path)
    for old, new in zip(first, second, strict=True):
        assert new.best_model_path == old.best_model_path


def test_a_callback_can_serve_a_second_trainer(tmp_path):
    callback = ModelCheckpoint(tmp_path / "files", save_top_k=-1)
    trainer_with(callback, max_epochs=1).fit(Scored())
    trainer_with(callback, max_epochs=1).fit(Scored())
    assert stems(tmp_path / "files") == [ALL[0], f"{ALL[0]}-v1"]


STEPWISE = {"every_n_train_steps": 3, "save_last": True}


@pytest.mark.parametrize("at", [4, 7, 8, 10, 16])
@pytest.mark.parametrize(
    ("arguments", "trainer"),
    [
        ({"monitor": "place", "mode": "max", "save_top_k": 2}, {}),
        ({"monitor": "score", "save_top_k": 2}, {"val_check_interval": 2}),
        ({}, {"val_check_interval": 0.5}),
    ],
)
def test_a_run_that_broke_leaves_the_same_files_in_the_end(tmp_path, at, arguments, trainer):
    arguments = {**STEPWISE, **arguments}
    whole = run(tmp_path / "whole", trainer=trainer, **arguments)
    with pytest.raises(RuntimeError, match="broken"):
        run(tmp_path / "parts", Breaking(at), trainer, **arguments)
    resumed = ModelCheckpoint(tmp_path / "parts", **arguments)
    trainer_with(resumed, **trainer).fit(Scored(), ckpt_path=tmp_path / "parts" / "last.ckpt")
    assert stems(tmp_path / "parts") == stems(tmp_path / "whole")
    expected, found = whole.state_dict(), resumed.state_dict()
    assert stem(found["best_model_path"]) == stem(expected["best_model_path"])
    assert {stem(p): s for p, s in found["best_k_models"].items()} == {
        stem(p): s for p, s in expected["best_k_models"].items()
    }
    assert found["turn"] == expected["turn"]


def test_what_fell_out_is_deleted_though_the_run_died_before(tmp_path):
    class Dying(ModelCheckpoint):
        """The process ends between writing and deleting."""

        def _carry_out(self, trainer, turn):
            if trainer.global_step == 8:
                trainer.strategy.remove_checkpoint = lambda path: 1 / 0
            super()._carry_out(trainer, turn)

        state_key = property(lambda self: ModelCheckpoint(monitor="score").state_key)

    with pytest.raises(ZeroDivisionError):
        trainer_with(Dying(tmp_path / "files", monitor="score")).fit(Scored())
    assert stems(tmp_path / "files") == ALL[:2]
    callback = ModelCheckpoint(tmp_path / "files", monitor="score")
    trainer_with(callback, max_epochs=3).fit(
        Scored(), ckpt_path=tmp_path / "files" / f"{ALL[1]}.ckpt"
    )
    assert stems(tmp_path / "files") == [ALL[1]]


def test_a_ranked_file_that_is_gone_is_not_kept(tmp_path):
    arguments = {"monitor": "score", "save_top_k": 2, "save_last": True}
    run(tmp_path / "files", trainer={"max_epochs": 2}, **arguments)
    os.remove(tmp_path / "files" / f"{ALL[1]}.ckpt")
    callback = ModelCheckpoint(tmp_path / "files", **arguments)
    trainer_with(callback, max_epochs=3).fit(Scored(), ckpt_path=tmp_path / "files" / "last.ckpt")
    assert stems(tmp_path / "files") == [ALL[0], ALL[2], "last"]
    assert stem(callback.best_model_path) == ALL[2]


@pytest.mark.parametrize("arguments", [{"every_n_train_steps": 3}, {}])
def test_a_file_of_one_callback_does_not_lose_the_turn_of_another(tmp_path, arguments):
    def callbacks(folder):
        names = ("first", "second")
        return [ModelCheckpoint(folder / name, save_top_k=-1, **arguments) for name in names]

    trainer_with(*callbacks(tmp_path / "whole"), max_epochs=2).fit(Scored())
    whole = stems(tmp_path / "whole" / "first")
    cut = tmp_path / "cut"
    trainer_with(*callbacks(cut), max_epochs=2).fit(Scored())
    for name in os.listdir(cut / "second"):
        os.remove(cut / "second" / name)
    for name in whole[1:]:
        os.remove(cut / "first" / f"{name}.ckpt")
    path = cut / "first" / f"{whole[0]}.ckpt"
    trainer_with(*callbacks(cut), max_epochs=2).fit(Scored(), ckpt_path=path)
    assert stems(cut / "second") == stems(cut / "first") == whole


# --- names ----------------------------------------------------------------------------------------


class Slashed(Scored):
    """Logs under a name with a slash, and under those that the default name takes."""

    def on_validation_epoch_end(self):
        self.log("val/score", 0.5)
        self.log_dict({"step": 70.0, "epoch": 9.0})


@pytest.mark.parametrize(
    ("insert", "expected"), [(True, "a-val/score=0.50.ckpt"), (False, "a-0.50.ckpt")]
)
def test_a_slash_in_a_name_makes_a_folder_unless_names_are_left_out(tmp_path, insert, expected):
    callback = run(
        tmp_path / "files",
        Slashed(),
        {"max_epochs": 1},
        filename="a-{val/score:.2f}",
        auto_insert_metric_name=insert,
    )
    assert os.path.relpath(callback.best_model_path, tmp_path / "files") == expected


def test_epoch_and_step_that_were_logged_replace_those_of_the_trainer(tmp_path):
    callback = run(tmp_path / "files", Slashed(), {"max_epochs": 1})
    assert stem(callback.best_model_path) == "epoch=9-step=70"


def test_parts_of_names_are_constants_of_the_class():
    assert ModelCheckpoint.CHECKPOINT_JOIN_CHAR == "-"
    assert ModelCheckpoint.CHECKPOINT_EQUALS_CHAR == "="
    assert ModelCheckpoint.CHECKPOINT_NAME_LAST == "last"
    assert ModelCheckpoint.FILE_EXTENSION == ".ckpt"
    assert ModelCheckpoint.STARTING_VERSION == 1


def test_programs_may_ask_whether_a_score_ranks_and_whether_a_file_exists(tmp_path):
    callback = ModelCheckpoint(tmp_path / "files", monitor="score", save_top_k=2)
    trainer = trainer_with(callback)
    trainer.fit(Scored())  # keeps 3.0 and 2.0
    assert callback.check_monitor_top_k(trainer, torch.tensor(2.5))
    assert not callback.check_monitor_top_k(trainer, torch.tensor(3.0))
    assert not callback.check_monitor_top_k(trainer, None)
    assert callback.file_exists(callback.best_model_path, trainer)
    assert not callback.file_exists(str(tmp_path / "files" / "none.ckpt"), trainer)


def test_settings_can_be_read(tmp_path):
    callback = ModelCheckpoint(
        tmp_path, "{epoch}", "score", True, save_last=True, save_top_k=3, mode="max"
    )
    assert (callback.dirpath, callback.filename, callback.monitor) == (
        str(tmp_path),
        "{epoch}",
        "score",
    )
    assert (callback.mode, callback.save_top_k, callback.save_last) == ("max", 3, True)
    assert (callback.verbose, callback.save_weights_only) == (True, False)


# --- going on with a run -------------------------------------------------------------------------


def go_on(folder, path, **arguments):
    callback = ModelCheckpoint(folder, **arguments)
    trainer_with(callback).fit(Scored(), ckpt_path=path)
    return callback


@pytest.mark.parametrize("word", ["last", "auto"])
def test_a_run_that_goes_on_from_an_earlier_file_writes_over_its_own_later_ones(tmp_path, word):
    run(tmp_path / "whole", save_top_k=-1, save_last=True)
    run(tmp_path / "parts", trainer={"max_epochs": 3}, save_top_k=-1, save_last=True)
    for name in ("last", *([ALL[2]] if word == "auto" else [])):
        os.remove(tmp_path / "parts" / f"{name}.ckpt")
    (tmp_path / "parts" / f"{ALL[1]}.ckpt").rename(tmp_path / "parts" / "last.ckpt")
    go_on(tmp_path / "parts", word, save_top_k=-1, save_last=True)
    assert set(stems(tmp_path / "parts")) == set(stems(tmp_path / "whole")) - {ALL[1]}
    assert step_in(tmp_path / "parts" / "last.ckpt") == 20


def test_another_branch_of_a_run_leaves_the_files_of_the_first(tmp_path):
    first = run(tmp_path / "files", save_top_k=-1)
    before = {name: os.stat(tmp_path / "files" / f"{name}.ckpt").st_ino for name in ALL}
    go_on(tmp_path / "files", tmp_path / "files" / f"{ALL[2]}.ckpt", save_top_k=-1)
    assert stem(first.best_model_path) == ALL[4]
    versions = [f"{name}-v1" for name in ALL[3:]]
    assert stems(tmp_path / "files") == sorted([*ALL, *versions])
    assert before == {name: os.stat(tmp_path / "files" / f"{name}.ckpt").st_ino for name in ALL}


def test_another_run_in_the_same_folder_is_not_touched(tmp_path):
    run(tmp_path / "files", trainer={"max_epochs": 1}, save_top_k=-1)
    run(tmp_path / "other", trainer={"max_epochs": 2}, save_top_k=-1)
    foreign = tmp_path / "files" / f"{ALL[1]}.ckpt"
    os.rename(tmp_path / "other" / f"{ALL[1]}.ckpt", foreign)
    content = foreign.read_bytes()
    go_on(tmp_path / "files", tmp_path / "files" / f"{ALL[0]}.ckpt", save_top_k=-1)
    assert foreign.read_bytes() == content
    assert f"{ALL[1]}-v1" in stems(tmp_path / "files")


class Keeping(Scored):
    """Has its state kept as if a signal had come."""

    kept = None

    def on_train_batch_start(self, batch, batch_idx):
        if self.trainer.global_step == 6:
            self.kept = self.trainer.checkpoint_callback._keep_for_restart(self.trainer)
            raise RuntimeError("asked to end")


@pytest.mark.parametrize("save_last", [None, True])
@pytest.mark.parametrize("weights_only", [False, True])
def test_what_is_kept_for_a_restart_goes_when_the_run_has_come_farther(
    tmp_path, save_last, weights_only
):
    options = {"save_last": save_last, "save_weights_only": weights_only}
    run(tmp_path / "whole", **options)
    module = Keeping()
    with pytest.raises(RuntimeError, match="asked to end"):
        run(tmp_path / "parts", module, **options)
    assert module.kept == str(tmp_path / "parts" / "last.ckpt")
    assert step_in(module.kept) == 6
    assert "optimizer_states" in read(module.kept)
    go_on(tmp_path / "parts", "last", **options)
    assert stems(tmp_path / "parts") == stems(tmp_path / "whole")


@pytest.mark.parametrize("word", ["auto", "last"])
def test_the_file_of_an_exception_goes_when_the_run_has_come_farther(tmp_path, word):
    options = {"save_on_exception": True, "save_last": True}
    run(tmp_path / "whole", **options)
    with pytest.raises(RuntimeError, match="broken"):
        run(tmp_path / "parts", Breaking(at=6), **options)
    go_on(tmp_path / "parts", word, **options)
    assert stems(tmp_path / "parts") == stems(tmp_path / "whole")
