"""Where an entry point starts from: the newest checkpoint that is whole."""

import os
import re
import shutil
import warnings

import pytest
import torch
from tests.distributed.ranks import run_ranks
from tests.small_runs import Small

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.sharded import Party, save_sharded
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import CheckpointError


def trainer_of(*callbacks, **arguments):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(
        **{"logger": False, "max_epochs": 1, **quiet, **arguments}, callbacks=list(callbacks)
    )


class Starts(Small):
    """Notes the step at which it begins to train."""

    step = None

    def on_train_start(self):
        self.step = self.trainer.global_step


def saved(folder, **options):
    """A run of four steps with a file of each, and the last one."""
    options = {"every_n_train_steps": 1, "save_top_k": -1, "filename": "{step}", **options}
    trainer = trainer_of(ModelCheckpoint(folder, **{"save_last": True, **options}))
    trainer.fit(Small())
    return trainer


def start(folder, word, verb="fit", **arguments):
    """Begin from a word; the step at which training began and all that was said."""
    trainer = trainer_of(ModelCheckpoint(folder), **{"max_epochs": 2, **arguments})
    module = Starts()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        getattr(trainer, verb)(module, ckpt_path=word)
    return module.step, [str(w.message) for w in said if "ckpt_path" in str(w.message)]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_format(path):
    path.write_text("a table")


def empty(path):
    path.write_bytes(b"")


def weights_only(path):
    content = torch.load(path, weights_only=True)
    torch.save({k: v for k, v in content.items() if k != "optimizer_states"}, path)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (cut, "cut off"),
        (flip, "sha256 differs"),
        (other_format, "not a checkpoint"),
        (empty, "empty"),
        (weights_only, "weights only"),
    ],
)
def test_what_cannot_be_used_is_passed_over_and_named(tmp_path, tally, harm, reason):
    saved(tmp_path)
    harm(tmp_path / "step=4.ckpt")
    harm(tmp_path / "last.ckpt")
    tally(f"newest file {reason}")
    step, said = start(tmp_path, "auto")
    assert step == 3
    (line,) = said
    assert "step=3.ckpt" in line
    for name in ("step=4.ckpt", "last.ckpt"):
        assert re.search(rf"{name}' \([^)]*{reason}", line)


def test_last_goes_by_the_step_in_the_file_and_down_only_where_one_is_damaged(tmp_path):
    saved(tmp_path)
    shutil.copy(tmp_path / "step=2.ckpt", tmp_path / "last-v1.ckpt")
    for age, name in enumerate(["last.ckpt", "last-v1.ckpt"]):
        os.utime(tmp_path / name, (age + 1, age + 1))
    assert start(tmp_path, "last")[0] == 4
    flip(tmp_path / "last.ckpt")
    step, (line,) = start(tmp_path, "last")
    assert step == 2
    assert "last.ckpt" in line


@pytest.mark.parametrize("word", ["last", "auto"])
@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_files_but_none_that_will_do(tmp_path, word, verb):
    saved(tmp_path, save_top_k=0)
    flip(tmp_path / "last.ckpt")
    (tmp_path / "last-v1.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointError) as caught:
        start(tmp_path, word, verb)
    for part in (f"ckpt_path='{word}'", "last.ckpt' (", "sha256", "last-v1.ckpt' ("):
        assert part in str(caught.value)


def test_no_file_is_a_fresh_start_that_is_said(tmp_path, caplog):
    step, (line,) = start(tmp_path, "last")
    assert step == 0
    assert "from scratch" in line
    assert "auto" not in line
    with caplog.at_level("INFO"):
        step, _ = start(tmp_path / "new", "auto")
    assert step == 0
    assert "starts afresh" in caplog.text


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
@pytest.mark.parametrize("word", ["last", "auto"])
def test_no_file_is_said_to_leave_the_weights_as_they_are(tmp_path, word, verb):
    _, (line,) = start(tmp_path, word, verb)
    assert f"`{verb}` uses the weights that the module has now" in line
    assert "training" not in line


def test_auto_says_which_file_it_takes(tmp_path, caplog):
    saved(tmp_path)
    with caplog.at_level("INFO"):
        assert start(tmp_path, "auto") == (4, [])
    assert "of step 4, is the newest" in caplog.text


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
@pytest.mark.parametrize("word", ["last", "auto"])
def test_other_verbs_take_weights_alone(tmp_path, verb, word):
    saved(tmp_path, save_weights_only=True)
    trainer = trainer_of(ModelCheckpoint(tmp_path))
    module = Small()
    getattr(trainer, verb)(module, ckpt_path=word)
    kept = torch.load(tmp_path / "step=4.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(module.layer.weight, kept["layer.weight"])


def test_a_script_that_is_started_again_finds_the_version_before(tmp_path):
    def script(epochs):
        trainer = trainer_of(logger=CSVLogger(tmp_path), max_epochs=epochs)
        module = Starts()
        trainer.fit(module, ckpt_path="auto")
        return module.step, trainer.logger.version

    assert [script(epochs) for epochs in (1, 2)] == [(0, 0), (4, 1)]
    shutil.rmtree(tmp_path / "lightning_logs" / "version_1" / "checkpoints")
    (tmp_path / "lightning_logs" / "version_2").mkdir()  # of a run that was killed before it saved
    assert script(3) == (4, 3)


def test_a_version_that_was_given_is_a_run_of_its_own(tmp_path):
    trainer_of(logger=CSVLogger(tmp_path)).fit(Small())
    module = Starts()
    trainer_of(logger=CSVLogger(tmp_path, version=7)).fit(module, ckpt_path="auto")
    assert module.step == 0


def test_last_in_a_new_version_mentions_the_one_before(tmp_path):
    trainer_of(logger=CSVLogger(tmp_path)).fit(Small())
    module = Starts()
    with pytest.warns(UserWarning, match=r"version_0.*'auto'"):
        trainer_of(logger=CSVLogger(tmp_path)).fit(module, ckpt_path="last")
    assert module.step == 0


class Failing(Small):
    def training_step(self, batch, batch_idx):
        if self.trainer.global_step == 2:
            raise RuntimeError("on purpose")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("word", ["last", "auto"])
def test_what_an_exception_left_is_found(tmp_path, word):
    def callbacks():
        return OnExceptionCheckpoint(tmp_path), ModelCheckpoint(tmp_path / "regular")

    with pytest.raises(RuntimeError, match="on purpose"):
        trainer_of(*callbacks()).fit(Failing())
    module = Starts()
    trainer_of(*callbacks()).fit(module, ckpt_path=word)
    assert module.step == 2
    assert not (tmp_path / "on_exception.ckpt").exists()


def test_files_of_requeued_jobs_are_found(tmp_path):
    saved(tmp_path / "regular", every_n_train_steps=2).save_checkpoint(tmp_path / "x.ckpt")
    os.rename(tmp_path / "x.ckpt", tmp_path / "hpc_ckpt_3.ckpt")
    assert start(tmp_path / "new", "auto", default_root_dir=tmp_path)[0] == 4


def test_parts_are_verified_by_their_hashes(tmp_path):
    saved(tmp_path, save_last=False)
    for step in (3, 4):
        content = TorchCheckpointIO().load_checkpoint(tmp_path / f"step={step}.ckpt")
        os.remove(tmp_path / f"step={step}.ckpt")
        save_sharded(content, tmp_path / f"step={step}.ckpt", Party())
    assert start(tmp_path, "auto")[0] == 4
    for path in tmp_path.glob("epoch=*.ckpt"):  # of the run that went on
        path.unlink()
    os.remove(tmp_path / "step=4.ckpt" / ".metadata")
    step, (line,) = start(tmp_path, "auto")
    assert step == 3
    assert re.search(r"step=4.ckpt' \([^)]*lacks .metadata", line)


def test_a_template_of_last_and_folders_in_names(tmp_path):
    class Named(ModelCheckpoint):
        CHECKPOINT_NAME_LAST = "{epoch}-last"

    options = {"filename": "deep/{step}", "save_last": True}
    trainer_of(Named(tmp_path, **options)).fit(Small())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "epoch=0-last.ckpt"]
    for word in ("last", "auto"):
        module = Starts()
        trainer_of(Named(tmp_path, **options), max_epochs=2).fit(module, ckpt_path=word)
        assert module.step in (4, 8)
        assert module.step


def test_remote_folders(tmp_path):
    pytest.importorskip("fsspec")
    folder = f"memory://{tmp_path.name}"
    saved(folder)
    assert start(folder, "auto")[0] == 4
    assert start(folder, "last")[0] == 4


class Backwards(TorchCheckpointIO):
    """A format of its own."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        super().save_checkpoint(checkpoint, path)
        with open(path, "r+b") as file:
            content = file.read()[::-1]
            file.seek(0)
            file.write(content)

    def load_checkpoint(self, path, map_location=None, weights_only=None):
        with open(path, "rb") as file, open(f"{path}.read", "wb") as copy:
            copy.write(file.read()[::-1])
        return super().load_checkpoint(f"{path}.read", map_location, weights_only)


def test_files_of_a_format_of_its_own_are_read_by_who_knows_it(tmp_path):
    options = {"every_n_train_steps": 1, "save_top_k": -1, "filename": "{step}"}
    trainer_of(ModelCheckpoint(tmp_path, **options), plugins=[Backwards()]).fit(Small())
    flip(tmp_path / "step=4.ckpt")
    step, (line,) = start(tmp_path, "auto", plugins=[Backwards()])
    assert step == 3
    assert "step=4.ckpt" in line


def test_a_fast_run_starts_from_nothing(tmp_path):
    saved(tmp_path)
    for word in ("last", "auto"):
        assert start(tmp_path, word, fast_dev_run=True) == (0, [])


@pytest.mark.parametrize(("wrong", "right"), [("lats", "last"), ("Auto", "auto"), ("bset", "best")])
def test_a_word_that_is_none(tmp_path, monkeypatch, wrong, right):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"Did you mean '{right}'"):
        trainer_of(ModelCheckpoint(tmp_path)).fit(Small(), ckpt_path=wrong)


def test_the_argument_of_earlier_releases_takes_words_too(tmp_path):
    saved(tmp_path)
    module = Starts()
    with pytest.warns(DeprecationWarning):
        trainer = trainer_of(ModelCheckpoint(tmp_path), max_epochs=2, resume_from_checkpoint="auto")
    trainer.fit(module)
    assert module.step == 4


def _on_ranks(folder, word):
    module = Starts()
    trainer = trainer_of(
        ModelCheckpoint(folder),
        devices=2,
        strategy="ddp",
        max_epochs=2,
        use_distributed_sampler=False,
    )
    try:
        trainer.fit(module, ckpt_path=word)
    except CheckpointError as error:
        return str(error)
    return module.step


@pytest.mark.parametrize(
    ("word", "said"), [("auto", 3), pytest.param("last", "last.ckpt", marks=pytest.mark.long)]
)
def test_all_ranks_hear_what_the_first_one_finds(tmp_path, tally, word, said):
    saved(tmp_path)
    flip(tmp_path / "last.ckpt")
    flip(tmp_path / "step=4.ckpt")
    tally("newest file sha256 differs", 2)
    for answer in run_ranks(_on_ranks, 2, tmp_path, word):
        assert answer == said or word == "last" and said in answer
