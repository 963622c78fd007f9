"""Faults on one of several ranks: all end in time and say whose it was, and the job comes back."""

import copy
import random
from datetime import timedelta
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, NonFinite
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy
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

STEPS, EPOCHS = 4, 2
PLACES = {
    "step": {"step": 5},
    "save": {"step": 5, "hook": "on_save_checkpoint"},
    "validation": {"epoch": 1, "batch": 1, "hook": "on_validation_batch_start"},
}
PATIENCE = 2  # seconds to wait in a collective
IN_TIME = 10  # seconds from a fault to the end of all


class Kind(NamedTuple):
    word: object
    counted_as: str
    of_victim: int
    of_others: int
    told: str


KINDS = {
    "kill": Kind(kill, "kill of a rank", -9, 1, "was killed by SIGKILL"),
    "raise": Kind(raise_error, "error of a rank", 1, 1, "RuntimeError: as the script says"),
    "terminate": Kind(terminate, "SIGTERM to a rank", 143, 143, ""),
    "interrupt": Kind(interrupt, "SIGINT to a rank", 130, 130, ""),
    "freeze": Kind(freeze, "stall of a rank", 1, 1, ""),
    "stall": Kind(stall, "stall of a rank", 1, 1, ""),
}


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        layers = nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1)
        self.layers = nn.Sequential(*layers).double()

    def training_step(self, batch, batch_idx):
        loss = self.layers(batch[0]).pow(2).mean()
        self.log("loss", loss, sync_dist=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layers(batch[0]).pow(2).mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


class Sharded(FSDPStrategy):
    def __init__(self):
        super().__init__(timeout=timedelta(seconds=PATIENCE), state_dict_type="sharded")


STRATEGIES = {
    "ddp": lambda: DDPStrategy(timeout=timedelta(seconds=PATIENCE)),
    "fsdp": lambda: FSDPStrategy(timeout=timedelta(seconds=PATIENCE)),
    "sharded": Sharded,
}


def rows(number):
    return TensorDataset(torch.arange(3.0 * number, dtype=torch.float64).reshape(number, 3) / 50)


def act(folder, *script, strategy="ddp", data=None, **options):
    saving = ModelCheckpoint(folder, every_n_train_steps=2, save_top_k=2, monitor="loss")
    return simulate(
        Net,
        data or (lambda: DataLoader(rows(4 * STEPS), 2, shuffle=True)),
        val_dataloaders=DataLoader(rows(8), 2),
        script=script,
        **{
            "strategy": STRATEGIES[strategy](),
            "max_epochs": EPOCHS,
            "num_sanity_val_steps": 0,
            "callbacks": [saving],
            **options,
        },
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run without any fault, made once per strategy."""
    found = {}

    def run(strategy):
        if strategy not in found:
            found[strategy] = act(tmp_path_factory.mktemp("calm"), strategy=strategy)
            assert found[strategy].survived and found[strategy].weights is not None
        return found[strategy]

    return run


def check_end(reports, victim, kind):
    """All ranks end as promised, and who did nothing says whose fault it was."""
    for report in reports:
        expected = kind.of_victim if report.rank == victim else kind.of_others
        assert report.exit_code == expected, report.output
        if kind.told and report.rank != victim:
            assert report.cause.startswith(f"rank {victim} failed first: {kind.told}")
    if kind.counted_as == "stall of a rank":
        patient = next(report for report in reports if report.rank != victim)
        assert "Timed out waiting" in patient.error
        assert f"rank {patient.rank} waited for rank {victim}" in patient.output
        assert reports[victim].output  # it shows where it stood, or what it met when it woke
    assert reports[victim].faults


def check_comeback(found, calm):
    """What was trained after the last start is what an undisturbed run trained."""
    assert found.survived, found.ranks[0].output
    assert found.weights == calm.weights
    begun = found.ranks[0].started_at
    for report, whole in zip(found.ranks, calm.ranks, strict=True):
        assert report.started_at == begun >= 2  # a checkpoint was there
        assert report.batches == whole.batches[begun:]
        assert report.losses == whole.losses[begun:]
        assert report.metrics == whole.metrics


SOME = [
    ("kill", 1, "ddp", "step"),
    ("kill", 0, "ddp", "save"),
    ("raise", 1, "fsdp", "validation"),
    ("terminate", 1, "ddp", "validation"),
    ("interrupt", 0, "ddp", "step"),
]
ALL = [
    (kind, rank, strategy, place)
    for kind in KINDS
    for rank in (0, 1)
    for strategy in STRATEGIES
    for place in PLACES
]


def disturb(folder, undisturbed, tally, kind, rank, strategy, place):
    kind = KINDS[kind]
    tally(kind.counted_as)
    fault = kind.word(rank=rank, **PLACES[place])
    found = act(folder, fault, strategy=strategy, restarts=1)
    waits = kind.counted_as == "stall of a rank"
    assert len(found.attempts) == 2 and found.ended_within(IN_TIME + waits * PATIENCE)
    check_end(found.attempts[0], rank, kind)
    check_comeback(found, undisturbed(strategy))


@pytest.mark.parametrize(("kind", "rank", "strategy", "place"), SOME)
def test_a_fault_on_one_rank(tmp_path, undisturbed, tally, kind, rank, strategy, place):
    disturb(tmp_path, undisturbed, tally, kind, rank, strategy, place)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "rank", "strategy", "place"), [cell for cell in ALL if cell not in SOME]
)
def test_every_fault_on_one_rank(tmp_path, undisturbed, tally, kind, rank, strategy, place):
    disturb(tmp_path, undisturbed, tally, kind, rank, strategy, place)


@pytest.mark.parametrize(
    ("strategy", "rank"),
    [("ddp", 0), ("sharded", 1)]
    + [pytest.param(*cell, marks=pytest.mark.long) for cell in [("fsdp", 0), ("sharded", 0)]],
)
def test_a_disk_that_is_full_is_an_error_on_all_ranks(tmp_path, undisturbed, tally, strategy, rank):
    tally("disk full")
    found = act(tmp_path, disk_full(rank=rank, step=5), strategy=strategy, restarts=1)
    first = found.attempts[0]
    assert [report.exit_code for report in first] == [1, 1]
    assert found.ended_within(IN_TIME)
    assert all(report.steps == 6 for report in first)  # where the next save was due
    assert all("No space left on device" in (r.error + str(r.cause)) for r in first)
    assert found.ranks[0].started_at == 4  # what was there before is intact
    check_comeback(found, undisturbed(strategy))


@pytest.mark.long
def test_a_disk_that_is_full_where_nothing_is_written_is_no_error(tmp_path, undisturbed, tally):
    tally("disk full")
    found = act(tmp_path, disk_full(rank=1, step=1))
    assert found.survived and found.weights == undisturbed("ddp").weights


@pytest.mark.parametrize(
    "rank", [1, pytest.param(0, marks=pytest.mark.long), pytest.param(None, marks=pytest.mark.long)]
)
def test_a_slow_rank_is_no_error(tmp_path, undisturbed, tally, rank):
    tally("slow rank")
    found = act(tmp_path, slow(0.05, rank=rank), stall(0.3, rank=rank, step=5))
    assert found.survived, found.ranks[0].output
    assert found.weights == undisturbed("ddp").weights
    assert not found.ranks[0].cause and not found.ranks[1].cause


# --- data that ends apart -----------------------------------------------------------------------


class Plain(Net):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def by_hand(module, lengths):
    """Each step is the mean over the ranks that have data."""
    optimizer = module.configure_optimizers()
    batches = [torch.stack(list(rows(8)[:][0])).split(2)] * 2
    for step in range(max(lengths)):
        mine = [b[step] for b, length in zip(batches, lengths, strict=True) if step < length]
        optimizer.zero_grad()
        sum(module.layers(batch).pow(2).mean() / len(mine) for batch in mine).backward()
        optimizer.step()
    return module.state_dict()


@pytest.mark.parametrize(
    "lengths", [(4, 2), *[pytest.param(both, marks=pytest.mark.long) for both in [(1, 4), (3, 1)]]]
)
def test_data_that_ends_apart_is_all_trained(tally, lengths):
    tally("uneven data")
    torch.manual_seed(0)
    module = Plain()
    found = simulate(
        module,
        lambda: DataLoader(rows(8), 2),
        val_dataloaders=DataLoader(rows(8), 2),
        script=[uneven(length, rank=rank) for rank, length in enumerate(lengths)],
        use_distributed_sampler=False,
        max_epochs=1,
        keep_weights=True,
        enable_checkpointing=False,
    )
    assert found.survived, found.ranks[0].output
    assert tuple(len(report.trained) for report in found.ranks) == lengths
    expected = by_hand(copy.deepcopy(module), lengths)
    for report in found.ranks:
        assert report.metrics.keys() >= {"val_loss"}  # all validate, where the longest ends
        for name, value in expected.items():
            torch.testing.assert_close(report.state_dict[name], value, rtol=0, atol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_kill_where_data_ends_apart(tmp_path, tally, rank):
    tally("uneven data")
    tally("kill of a rank")
    apart = uneven(2, rank=1)
    calm = act(tmp_path / "calm", apart)
    found = act(tmp_path / "killed", apart, kill(rank=rank, step=3), restarts=1)
    assert found.survived and found.weights == calm.weights
    begun = found.ranks[0].started_at
    assert begun == (2 if rank == 0 else STEPS)  # rank 1 trains no third batch of an epoch
    assert found.ranks[0].batches == calm.ranks[0].batches[begun:]
    assert found.ranks[1].batches == calm.ranks[1].batches[2:]


# --- and more of it -----------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_kill_of_a_rank_whose_loader_has_workers(tmp_path, tally, rank):
    tally("kill of a rank")  # its workers keep the connections open
    loaders = lambda: DataLoader(rows(4 * STEPS), 2, num_workers=2, persistent_workers=True)  # noqa: E731
    calm = act(tmp_path / "calm", data=loaders)
    found = act(tmp_path / "killed", kill(rank=rank, step=5), data=loaders, restarts=1)
    assert found.ended_within(IN_TIME)
    check_end(found.attempts[0], rank, KINDS["kill"])
    check_comeback(found, calm)


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_kill_of_one_of_three(tmp_path, tally, rank):
    tally("kill of a rank")
    calm = act(tmp_path / "calm", ranks=3)
    found = act(tmp_path / "killed", kill(rank=rank, step=3), ranks=3, restarts=1)
    assert found.ended_within(IN_TIME)
    check_end(found.attempts[0], rank, KINDS["kill"])
    check_comeback(found, calm)


def story(seed):
    """Faults of any kind, in each start of the group but the last."""
    chance = random.Random(seed)
    hooks = ["on_train_batch_start", "on_train_batch_end", "on_before_optimizer_step"]
    hooks += ["on_save_checkpoint", "on_validation_batch_end", "on_train_epoch_end"]
    faults = []
    for attempt in range(chance.randint(1, 4)):
        kind = KINDS[chance.choice(["kill", "kill", "raise", "terminate", "interrupt", "freeze"])]
        rank = chance.choice([0, 1] if kind.word is freeze else [0, 1, None])
        place = {"step": chance.randint(1, EPOCHS * STEPS - 1), "hook": chance.choice(hooks)}
        faults.append((kind, kind.word(rank=rank, attempt=attempt, **place)))
    return faults


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The run came to its end before")
@pytest.mark.parametrize("strategy", ["ddp", "sharded"])
@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_weights_come_out_alike(tmp_path, undisturbed, tally, strategy, seed):
    kinds, script = zip(*story(seed), strict=True)
    found = act(tmp_path, *script, strategy=strategy, restarts=len(script), time_limit=120)
    for kind, fault in zip(kinds, script, strict=True):
        if fault not in found.missed:
            tally(kind.counted_as)
    assert found.survived, str(found)
    assert found.ended_within(PATIENCE + IN_TIME)
    calm = undisturbed(strategy)
    assert found.weights == calm.weights
    for report, whole in zip(found.ranks, calm.ranks, strict=True):
        assert report.batches == whole.batches[report.started_at :]


# --- numbers that are none ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "rank"),
    [
        ("raise", 1),
        ("skip", 1),
        *[
            pytest.param(*cell, marks=pytest.mark.long)
            for cell in [("raise", 0), ("skip", 0), ("rollback", 0), ("rollback", 1)]
        ],
    ],
)
def test_a_bad_number_on_one_rank_is_met_by_all_alike(tmp_path, tally, policy, rank):
    tally("bad number")
    guard = NonFinite(policy, check_every_n_steps=1)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    options = {"callbacks": [guard, saving], "keep_weights": True}
    found = act(tmp_path, nan(rank=rank, step=5, attempt=None), **options)
    told = "in batch 1 of epoch 1"
    if policy != "skip":  # which looks at what all ranks have in common
        told = f"The loss was not finite on rank {rank} {told}"
    if policy == "raise":
        assert [report.exit_code for report in found.ranks] == [1, 1]
        assert all(report.error.startswith("NonFiniteError") for report in found.ranks)
        assert all(told in report.error for report in found.ranks)
        return
    assert found.survived, found.ranks[0].output
    first, other = found.ranks
    assert first.weights == other.weights
    assert all(bool(torch.isfinite(value).all()) for value in first.state_dict.values())
    steps = EPOCHS * STEPS - (policy == "rollback")  # one that is left out counts
    assert first.steps == other.steps == steps
    assert told in first.output
