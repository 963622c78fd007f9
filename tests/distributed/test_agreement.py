"""What one rank wants, all do after the same batch."""

import os
import signal
import time
from collections import Counter

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException

QUIET = dict(
    accelerator="cpu",
    strategy="ddp",
    devices=2,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)


def rank():
    return int(os.environ["RANK"])


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(batches, size=2):
    return DataLoader(TensorDataset(torch.ones(batches * size * 2, 2)), batch_size=size)


class Acts(pl.Callback):
    """Does something in one rank after one batch."""

    def __init__(self, act, on_rank, batch):
        self.act, self.on_rank, self.batch = act, on_rank, batch

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if rank() == self.on_rank and batch_idx == self.batch:
            self.act(trainer)


def _fit(act, on_rank, **options):
    callback = Acts(ACTS[act], on_rank, batch=3)
    trainer = pl.Trainer(max_epochs=3, callbacks=[callback], **{**QUIET, **options})
    try:
        trainer.fit(Line(), loader(40))
    except SIGTERMException:
        return "terminated", trainer.global_step, trainer.current_epoch
    return str(trainer.state.status), trainer.global_step, trainer.current_epoch


def stop(trainer):
    trainer.should_stop = True
    assert trainer.should_stop


ACTS = {"stop": stop, "terminate": lambda trainer: os.kill(os.getpid(), signal.SIGTERM)}


@pytest.mark.parametrize("on_rank", [0, 1])
def test_a_stop_of_one_rank_stops_all_after_the_same_batch(on_rank):
    first, second = run_ranks(_fit, 2, "stop", on_rank)
    assert first == second
    assert first[0] == "finished"
    assert 4 <= first[1] <= 40  # at the next message, at the latest at the end of the epoch


def test_a_message_comes_at_least_every_log_every_n_steps():
    first, second = run_ranks(_fit_with_ten, 2)
    assert first == second
    assert 4 <= first[1] <= 4 + 10


def _fit_with_ten():
    return _fit("stop", 1, log_every_n_steps=10)


@pytest.mark.parametrize("on_rank", [0, 1])
def test_a_signal_to_one_rank_ends_all_after_the_same_batch(on_rank):
    first, second = run_ranks(_fit, 2, "terminate", on_rank)
    assert first == second
    assert first[0] == "terminated"


def _validations():
    epochs = []

    class Notes(pl.Callback):
        def on_validation_start(self, trainer, module):
            epochs.append(trainer.global_step)

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if rank() == 1:  # whose clock is far behind
                trainer._progress.validated_at = float("inf")

    trainer = pl.Trainer(
        max_epochs=1,
        val_check_interval={"microseconds": 1},
        log_every_n_steps=4,
        num_sanity_val_steps=0,
        callbacks=[Notes()],
        **QUIET,
    )
    trainer.fit(Line(), loader(12), loader(1))
    return epochs


def test_validation_by_time_follows_one_clock():
    first, second = run_ranks(_validations, 2)
    assert first == second
    assert first


class Counts(TorchDispatchMode):
    """Collectives by name and size in bytes, as torch dispatches them."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "c10d":
            size = sum(t.nbytes for t in tree_leaves(args) if isinstance(t, torch.Tensor))
            self.found[function.__name__.split(".")[0], size] += 1
        return function(*args, **(kwargs or {}))


class Steady(pl.Callback):
    """Counts the collectives of the batches between two, epoch's start and end aside."""

    def __init__(self):
        self.counts = Counts()
        self.seconds = 0.0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 5:
            self.seconds -= time.monotonic()
            self.counts.__enter__()
        if batch_idx == 25:
            self.counts.__exit__(None, None, None)
            self.seconds += time.monotonic()


class Stream(IterableDataset):
    """Batches whose number nobody knows before."""

    def __iter__(self):
        return iter(torch.ones(30, 2, 2).unbind())


class OfStream(Line):
    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()


class Weighted(Line):
    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0])
        return loss.sum(), loss.numel()


def streamed():
    return DataLoader(Stream(), batch_size=None)


def _ours(module, data, **options):
    steady = Steady()
    options = {**QUIET, "max_epochs": 1, "log_every_n_steps": 1000, **options}
    pl.Trainer(callbacks=[steady], **options).fit(module, data)
    return steady


def _collectives():
    kinds = {
        "sized": _ours(Line(), loader(30)),
        "stream": _ours(OfStream(), streamed()),
        "weighted": _ours(Weighted(), loader(30)),
        "windows": _ours(Weighted(), loader(30), accumulate_grad_batches=4),
    }
    ours = {name: (dict(steady.counts.found), steady.seconds) for name, steady in kinds.items()}
    return ours, _by_hand()


def _by_hand():
    torch.manual_seed(0)
    wrapper, batch = DistributedDataParallel(nn.Linear(2, 1)), torch.ones(2, 2)
    optimizer = torch.optim.SGD(wrapper.parameters(), lr=0.1)
    counts = Counts()
    for step in range(25):
        if step == 5:
            counts.__enter__()
        optimizer.zero_grad()
        wrapper(batch).mean().backward()
        optimizer.step()
    counts.__exit__(None, None, None)
    return dict(counts.found)


class AsksOften(DDPStrategy):
    """Counts what is gathered."""

    asked = 0

    def gather_objects(self, obj):
        self.asked += 1
        return super().gather_objects(obj)


class BetweenEpochs(pl.Callback):
    """How much was gathered from the end of an epoch to the start of the next."""

    def __init__(self):
        self.before, self.found = None, []

    def on_train_epoch_end(self, trainer, module):
        self.before = trainer.strategy.asked

    def on_train_epoch_start(self, trainer, module):
        if self.before is not None:
            self.found.append(trainer.strategy.asked - self.before)


def _gathered_between_epochs():
    between = BetweenEpochs()
    options = {**QUIET, "strategy": AsksOften()}
    pl.Trainer(max_epochs=3, callbacks=[between], **options).fit(Line(), loader(3))
    return between.found


def test_an_epoch_begins_with_one_question_to_all():
    assert run_ranks(_gathered_between_epochs, 2) == [[1, 1]] * 2


def test_a_step_has_the_collectives_of_a_hand_written_one():
    for kinds, by_hand in run_ranks(_collectives, 2):
        assert sum(by_hand.values()) == 20  # steps
        ours = {name: _without_messages(*of_kind) for name, of_kind in kinds.items()}
        assert ours["sized"] == by_hand
        # whether anybody has more data, asked while the step runs
        assert _extra(ours["stream"], by_hand) == {"allreduce_": 20}
        # the weights of all ranks
        assert _extra(ours["weighted"], by_hand) == {"allreduce_": 20}
        # twenty batches in windows of four end five times, and only then anything is sent
        of_windows = {key: count // 4 for key, count in by_hand.items()}
        assert _extra(ours["windows"], of_windows) == {"allreduce_": 5}


def _without_messages(found, seconds):
    """The clock's messages aside: a gather of a header now and then."""
    gathers = {key: count for key, count in found.items() if "gather" in key[0]}
    assert sum(gathers.values()) <= 1 + seconds / 2, gathers
    return {key: count for key, count in found.items() if key not in gathers}


def _extra(ours, by_hand):
    """What there is beside the collectives by hand, which are there with the same sizes."""
    assert not Counter(by_hand) - Counter(ours)
    found = Counter()
    for (name, size), count in (Counter(ours) - Counter(by_hand)).items():
        assert size <= 24  # bytes: a number or two
        found[name] += count
    return found
