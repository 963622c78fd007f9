"""Bars drawn by rich."""

import io
import sys

import pytest

import pytorch_lightning as pl
from pytorch_lightning.callbacks.progress import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme

pytest.importorskip("rich")


def draw(tmp_path, verb, model, loaders, *, make=RichProgressBar, **options) -> str:
    paper = io.StringIO()
    console = {"file": paper, "force_terminal": True, "width": 160, "color_system": None}
    bar = make(console_kwargs=console, **options)
    trainer = pl.Trainer(
        max_epochs=2,
        callbacks=[bar],
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    getattr(trainer, verb)(model, *loaders)
    return paper.getvalue()


def test_fit_shows_epochs_and_metrics(tmp_path, model, loader):
    drawn = draw(tmp_path, "fit", model, [loader(4), loader(3)])
    assert "Sanity Checking DataLoader 0" in drawn
    assert "Validation DataLoader 0" in drawn
    assert "hello world" in drawn
    last = [line for line in drawn.splitlines() if "Epoch 1/1" in line][-1]
    assert "4/4" in last
    assert "train_loss: 0." in last or "train_loss: 1." in last
    assert "val_loss: 0.500" in last


@pytest.mark.parametrize(
    ("verb", "words"), [("validate", "Validation"), ("test", "Testing"), ("predict", "Predicting")]
)
def test_evaluations_show_every_loader(tmp_path, model, verb, words, loader):
    drawn = draw(tmp_path, verb, model, [[loader(2), loader(3)]])
    assert f"{words} DataLoader 0" in drawn and "2/2" in drawn
    assert f"{words} DataLoader 1" in drawn and "3/3" in drawn


def test_a_theme_writes_the_metrics(tmp_path, model, loader):
    theme = RichProgressBarTheme(metrics_format=".1e", metrics_text_delimiter=" | ")
    drawn = draw(tmp_path, "fit", model, [loader(4), loader(3)], theme=theme)
    assert " | val_loss: 5.0e-01" in drawn


def test_brackets_in_a_name_are_no_markup(tmp_path, model, loader):
    model.validation_step = lambda batch, batch_idx: model.log("[red]", 0.25, prog_bar=True)
    drawn = draw(tmp_path, "fit", model, [loader(4), loader(3)])
    assert "[red]: 0.250" in drawn


def test_leave_keeps_every_epoch(tmp_path, model, loader):
    drawn = draw(tmp_path, "fit", model, [loader(2)], leave=True)
    end = drawn[drawn.rindex("Epoch 0/1") :]
    assert "Epoch 1/1" in end


def test_columns_can_be_chosen(tmp_path, model, loader):
    class Few(RichProgressBar):
        def configure_columns(self, trainer):
            return super().configure_columns(trainer)[:1]

    drawn = draw(tmp_path, "fit", model, [loader(2)], make=Few)
    assert "Epoch 1/1" in drawn and "2/2" not in drawn


def test_a_refresh_rate_of_zero_draws_nothing(tmp_path, model, capsys, loader):
    assert draw(tmp_path, "fit", model, [loader(2)], refresh_rate=0) == ""
    assert capsys.readouterr().out == "hello world\n" * 2


def test_without_rich_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r"`RichProgressBar`.*pytorch-lightning\[rich\]"):
        RichProgressBar()
