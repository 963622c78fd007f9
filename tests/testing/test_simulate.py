"""Processes under a script of faults: what is told of them, and that nothing else is left."""

import math
import multiprocessing
import os
import tempfile
import time
from datetime import timedelta

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.testing import (
    disk_full,
    freeze,
    interrupt,
    kill,
    nan,
    raise_error,
    simulate,
    slow,
    stall,
    terminate,
    uneven,
)

ROWS, BATCH = 32, 2
STEPS = ROWS // BATCH // 2  # of two ranks


class Net(pl.LightningModule):
    def __init__(self, width=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 4), nn.Dropout(0.2), nn.Linear(4, 1))

    def training_step(self, batch, batch_idx):
        loss = self.layers(batch[0]).pow(2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


class WithData(Net):
    def train_dataloader(self):
        return loader()


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return loader()


class Stream(IterableDataset):
    def __iter__(self):
        rank = int(os.environ["RANK"])
        return iter((torch.full((3,), float(10 * rank + i)),) for i in range(ROWS))


def rows():
    return torch.arange(3.0 * ROWS).reshape(ROWS, 3) / 100


def loader(**options):
    return DataLoader(TensorDataset(rows()), batch_size=BATCH, **{"shuffle": True, **options})


def act(script=(), module=Net, data=loader, **options):
    options = {"max_epochs": 1, "enable_checkpointing": False, **options}
    return simulate(module, data, script=list(script), **options)


def impatient(seconds=1):
    return DDPStrategy(timeout=timedelta(seconds=seconds))


# --- the words ----------------------------------------------------------------------------------


def test_a_fault_is_shown_as_it_is_written():
    assert str(kill(rank=1, step=7)) == "kill(rank=1, step=7)"
    assert str(slow(0.5, epoch=1)) == "slow(epoch=1, seconds=0.5)"
    assert str(stall(rank=0, hook="on_train_end")) == "stall(rank=0, hook='on_train_end')"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: kill(rank=-1), "`kill(rank=-1)`"),
        (lambda: kill(step=1.5), "`kill(step=1.5)`"),
        (lambda: kill(rank=True), "`kill(rank=True)`"),
        (lambda: kill(hook="on_train_ends"), "Did you mean 'on_train_end'?"),
        (lambda: kill(batch=1, hook="on_train_end"), "that hook has no batch"),
        (lambda: stall(0), "`stall(seconds=0)`"),
        (lambda: slow(-1), "`slow(seconds=-1)`"),
        (lambda: nan("weights"), "'loss' or 'batch'"),
        (lambda: nan(hook="on_train_end"), "around `training_step`"),
        (lambda: uneven(-1), "`uneven(batches=-1)`"),
        (lambda: raise_error("text"), "pass an exception"),
        (lambda: simulate(Net, script=[kill(rank=2)]), "the ranks are 0 to 1"),
        (lambda: simulate(Net, script=["kill"]), "'kill' is no fault"),
        (lambda: simulate(Net, ranks=0), "`ranks=0`"),
        (lambda: simulate(Net, time_limit=0), "`time_limit=0`"),
        (lambda: simulate(Net, devices=3), "pass `ranks`"),
        (lambda: simulate(Net, max_epoch=3), "Did you mean 'max_epochs'?"),
        (lambda: simulate(Net, start_method="clone"), "`start_method='clone'`"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(make, told):
    with pytest.raises((ValueError, TypeError)) as error:
        make()
    assert told in str(error.value)


# --- a run without faults -----------------------------------------------------------------------


def test_ranks_train_together_and_say_what_they_did(capfd):
    calm = act()
    assert calm.survived and calm.ended_within(0) and calm.missed == ()
    assert [report.exit_code for report in calm.ranks] == [0, 0]
    assert [report.steps for report in calm.ranks] == [STEPS, STEPS]
    assert [one.step for one in calm.ranks[1].trained] == list(range(1, STEPS + 1))
    assert calm.ranks[0].weights == calm.ranks[1].weights == calm.weights
    assert len({*calm.ranks[0].batches, *calm.ranks[1].batches}) == 2 * STEPS
    assert calm.ranks[0].metrics["loss"] == calm.ranks[0].losses[-1]
    assert act().weights == calm.weights != act(seed=1).weights
    assert capfd.readouterr() == ("", "")


def test_a_module_can_come_in_many_ways():
    width = 3
    found = [
        act(module=WithData, data=None),
        act(module=lambda: Net(width), data=lambda: loader()),
        act(data=Data),
        act(data=Data()),
    ]
    assert len({one.weights for one in found}) == 1 and found[0].weights is not None
    module = Net()
    before = [p.clone() for p in module.parameters()]
    trained = act(module=module, data=loader(), keep_weights=True)
    assert trained.survived
    assert all(map(torch.equal, module.parameters(), before))  # that of this process stays
    mine, other = (report.state_dict for report in trained.ranks)
    assert mine.keys() == module.state_dict().keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert not torch.equal(mine["layers.0.weight"], module.layers[0].weight)


def test_nothing_is_left_behind():
    variables, folders = dict(os.environ), set(os.listdir(tempfile.gettempdir()))
    others = set(multiprocessing.active_children())  # of other tests
    act([kill(rank=1, step=2)])
    assert not set(multiprocessing.active_children()) - others
    assert dict(os.environ) == variables
    left = set(os.listdir(tempfile.gettempdir())) - folders
    assert not [name for name in left if name.startswith("pytorch_lightning_")]


def test_one_rank_and_three():
    assert act(ranks=1).survived
    three = act(ranks=3)
    assert three.survived and len({report.weights for report in three.ranks}) == 1


def test_a_fault_that_never_comes_is_said():
    with pytest.warns(UserWarning, match=r"before this happened: kill\(step=500\)"):
        found = act([kill(step=500)])
    assert found.survived and found.missed == (kill(step=500),)
    assert "never happened: kill(step=500)" in str(found)


# --- faults -------------------------------------------------------------------------------------


def test_a_kill_is_reported_with_who_was_killed():
    found = act([kill(rank=1, step=3)])
    assert not found.survived and found.ended_within(10) and not found.ended_within(0)
    killed, other = found.ranks[1], found.ranks[0]
    assert (killed.exit_code, killed.signal, killed.steps) == (-9, "SIGKILL", 3)
    assert killed.faults == (kill(rank=1, step=3),) and other.faults == ()
    assert other.exit_code == 1
    assert other.cause == "rank 1 failed first: was killed by SIGKILL"
    _, first, second = str(found).splitlines()
    assert first.split()[:4] == ["0", "0", "exit", "1"] and "rank 1 failed first" in first
    assert second.split()[:3] == ["0", "1", "SIGKILL"] and "kill(rank=1, step=3)" in second


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        (raise_error(ValueError("boom"), rank=0, step=3), 3),
        (raise_error(ValueError("boom"), rank=0, epoch=1), STEPS),
        (raise_error(ValueError("boom"), rank=0, epoch=1, batch=2), STEPS + 2),
        (raise_error(ValueError("boom"), rank=0, hook="on_before_optimizer_step", step=2), 2),
    ],
)
def test_a_fault_comes_at_its_place(fault, steps):
    found = act([fault], max_epochs=2)
    assert found.ranks[0].error == "ValueError: boom"
    assert found.ranks[0].steps == steps
    assert found.ranks[1].exit_code == 1
    assert found.ranks[1].cause.startswith("rank 0 failed first: ValueError: boom")


@pytest.mark.parametrize(("fault", "code"), [(terminate, 143), (interrupt, 130)])
def test_signals_end_all_ranks_with_their_code(fault, code):
    found = act([fault(rank=1, step=3)])
    assert [report.exit_code for report in found.ranks] == [code, code]
    assert found.ended_within(10)


def test_a_stall_ends_with_the_timeout_of_the_strategy():
    found = act([freeze(rank=1, hook="on_train_epoch_end")], strategy=impatient())
    assert [report.exit_code for report in found.ranks] == [1, 1]
    assert "Timed out waiting" in found.ranks[0].error
    assert "rank 0 waited for rank 1, which does not say where it is" in found.ranks[0].output


def test_a_stall_that_passes_is_no_error():
    found = act([stall(0.3, rank=1, step=3), slow(0.02, rank=0)], strategy=impatient(10))
    assert found.survived and found.weights == act().weights


def stand_about():
    time.sleep(1000)


class Standing(Net):
    def on_train_epoch_end(self):
        stand_about()


def test_what_hangs_is_killed_and_shown():
    begin = time.monotonic()
    found = act(module=Standing, time_limit=2.5)
    assert time.monotonic() - begin < 15
    assert all(report.hung and report.exit_code is None for report in found.ranks)
    assert not found.survived and not found.ended_within(1000)
    assert "in stand_about" in found.ranks[1].stack
    assert "rank 1 stood here when the time was over:" in str(found)
    assert "in stand_about" in str(found)


@pytest.mark.parametrize("target", ["loss", "batch"])
def test_numbers_go_bad_from_a_step_on(target):
    found = act([nan(target, rank=0, step=3)])
    bad = [math.isnan(loss) for loss in found.ranks[1].losses]
    assert bad == [False] * 4 + [True] * (STEPS - 4)  # its own loss of that step is a number
    assert [math.isnan(loss) for loss in found.ranks[0].losses] == [False] * 3 + [True] * 5


def lists():
    rank = int(os.environ["RANK"])
    return [[torch.full((BATCH, 3), float(rank + i))] for i in range(STEPS)]


@pytest.mark.parametrize("data", [loader, lists, Data, lambda: DataLoader(Stream(), 4)])
def test_data_of_a_rank_ends_early(data):
    found = act([uneven(3, rank=1)], data=data, max_epochs=2)
    assert found.survived, found.ranks[0].output
    assert [len(report.trained) for report in found.ranks] == [2 * STEPS, 2 * 3]
    assert found.ranks[0].weights == found.ranks[1].weights
    assert found.ranks[1].faults == (uneven(3, rank=1),)


def test_two_loaders_end_early():
    loaders = lambda: {"a": loader(), "b": loader()}  # noqa: E731
    found = act([uneven(3)], module=Pairs, data=loaders)
    assert found.survived and [len(report.trained) for report in found.ranks] == [3, 3]


class Pairs(Net):
    def training_step(self, batch, batch_idx):
        return super().training_step([batch["a"][0] + batch["b"][0]], batch_idx)


def test_a_full_disk_refuses_new_files(tmp_path):
    saving = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=2, save_top_k=-1)
    found = act([disk_full(rank=0, step=3)], callbacks=saving, enable_checkpointing=True)
    assert [report.exit_code for report in found.ranks] == [1, 1]
    assert "No space left on device" in found.ranks[0].error
    assert "rank 0 failed first" in found.ranks[1].cause
    (kept,) = (tmp_path / "kept").iterdir()
    assert torch.load(kept, weights_only=True)["global_step"] == 2


# --- and again ----------------------------------------------------------------------------------


def test_a_group_that_is_started_again_goes_on(tmp_path):
    def run(name, *script, **options):
        saving = ModelCheckpoint(tmp_path / name, every_n_train_steps=2)
        return act(script, callbacks=[saving], enable_checkpointing=True, **options)

    calm = run("calm")
    found = run("restarted", kill(rank=1, step=5), restarts=2)
    assert found.survived and len(found.attempts) == 2
    assert [report.started_at for report in found.ranks] == [4, 4]
    assert found.weights == calm.weights
    for report, undisturbed in zip(found.ranks, calm.ranks, strict=True):
        assert report.batches == undisturbed.batches[4:]
        assert report.losses == undisturbed.losses[4:]
    again = run("twice", kill(rank=1, step=3), kill(rank=0, step=5, attempt=1), restarts=2)
    assert [one[0].started_at for one in again.attempts] == [0, 2, 4]
    assert again.weights == calm.weights
    never = run("never", kill(rank=0, step=3, attempt=None), restarts=1)
    assert not never.survived and len(never.attempts) == 2


@pytest.mark.long
def test_processes_that_are_spawned():
    found = act([kill(rank=1, step=3)], start_method="spawn", time_limit=120)
    assert found.ranks[1].signal == "SIGKILL" and found.ranks[1].steps == 3
    assert "rank 1 failed first" in found.ranks[0].cause
    with pytest.raises(RuntimeError, match="cannot be given to another process"):
        act(module=lambda: Net(), start_method="spawn")
