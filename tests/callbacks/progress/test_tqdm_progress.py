"""Bars in a terminal."""

import re
import sys

import pytest
from torch.utils.data import DataLoader, IterableDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks.progress import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

CLOCK = r"\[\d\d:\d\d<(\d\d:\d\d|\?), +[\d.]+(e\+\d)?it/s"


def make_trainer(tmp_path, bar=None, **options):
    options = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, **options}
    return pl.Trainer(
        callbacks=[bar or TQDMProgressBar()],
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_model_summary=False,
        **options,
    )


def test_fit_leaves_the_documented_line(tmp_path, terminal, model, loader):
    trainer = make_trainer(tmp_path, logger=True)
    with terminal:
        trainer.fit(model, loader(4), loader(3))
    last = terminal.screen()[-1]
    assert re.fullmatch(
        r"Epoch 1: 100%\|\S*\| 4/4 " + CLOCK + r", v_num=0, train_loss=[\d.]+, val_loss=0\.500\]",
        last,
    )


def test_bars_of_sanity_check_and_validation_come_and_go(tmp_path, terminal, model, loader):
    with terminal:
        make_trainer(tmp_path).fit(model, loader(4), loader(3))
    screen, written = "\n".join(terminal.screen()), terminal.close()
    for words in ("Sanity Checking DataLoader 0: 100%", "Validation DataLoader 0: 100%"):
        assert words in written
        assert words not in screen


@pytest.mark.parametrize(
    ("verb", "words"), [("validate", "Validation"), ("test", "Testing"), ("predict", "Predicting")]
)
def test_a_bar_for_each_loader_of_an_evaluation(tmp_path, terminal, model, verb, words, loader):
    trainer = make_trainer(tmp_path)
    options = {} if verb == "predict" else {"verbose": False}
    with terminal:
        getattr(trainer, verb)(model, [loader(2), loader(3)], **options)
    assert f"{words} DataLoader 0: 100%" in terminal.close()
    last = terminal.screen()[-1]
    assert re.fullmatch(rf"{words} DataLoader 1: 100%\|\S*\| 3/3 " + CLOCK + r"\]", last)


def test_leave_keeps_the_bar_of_every_epoch(tmp_path, terminal, model, loader):
    with terminal:
        make_trainer(tmp_path, TQDMProgressBar(leave=True), max_epochs=3).fit(model, loader(2))
    kept = [line[:7] for line in terminal.screen() if line.startswith("Epoch")]
    assert kept == ["Epoch 0", "Epoch 1", "Epoch 2"]


def test_printing_does_not_break_the_bar(tmp_path, terminal, model, loader):
    with terminal:
        make_trainer(tmp_path).fit(model, loader(4))
    screen = terminal.screen()
    assert screen.count("hello world") == 2
    assert screen[-1].startswith("Epoch 1: 100%")


def test_printing_without_a_bar_is_plain(capsys):
    TQDMProgressBar().print("a", 1, sep="-", end="!\n")
    assert capsys.readouterr().out == "a-1!\n"


def test_a_refresh_rate_of_zero_draws_nothing(tmp_path, terminal, model, loader):
    bar = TQDMProgressBar(refresh_rate=0)
    with terminal:
        make_trainer(tmp_path, bar).fit(model, loader(4), loader(3))
    assert bar.is_disabled and not bar.is_enabled
    assert terminal.screen() == ["hello world", "hello world"]


def test_what_subclasses_override_is_used(tmp_path, terminal, model, loader):
    class Mine(TQDMProgressBar):
        def init_train_tqdm(self):
            bar = super().init_train_tqdm()
            bar.set_description("mine")
            return bar

        def get_metrics(self, trainer, pl_module):
            metrics = super().get_metrics(trainer, pl_module)
            metrics.pop("v_num", None)
            return {**metrics, "extra": "yes"}

    with terminal:
        make_trainer(tmp_path, Mine(), logger=True).fit(model, loader(4))
    assert "mine:" in terminal.close()
    assert terminal.screen()[-1].endswith("extra=yes]")
    assert "v_num" not in terminal.close()


def test_unknown_lengths_are_shown_as_such(tmp_path, terminal, model, loader):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(loader(5).dataset)

    with terminal:
        make_trainer(tmp_path, max_epochs=1).fit(model, DataLoader(Stream()))
    assert re.match(r"Epoch 0: \|\s*\| 5/\? ", terminal.screen()[-1])


def test_an_epoch_that_is_cut_shows_where(tmp_path, terminal, model, loader):
    with terminal:
        make_trainer(tmp_path, max_steps=3).fit(model, loader(10))
    assert " 3/10 " in terminal.screen()[-1]


def test_bars_can_be_read_after_the_run(tmp_path, terminal, model, loader):
    bar = TQDMProgressBar()
    with terminal:
        make_trainer(tmp_path, bar).fit(model, loader(4), loader(3))
    assert isinstance(bar.train_progress_bar, Tqdm)
    assert bar.main_progress_bar is bar.train_progress_bar
    assert (bar.train_progress_bar.n, bar.train_progress_bar.total) == (4, 4)
    assert (bar.val_progress_bar.n, bar.val_progress_bar.total) == (3, 3)


def test_a_bar_that_cannot_draw_does_not_end_the_run(tmp_path, monkeypatch, model, loader):
    class Closed:
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError("nobody reads this")

        def flush(self):
            raise BrokenPipeError("nobody reads this")

    model.print = lambda *_: None
    trainer = make_trainer(tmp_path)
    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.warns(UserWarning, match="`TQDMProgressBar` failed in .* the run goes on"):
        trainer.fit(model, loader(4), loader(3))
    assert trainer.global_step == 8


def test_an_error_starts_on_its_own_line(tmp_path, terminal, model, loader):
    def fail(batch, batch_idx):
        raise RuntimeError("torn")

    model.training_step = fail
    with terminal, pytest.raises(RuntimeError, match="torn"):
        make_trainer(tmp_path).fit(model, loader(4))
    assert terminal.close().endswith("\n")


def test_fast_steps_cost_one_call(tmp_path, terminal, model, loader):
    trainer = make_trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0)
    calls = []

    def count(frame, event, argument):
        if event == "call" and "pytorch_lightning/callbacks/progress/" in frame.f_code.co_filename:
            calls.append(frame.f_code.co_name)

    sys.setprofile(count)
    try:
        with terminal:
            trainer.fit(model, loader(2000))
    finally:
        sys.setprofile(None)
    assert calls.count("on_train_batch_end") == 2000
    assert len(calls) < 2 * 2000


def test_the_environment_may_ask_for_fewer_drawings(monkeypatch):
    monkeypatch.setenv("TQDM_MINITERS", "7")
    assert TQDMProgressBar().refresh_rate == 7
    assert TQDMProgressBar(refresh_rate=9).refresh_rate == 9
    assert TQDMProgressBar(refresh_rate=0).refresh_rate == 0


def test_colab_draws_every_twentieth_batch(monkeypatch):
    monkeypatch.setenv("COLAB_GPU", "1")
    assert TQDMProgressBar().refresh_rate == 20
    assert TQDMProgressBar(refresh_rate=2).refresh_rate == 2
