"""Signals to one or all of several ranks: they end after the same batch, soon, and go on alike."""

import os
import signal
import time
import warnings

import pytest
import torch
from tests.distributed.ranks import outcomes_of_ranks, run_ranks
from tests.small_runs import Small, loader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from pytorch_lightning.distributed import asked_to_end
from pytorch_lightning.loops import agreement, ending

QUIET = dict(
    accelerator="cpu",
    devices=2,
    strategy="ddp",
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    num_sanity_val_steps=0,
    max_epochs=1,
)
SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Told(Small):
    """Gets a signal on some ranks in its third batch of a stage, and takes its time for each."""

    def __init__(self, number=0, ranks=(), stage="training", pause=0.02):
        super().__init__()
        torch.manual_seed(3)
        self.layer = torch.nn.Linear(4, 1)
        self.number, self.ranks, self.stage, self.pause = number, ranks, stage, pause
        self.seen = []

    def step(self, stage, batch, batch_idx):
        if stage == self.stage:
            self.seen.append(batch_idx)
            if self.number and batch_idx == 2 and self.trainer.global_rank in self.ranks:
                os.kill(os.getpid(), self.number)
            time.sleep(self.pause if self.number else 0)
        return self.loss(batch)

    def training_step(self, batch, batch_idx):
        return self.step("training", batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.step("validation", batch, batch_idx)

    def test_step(self, batch, batch_idx):
        self.step("test", batch, batch_idx)

    def predict_step(self, batch, batch_idx):
        return self.step("predict", batch, batch_idx)


def _run(folder, verb, module, callbacks=(), ckpt_path=None, **options):
    """How it ended, and what was seen until then."""
    warnings.simplefilter("ignore")
    ending.EVERY_SECONDS = agreement.EVERY_SECONDS = 0.2
    of = pl.Trainer(
        **{**QUIET, **options},
        default_root_dir=folder,
        callbacks=[*callbacks],
        enable_checkpointing=bool(callbacks),
    )
    code = None
    data = (loader(400),) if verb != "fit" else (loader(160), loader(160))
    try:
        getattr(of, verb)(module, *data, **({"ckpt_path": ckpt_path} if ckpt_path else {}))
    except SystemExit as ended:
        code = ended.code
    own = [getattr(p, "to_local", lambda p=p: p)() for p in module.parameters()]
    weights = [part.tolist() for part in own]
    return code, module.seen, of.global_step, weights


def _fit(folder, number, ranks, stage, strategy, ckpt_path=None):
    keep = ModelCheckpoint(os.path.join(folder, "kept"))
    failing = OnExceptionCheckpoint(os.path.join(folder, "kept"))
    callbacks = [keep, *([failing] if number == signal.SIGINT else [])]
    module = Told(number, ranks, stage)
    return _run(folder, "fit", module, callbacks, ckpt_path, strategy=strategy)


@pytest.mark.parametrize(
    ("number", "ranks", "stage", "strategy"),
    [
        (signal.SIGTERM, (1,), "training", "ddp"),
        (signal.SIGTERM, (0, 1), "validation", "ddp"),
        (signal.SIGINT, (0,), "training", "ddp"),
        (signal.SIGINT, (1,), "training", "fsdp"),
    ],
    ids=str,
)
def test_all_end_after_the_same_batch_and_go_on_as_if_nothing_had_been(
    tally, tmp_path, number, ranks, stage, strategy
):
    tally(number.name, len(ranks))
    whole = run_ranks(_fit, 2, str(tmp_path / "whole"), 0, (), stage, strategy)
    first, second = run_ranks(_fit, 2, str(tmp_path), number, ranks, stage, strategy)
    assert first[:3] == second[:3]
    code, seen, steps, _ = first
    assert code == 128 + number
    assert 3 <= len(seen) < 40  # of 40, with a message in 0.2 s or so
    name = "last.ckpt" if number == signal.SIGTERM else "on_exception.ckpt"
    path = str(tmp_path / "kept" / name)
    assert torch.load(path)["global_step"] == steps
    again = run_ranks(_fit, 2, str(tmp_path), 0, (), stage, strategy, path)
    for broken, resumed, complete in zip((first, second), again, whole, strict=True):
        assert broken[1] + resumed[1] == complete[1]
        assert resumed[2:] == complete[2:]


def _evaluate(folder, verb, number):
    stage = {"validate": "validation"}.get(verb, verb)
    return _run(folder, verb, Told(number, (1,), stage))


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_an_evaluation_ends_in_its_middle(tally, tmp_path, verb):
    number = signal.SIGINT if verb == "test" else signal.SIGTERM
    tally(number.name)
    first, second = run_ranks(_evaluate, 2, str(tmp_path), verb, number)
    assert first == second
    assert first[0] == 128 + number
    assert 3 <= len(first[1]) < 90  # of 100


class Stuck(Told):
    """One rank never comes out of its third batch, while the other waits for it."""

    def training_step(self, batch, batch_idx):
        if batch_idx == 2:
            os.kill(os.getpid(), self.number)
            if self.trainer.global_rank == 1:
                time.sleep(60)
        return self.loss(batch)


def _stuck(folder):
    asked_to_end.GRACE = 1
    _run(folder, "fit", Stuck(signal.SIGTERM))


def test_who_does_not_come_to_an_end_in_time_says_where_it_is(tally, tmp_path):
    tally("SIGTERM", 2)
    began = time.monotonic()
    ended = outcomes_of_ranks(_stuck, 2, str(tmp_path), limit=40)
    assert time.monotonic() - began < 30
    assert "exit code 143" in ended[1][2]
    assert "[rank 1] SIGTERM came, and it went on here:" in ended[1][2]
    assert "training_step" in ended[1][2]
    assert not ended[0][0]  # and the one that waits for it, by itself or as it hears of it


class Waits(Told):
    """Rank 0 stands in a collective, to which the other does not come."""

    def training_step(self, batch, batch_idx):
        if batch_idx == 2:
            if self.trainer.global_rank == 0:
                pid = os.getpid()
                if os.fork() == 0:  # somebody at a keyboard
                    for _ in range(2):
                        time.sleep(0.7)
                        os.kill(pid, signal.SIGINT)
                    os._exit(0)
                self.trainer.strategy.barrier()
            time.sleep(60)
        return self.loss(batch)


def _waits(folder):
    asked_to_end.SECOND = 0.5
    _run(folder, "fit", Waits())


def test_a_second_ctrl_c_ends_who_stands_in_a_collective(tally, tmp_path):
    tally("SIGINT", 2)
    ended = outcomes_of_ranks(_waits, 2, str(tmp_path), limit=40)
    assert "exit code 130" in ended[0][2]
    assert "[rank 0] SIGINT came, and it went on here:" in ended[0][2]
    assert not ended[1][0]  # and the other one, too
