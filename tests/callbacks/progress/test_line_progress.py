"""Lines where the output is no terminal."""

import re
import time

import pytest

import pytorch_lightning as pl
from pytorch_lightning.callbacks.progress import LineProgress

NUMBER = r"[\d.]+(e[+-]\d+)?"
SPEED = rf"{NUMBER} (it/s|s/it)"
TIME = r"\d:\d\d:\d\d"


def make_trainer(tmp_path, bar=None, **options):
    options = {"max_epochs": 2, "logger": False, **options}
    return pl.Trainer(
        callbacks=[bar or LineProgress()],
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_model_summary=False,
        **options,
    )


def lines(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line != "hello world"]


def test_every_epoch_of_a_short_run_has_a_line(tmp_path, capsys, model, loader):
    make_trainer(tmp_path, logger=True).fit(model, loader(4), loader(3))
    first, second = lines(capsys)
    seen = rf"100% 4/4, {SPEED}, took {TIME}"
    metrics = rf"v_num=0, train_loss={NUMBER}, val_loss=0\.500"
    assert re.fullmatch(rf"Epoch 0/1: {seen}, run {TIME} left, {metrics}", first)
    assert re.fullmatch(rf"Epoch 1/1: {seen}, {metrics}", second)


def test_many_epochs_have_few_lines_and_the_last_one_is_there(tmp_path, capsys, model, loader):
    make_trainer(tmp_path, max_epochs=30).fit(model, loader(2))
    said = lines(capsys)
    assert len(said) == 11
    assert said[-1].startswith("Epoch 29/29: 100% 2/2")


def test_a_long_epoch_tells_how_far_it_is(tmp_path, capsys, model, loader):
    step = model.training_step

    def slow_step(batch, batch_idx):
        time.sleep(0.01)
        return step(batch, batch_idx)

    model.training_step = slow_step
    trainer = make_trainer(tmp_path, LineProgress(seconds=0.05), max_epochs=1)
    began = time.monotonic()
    trainer.fit(model, loader(30))
    most = (time.monotonic() - began) / 0.05  # however slow the machine is
    inside = [line for line in lines(capsys) if "30/30" not in line]
    assert 2 <= len(inside) <= most
    for line in inside:
        assert re.match(
            rf"Epoch 0/0: +\d+% \d+/30, {SPEED}, {TIME} left, run {TIME} left, train", line
        )


def test_the_run_is_estimated_by_its_steps(tmp_path, capsys, model, loader):
    make_trainer(tmp_path, max_epochs=-1, max_steps=6).fit(model, loader(4))
    first, last = lines(capsys)
    assert first.startswith("Epoch 0: 100% 4/4")
    assert re.search(f"run {TIME} left", first)
    assert last.startswith("Epoch 1:  50% 2/4")
    assert "run" not in last


@pytest.mark.parametrize(
    ("verb", "words"), [("validate", "Validation"), ("test", "Testing"), ("predict", "Predicting")]
)
def test_each_loader_of_an_evaluation_has_a_line(tmp_path, capsys, model, verb, words, loader):
    options = {} if verb == "predict" else {"verbose": False}
    getattr(make_trainer(tmp_path), verb)(model, [loader(2), loader(3)], **options)
    first, second = lines(capsys)
    assert re.fullmatch(rf"{words} DataLoader 0: 100% 2/2, {SPEED}, took {TIME}", first)
    assert re.fullmatch(rf"{words} DataLoader 1: 100% 3/3, {SPEED}, took {TIME}", second)


def test_zero_seconds_write_nothing(tmp_path, capsys, model, loader):
    bar = LineProgress(seconds=0)
    make_trainer(tmp_path, bar).fit(model, loader(4), loader(3))
    assert lines(capsys) == []
    assert bar.is_disabled and not bar.is_enabled


def test_metrics_are_read_only_for_a_line(tmp_path, capsys, model, loader):
    class Counting(LineProgress):
        read = 0

        def get_metrics(self, trainer, pl_module):
            self.read += 1
            return super().get_metrics(trainer, pl_module)

    bar = Counting()
    make_trainer(tmp_path, bar).fit(model, loader(50))
    assert bar.read == len(lines(capsys)) == 2


def test_the_line_of_an_epoch_has_the_means_of_that_epoch(tmp_path, capsys, model, loader):
    def step(batch, batch_idx):
        model.log("epoch", float(model.trainer.current_epoch), prog_bar=True, on_epoch=True)
        return model.layer(batch).square().mean()

    model.training_step = step
    make_trainer(tmp_path).fit(model, loader(4))
    first, second = lines(capsys)
    assert "epoch_epoch=0.000" in first
    assert "epoch_epoch=1.000" in second
