"""Programs in which ranks differ: the right result on all of them, or soon an error that says what.

A hang is a failure, and so are weights that part in silence.
"""

import os
import signal
import sys
import time

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import outcomes_of_ranks, run_ranks
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.distributed import standstill
from pytorch_lightning.fabric import Fabric
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import SIGTERMException

LIMIT = 25
WORLD = 2
QUIET = dict(
    accelerator="cpu",
    strategy="ddp",
    devices=WORLD,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)


def rank():
    return int(os.environ["RANK"])


class Line(pl.LightningModule):
    """What one rank does otherwise is given as functions of batch number and epoch."""

    def __init__(self, none_at=(), seed=0, width=1, **options):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(2, 2)
        self.last = nn.Linear(2, width)
        self.none_at, self.options = none_at, {"lr": 0.1, **options}

    def loss(self, batch):
        return self.last(self.layer(batch[0]).tanh()).pow(2).mean()

    def training_step(self, batch, batch_idx):
        return None if (rank(), batch_idx) in self.none_at else self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val", self.loss(batch), sync_dist=True)
        self.log("own", -1.0 * rank() * self.current_epoch)

    def test_step(self, batch, batch_idx):
        self.log("test", self.loss(batch), sync_dist=True)

    def predict_step(self, batch, batch_idx):
        return self.layer(batch[0])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), weight_decay=0.1, **self.options)


class Norm(Line):
    def __init__(self, none_at=()):
        super().__init__(none_at)
        self.layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


class Weighted(Line):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if loss is None else (loss * 2, 2)


class Scheduled(Line):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class TwoOptimizers(Line):
    def training_step(self, batch, batch_idx, optimizer_idx):
        return super().training_step(batch, batch_idx) if optimizer_idx else self.loss(batch)

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.layer, self.last)]


class Searching(Line):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Partly(Line):
    """Another layer takes part in every other batch, on the ranks in turn."""

    def __init__(self):
        super().__init__()
        self.more = nn.Linear(2, 2)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        return loss + self.more(batch[0]).mean() if batch_idx % 2 == rank() else loss


class Overflows(Line):
    """One loss of one rank is too large for float16, or no number."""

    def __init__(self, factor=1e30):
        super().__init__()
        self.factor = factor

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * (self.factor if (rank(), batch_idx) == (1, 4) else 1)


class Stream(IterableDataset):
    def __init__(self, count, nones=()):
        self.count, self.nones, self.at = count, nones, 0

    def __iter__(self):
        for index in range(self.at, self.count):
            self.at = index + 1
            generator = torch.Generator().manual_seed(100 * index + rank())
            batch = [torch.randn(2, 2, generator=generator)]
            yield None if (rank(), index) in self.nones else batch
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def stream(*counts, nones=()):
    return DataLoader(Stream(counts[rank()], nones), batch_size=None)


def loader(batches, **options):
    generator = torch.Generator().manual_seed(5)
    data = torch.randn(batches * 2 * WORLD, 2, generator=generator)
    return DataLoader(TensorDataset(data), batch_size=2, **options)


def none_for_some(samples):
    batch = torch.stack([sample[0] for sample in samples])
    return None if rank() == 1 and batch[0, 0] < 0 else [batch]


def weights(module):
    return [parameter.detach().tolist() for parameter in module.parameters()]


def fit(module, train=None, val=None, ckpt_path=None, **options):
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 2, **options})
    trainer.fit(module, loader(6) if train is None else train, val, ckpt_path=ckpt_path)
    return weights(module), trainer.global_step


class On(pl.Callback):
    """Acts in one hook of one rank, in hooks of batches at the one of this number."""

    def __init__(self, hook, act, on_rank=1, at=2):
        def called(trainer, module, *args):
            numbers = [arg for arg in args if type(arg) is int]
            if rank() == on_rank and ("batch" not in hook or at in numbers):
                act(trainer)

        setattr(self, hook, called)


def stop(trainer):
    trainer.should_stop = True


def terminate(trainer):
    os.kill(os.getpid(), signal.SIGTERM)


# --- the same weights everywhere ------------------------------------------------------------------


LEFT_OUT = {
    "one rank": lambda: fit(Line([(1, 2)])),
    "all ranks": lambda: fit(Line([(0, 2), (1, 2)])),
    "different batches": lambda: fit(Line([(0, 0), (1, 2)])),
    "the last batch": lambda: fit(Line([(1, 5)])),
    "buffers": lambda: fit(Norm([(1, 2)])),
    "inside a window": lambda: fit(Line([(1, 1)]), accumulate_grad_batches=3),
    "at the end of a window": lambda: fit(Line([(0, 1), (1, 2)]), accumulate_grad_batches=2),
    "clipping": lambda: fit(Line([(1, 2)]), gradient_clip_val=0.01),
    "a scheduler": lambda: fit(Scheduled([(1, 2)])),
    "two optimizers": lambda: fit(TwoOptimizers([(1, 2)])),
    "LBFGS": lambda: fit(Searching([(1, 2)])),
    "a scaler": lambda: fit(Line([(1, 0), (1, 2)]), precision="16-mixed"),
    "weights": lambda: fit(Weighted([(1, 2)])),
    "unused parameters": lambda: fit(Line([(1, 2)]), strategy="ddp_find_unused_parameters_true"),
    "no batch": lambda: fit(Line(), loader(6, collate_fn=none_for_some)),
    "no batch of a stream": lambda: fit(Line(), stream(4, 5, nones=[(1, 1), (1, 4)])),
    "a stream": lambda: fit(Line([(1, 2), (1, 4)]), stream(3, 6)),
    "a stream in windows": lambda: fit(
        Line([(1, 2), (1, 4)]), stream(3, 6), accumulate_grad_batches=2
    ),
}
ENDS_APART = {
    "buffers": lambda: fit(Norm(), stream(3, 6)),
    "two optimizers": lambda: fit(TwoOptimizers(), stream(3, 5)),
    "LBFGS": lambda: fit(Searching(), stream(2, 4)),
    "an overflow": lambda: fit(Overflows(), stream(3, 6), precision="16-mixed"),
    "parameters used in turn": lambda: fit(
        Partly(), stream(3, 6), strategy="ddp_find_unused_parameters_true"
    ),
    "a static graph": lambda: fit(
        Line(), stream(3, 6), strategy=pl.strategies.DDPStrategy(static_graph=True)
    ),
    "validation": lambda: fit(Line(), stream(5, 9), loader(2), val_check_interval=2),
    "a stop inside a window": lambda: fit(
        Line(),
        stream(9, 7),
        accumulate_grad_batches=4,
        callbacks=[On("on_train_batch_end", stop, at=1)],
    ),
    "other limits": lambda: fit(Line(), limit_train_batches=3 + rank()),
}
STOPS = {
    hook: lambda hook=hook, at=at: fit(
        Line(), val=loader(2), max_epochs=5, callbacks=[On(hook, stop, at=at)]
    )
    for hook, at in {
        "on_fit_start": 0,
        "on_sanity_check_end": 0,
        "on_train_start": 0,
        "on_train_epoch_start": 0,
        "on_train_batch_end": 5,
        "on_validation_batch_end": 1,
        "on_validation_epoch_end": 0,
        "on_train_epoch_end": 0,
        "on_train_end": 0,
    }.items()
}
OTHERWISE = {
    "other initial weights": lambda: fit(Line(seed=rank())),
    "NaN": lambda: [str(part) for part in fit(Overflows(float("nan")))],
    "sizes of validation": lambda: fit(Line(), val=loader(2 + rank())),
    "limits of validation": lambda: fit(Line(), val=loader(4), limit_val_batches=1 + rank()),
    "early stopping by own values": lambda: fit(
        Line(), val=loader(2), max_epochs=5, callbacks=[EarlyStopping("own", patience=1)]
    ),
    "a callback that asks nobody": lambda: fit(
        Line(), callbacks=[On("on_train_epoch_end", print)] if rank() == 0 else []
    ),
    "a clock": lambda: fit(
        Line(),
        loader(20),
        max_epochs=-1,
        max_time={"seconds": 1},
        callbacks=[On("on_train_batch_end", lambda t: time.sleep(0.6), on_rank=1)],
    )[0],
}


def _all(table):
    return {name: cell() for name, cell in globals()[table].items()}


@pytest.mark.parametrize("table", ["LEFT_OUT", "ENDS_APART", "STOPS", "OTHERWISE"])
def test_the_weights_of_all_ranks_are_the_same(table):
    first, second = run_ranks(_all, WORLD, table, limit=60)
    assert first.keys() == globals()[table].keys()
    for name, result in first.items():
        assert result == second[name], name


def _trained_by(optimizer, none_at=()):
    module = Line(none_at)
    module.configure_optimizers = lambda: optimizer(module.parameters(), lr=0.1)
    return module


def _one_step(none_at):
    return fit(_trained_by(torch.optim.SGD, none_at), loader(1), max_epochs=1)[0]


def _three_ways():
    return [_one_step(none_at) for none_at in ([], [(1, 0)], [(0, 0)], [(0, 0), (1, 0)])]


def test_a_rank_without_a_loss_counts_with_a_gradient_of_zero():
    before = weights(Line())
    both, first, second, nobody = run_ranks(_three_ways, WORLD)[0]
    assert nobody == before
    for start, *moved in zip(before, both, first, second, strict=True):
        start, *moved = (torch.tensor(values) for values in (start, *moved))
        steps = [values - start for values in moved]
        assert steps[1].abs().sum() > 0
        torch.testing.assert_close(steps[0], steps[1] + steps[2])


def _resumes(folder):
    every = ModelCheckpoint(dirpath=folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    whole = fit(Line(), stream(3, 6), callbacks=[every], enable_checkpointing=True)
    return whole, [
        fit(Line(seed=7), stream(3, 6), ckpt_path=f"{folder}/step={step}.ckpt")
        for step in (2, 3, 4, 6, 8)
    ]


def test_a_run_goes_on_in_the_middle_of_an_epoch_that_ends_apart(tmp_path):
    for whole, resumed in run_ranks(_resumes, WORLD, str(tmp_path), limit=60):
        assert resumed == [whole] * len(resumed)


def _logger_of_rank_0(folder):
    logs = CSVLogger(folder) if rank() == 0 else False
    found = fit(LogsSteps(), logger=logs, log_every_n_steps=1)
    return found, os.path.exists(f"{folder}/lightning_logs/version_0/metrics.csv")


class LogsSteps(Line):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        return loss


def test_a_logger_may_be_there_on_rank_0_only(tmp_path):
    (first, there), (second, _) = run_ranks(_logger_of_rank_0, WORLD, str(tmp_path))
    assert first == second and there


def _slow():
    standstill.STILL = standstill.SURE = 0.3  # seconds after which ranks tell where they are
    prepares = On("prepare_data", print)
    module = Line()
    if rank() == 0:
        module.prepare_data = lambda: time.sleep(1.5)
    late = [On("on_train_batch_end", lambda trainer: time.sleep(1.5), at=0), prepares]
    return fit(module, loader(2), max_epochs=1, callbacks=late)


def test_a_slow_rank_is_no_error():
    first, second = run_ranks(_slow, WORLD)
    assert first == second


def _terminated(stage):
    trainer = pl.Trainer(**QUIET, callbacks=[On(f"on_{stage}_batch_end", terminate, at=0)])
    call = {"validation": trainer.validate, "test": trainer.test, "predict": trainer.predict}
    try:
        call[stage](Line(), loader(3))
    except SIGTERMException:
        return "terminated"
    return "went on"


def _terminated_in_all():
    return [_terminated(stage) for stage in ("validation", "test", "predict")]


def test_a_signal_to_one_rank_ends_all_in_every_stage():
    assert run_ranks(_terminated_in_all, WORLD) == [["terminated"] * 3] * WORLD


# --- an error on all ranks, at once ---------------------------------------------------------------

GIVEN = {
    "`max_epochs` is 1 on rank 0, 2 on rank 1": lambda: fit(Line(), max_epochs=1 + rank()),
    "`max_steps` is 3 on rank 0, 4 on rank 1": lambda: fit(Line(), max_steps=3 + rank()),
    "`accumulate_grad_batches` is 1": lambda: fit(Line(), accumulate_grad_batches=1 + rank()),
    "`gradient_clip_val` is None": lambda: fit(Line(), gradient_clip_val=[None, 0.1][rank()]),
    "`num_sanity_val_steps`": lambda: fit(Line(), num_sanity_val_steps=rank()),
    "`log_every_n_steps`": lambda: fit(Line(), log_every_n_steps=1 + rank()),
    "`val_check_interval`": lambda: fit(Line(), val=loader(2), val_check_interval=2 + rank()),
    "whether there is validation": lambda: fit(Line(), val=[loader(2), None][rank()]),
    "the number of EarlyStoppings is 1 on rank 0, nothing on rank 1": lambda: fit(
        Line(), val=loader(2), callbacks=[EarlyStopping("own")][rank() :]
    ),
    "parameter 'last.weight' is float32 of shape (1, 2) on rank 0, float32 of shape (2, 2) on": (
        lambda: fit(Line(width=1 + rank()))
    ),
    "parameter 'more.weight' is float32 of shape (2, 2) on rank 0, nothing on rank 1": lambda: fit(
        (Partly, Line)[rank()]()
    ),
    "the module is Norm on rank 0, Line on rank 1": lambda: fit((Norm, Line)[rank()]()),
    "'lr' of group 0 of optimizer 0 is 0.1 on rank 0, 0.2": lambda: fit(Line(lr=0.1 + rank() / 10)),
    "optimizer 0 is Adam on rank 0, SGD on rank 1": lambda: fit(
        _trained_by([torch.optim.Adam, torch.optim.SGD][rank()])
    ),
    "the entry point is": lambda: (_validate, fit)[rank()](Line()),
}
BEGUN = {
    "rank 0: barrier (`barrier`": lambda: at_epoch_end(lambda t: t.strategy.barrier()),
    "rank 0: broadcast from rank 0": lambda: at_epoch_end(lambda t: t.strategy.broadcast("it")),
    "rank 0: gathering objects (`save_checkpoint`": lambda: at_epoch_end(
        lambda t: t.save_checkpoint("never")
    ),
    "rank 0: decision of all": lambda: at_epoch_end(
        lambda t: t.strategy.reduce_boolean_decision(True)
    ),
    "rank 0: all_gather": lambda: at_epoch_end(lambda t: t.strategy.all_gather(torch.ones(1))),
    "rank 0: reduce": lambda: at_epoch_end(lambda t: t.strategy.reduce(torch.ones(1))),
    "`self.log('one', sync_dist=True)` was called on rank 0 but not": lambda: fit(LogsAlone()),
    "rank 0: barrier (`barrier`, test_programs_that_differ.py:": lambda: _fabric(
        lambda f: [f.barrier, f.broadcast][rank()](*[(), (1,)][rank()])
    ),
    "rank 0: reduce RedOpType.SUM": lambda: _fabric(
        lambda f: f.all_reduce(torch.ones(2), reduce_op=["sum", "max"][rank()])
    ),
    "`reduce` got tensors that differ between the ranks": lambda: _fabric(
        lambda f: f.all_reduce(torch.ones(2 + rank()))
    ),
}


class LogsAlone(Line):
    def on_train_epoch_end(self):
        if self.global_rank == 0:
            self.log("one", 1.0, sync_dist=True)


def _validate(module):
    pl.Trainer(**QUIET).validate(module, loader(2))


def at_epoch_end(act):
    return fit(Line(), callbacks=[On("on_train_epoch_end", act, on_rank=0)])


def _fabric(act):
    fabric = Fabric(accelerator="cpu", devices=WORLD, strategy="ddp")
    fabric.launch()
    act(fabric)


def _refused(table):
    said = {}
    for name, cell in globals()[table].items():
        try:
            cell()
        except Exception as error:
            said[name] = str(error)
    return said


@pytest.mark.parametrize("table", ["GIVEN", "BEGUN"])
def test_all_ranks_are_told_at_once(table):
    for said in run_ranks(_refused, WORLD, table):
        for name in globals()[table]:
            assert name in said[name], (name, said[name])


# --- an error that ends the job -------------------------------------------------------------------


def in_batch(act, on_rank=0, module=Line, **options):
    on = On("on_train_batch_end", act, on_rank=on_rank)
    return fit(module(), callbacks=[on], **options)


class GathersAlone(Line):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        if self.global_rank == 0 and batch_idx == 2:
            self.all_gather(loss)
        return loss


def _after_fit(act):
    trainer, module = pl.Trainer(**QUIET, max_epochs=1), Line()
    trainer.fit(module, loader(2))
    if rank() == 0:
        act(trainer, module)


def _fabric_step():
    fabric = Fabric(accelerator="cpu", devices=WORLD, strategy="ddp")
    fabric.launch()
    if rank() == 0:
        fabric.setup(nn.Linear(2, 2))
    fabric.barrier()


def _full(*args):
    raise OSError(28, "No space left on device")


class FullDisk(TorchCheckpointIO):
    saved = 0

    def save_checkpoint(self, *args, **kwargs):
        FullDisk.saved += 1
        return _full() if FullDisk.saved > 1 else super().save_checkpoint(*args, **kwargs)


class BrokenLogger(CSVLogger):
    def log_metrics(self, metrics, step=None):
        _full()


def _saves(folder):
    callbacks = [ModelCheckpoint(folder, save_top_k=-1)]
    return fit(Line(), callbacks=callbacks, plugins=[FullDisk()], enable_checkpointing=True)


WAITS = "The ranks wait for each other in different places"
WAITING = {
    "save": lambda folder: in_batch(lambda t: t.save_checkpoint(f"{folder}/one.ckpt")),
    "gather": lambda folder: fit(GathersAlone()),
    "stream": lambda folder: in_batch(lambda t: t.strategy.barrier(), train=stream(4, 6)),
    "raw": lambda folder: in_batch(lambda t: dist.all_reduce(torch.ones(9))),
    "barrier": lambda folder: in_batch(lambda t: dist.barrier()),
    "setup": lambda folder: _fabric_step(),
    "weighted": lambda folder: fit(Weighted([(1, 0)])),
}
ENDING = {
    "validate": (
        "rank 1 failed first: its program came to its end, and other ranks wait for it",
        lambda folder: _after_fit(lambda t, m: t.validate(m, loader(2))),
    ),
    "exit": ("SystemExit: 0", lambda folder: in_batch(lambda t: sys.exit(0), on_rank=1)),
    "interrupt": (
        "KeyboardInterrupt",
        lambda folder: in_batch(lambda t: signal.default_int_handler(2, None), on_rank=1),
    ),
    "logger": (
        "No space left on device",
        lambda folder: fit(LogsSteps(), logger=BrokenLogger(folder), log_every_n_steps=1),
    ),
    "disk": ("No space left on device", _saves),
}


def _waits(name, folder):
    standstill.STILL = standstill.SURE = 0.3
    return WAITING[name](folder)


def _ends(name, folder):
    return ENDING[name][1](folder)


@pytest.mark.parametrize("name", WAITING)
def test_ranks_that_wait_for_each_other_are_told_where(name, tmp_path):
    begun = time.monotonic()
    ended = outcomes_of_ranks(_waits, WORLD, name, str(tmp_path), limit=LIMIT)
    assert time.monotonic() - begun < LIMIT
    assert not any(ok for ok, _, _ in ended)
    for text in [text for _, _, text in ended][name == "setup" :]:  # no trainer adds a note there
        assert WAITS in text
        assert "rank 0 in `" in text and "test_programs_that_differ.py:" in text


@pytest.mark.parametrize("name", ENDING)
def test_the_others_end_soon_and_say_why(name, tmp_path):
    begun = time.monotonic()
    ended = outcomes_of_ranks(_ends, WORLD, name, str(tmp_path), limit=LIMIT)
    assert time.monotonic() - begun < LIMIT
    assert "Timeout" not in "".join(text for _, _, text in ended)
    said = ENDING[name][0]
    assert said in ended[0][2]
    if name in ("exit", "logger", "disk"):
        assert said in ended[1][2]
    if name == "disk":
        assert len(os.listdir(tmp_path)) == 1  # the file before is whole, and there is no other
