"""The order of every hook, held against traces in `golden/`.

Traces of `SCENARIOS` equal those of release 2.6.6 but for the place of SAVE, `teardown` after an
exception, and the sanity check, which no resumed run makes. Those of `OLD_SCENARIOS` are what the
tables of 1.x say.
"""

from pathlib import Path

import pytest
from tests.loops.trace import OLD_SCENARIOS, SCENARIOS, Recorder, fit, old_hooks, without_saves

from pytorch_lightning.callbacks import ModelCheckpoint

GOLDEN = Path(__file__).parent / "golden"


def golden(name):
    return (GOLDEN / f"{name}.txt").read_text().split("\n")[:-1]


@pytest.mark.parametrize("name", SCENARIOS)
def test_order_of_hooks(name, tmp_path):
    assert SCENARIOS[name](tmp_path) == golden(name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OLD_SCENARIOS)
def test_order_of_hooks_of_1x(name, tmp_path):
    assert OLD_SCENARIOS[name](tmp_path) == golden(name)


def test_files_are_written_when_every_listener_of_the_moment_has_run(tmp_path):
    events = fit(tmp_path)
    saves = [i for i, event in enumerate(events) if event == "CB.state_dict"]
    assert len(saves) == 2
    for place in saves:
        assert events[place - 1] == "LM.on_train_epoch_end"
        assert events[place : place + 4] == [
            "CB.state_dict",
            "DM.state_dict",
            "CB.on_save_checkpoint",
            "LM.on_save_checkpoint",
        ]


def test_files_by_steps_follow_the_batch_and_its_validation(tmp_path):
    run = Recorder(tmp_path, train=2)
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
    events = run.run("fit", saver, max_epochs=1, num_sanity_val_steps=0)
    before = [events[i - 1] for i, event in enumerate(events) if event == "CB.state_dict"]
    assert before == ["LM.on_train_batch_end", "LM.on_validation_model_train"]


def test_the_epoch_hooks_of_1x_enclose_those_of_their_stage(tmp_path):
    events = old_hooks(tmp_path)
    for stage in ("train", "validation"):
        start = events.index(f"CB.on_{stage}_epoch_start")
        assert events[start - 2 : start] == ["CB.on_epoch_start", "LM.on_epoch_start"]
        end = events.index(f"LM.on_{stage}_epoch_end")
        assert events[end + 1 : end + 3] == ["CB.on_epoch_end", "LM.on_epoch_end"]


def test_saving_adds_no_other_event(tmp_path):
    quiet = Recorder(tmp_path).run("fit", max_epochs=2)
    assert without_saves(fit(tmp_path / "other")) == quiet
