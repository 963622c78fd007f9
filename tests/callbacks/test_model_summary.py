"""The table of layers at the start of a fit."""

import logging
import sys

import pytest
import torch

import pytorch_lightning as pl
from pytorch_lightning.callbacks.model_summary import ModelSummary
from pytorch_lightning.callbacks.rich_model_summary import RichModelSummary
from pytorch_lightning.demos.boring_classes import BoringModel

TABLE = """
  | Name  | Type   | Params | Mode
-----------------------------------------
0 | layer | Linear | 66     | train
-----------------------------------------
66        Trainable params
0         Non-trainable params
66        Total params
0.000     Total estimated model params size (MB), 264 B
1         Modules in train mode
0         Modules in eval mode
"""


def fit(tmp_path, *callbacks, model=None):
    trainer = pl.Trainer(
        max_steps=1,
        callbacks=list(callbacks),
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(model or BoringModel())
    return trainer


def said(caplog) -> str:
    name = "pytorch_lightning.callbacks.model_summary"
    return "\n".join(record.getMessage() for record in caplog.records if record.name == name)


@pytest.fixture(autouse=True)
def listen(caplog):
    caplog.set_level(logging.INFO, logger="pytorch_lightning")


def without_margin(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def test_the_table_is_logged_when_fitting_begins(tmp_path, caplog):
    fit(tmp_path, ModelSummary())
    assert without_margin(said(caplog)) == without_margin(TABLE)


def test_a_trainer_has_one_unasked(tmp_path, caplog):
    trainer = fit(tmp_path)
    assert [type(callback) for callback in trainer.callbacks].count(ModelSummary) == 1
    assert "66        Total params" in said(caplog)


def test_depth_zero_says_nothing(tmp_path, caplog):
    fit(tmp_path, ModelSummary(max_depth=0))
    assert said(caplog) == ""


@pytest.mark.parametrize(("depth", "rows"), [(1, 1), (2, 3), (-1, 4)])
def test_depth(tmp_path, caplog, depth, rows):
    model = BoringModel()
    inner = torch.nn.Sequential(torch.nn.ReLU())
    model.layer = torch.nn.Sequential(torch.nn.Linear(32, 2), inner)
    fit(tmp_path, ModelSummary(max_depth=depth), model=model)
    assert sum(" | train" in line for line in said(caplog).splitlines()) == rows


@pytest.mark.parametrize("depth", [-2, "x", None])
def test_a_wrong_depth_is_told_at_once(depth):
    with pytest.raises(ValueError, match=r"`ModelSummary\(max_depth="):
        ModelSummary(max_depth=depth)


def test_summarize_can_be_overridden_and_gets_the_arguments(tmp_path, caplog):
    seen = {}

    class Mine(ModelSummary):
        @staticmethod
        def summarize(
            summary_data,
            total_parameters,
            trainable_parameters,
            model_size,
            total_training_modes,
            total_flops,
            **summarize_kwargs,
        ):
            seen.update(locals())

    model = BoringModel()
    model.layer.bias.requires_grad_(False)
    fit(tmp_path, Mine(max_depth=1, colour="blue"), model=model)
    assert dict(seen["summary_data"])["Name"] == ["layer"]
    assert (seen["total_parameters"], seen["trainable_parameters"]) == (66, 64)
    assert seen["model_size"] == pytest.approx(264e-6)
    assert seen["total_training_modes"] == {"train": 1, "eval": 0}
    assert seen["total_flops"] == 0
    assert seen["summarize_kwargs"] == {"colour": "blue"}
    assert said(caplog) == ""


def test_flops_are_shown_where_they_were_counted(caplog):
    ModelSummary.summarize([(" ", ["0"])], 1, 1, 1e-6, {"train": 1, "eval": 0}, 2_500)
    assert "2.5 K     Total Flops" in said(caplog)


def test_rich_draws_the_same_table(tmp_path, capsys):
    pytest.importorskip("rich")
    fit(tmp_path, RichModelSummary())
    drawn = capsys.readouterr().out
    assert "layer" in drawn and "Linear" in drawn
    assert "Total params: 66" in drawn
    assert "Modules in train mode: 1" in drawn


def test_without_rich_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r"`RichModelSummary`.*pytorch-lightning\[rich\]"):
        RichModelSummary()
