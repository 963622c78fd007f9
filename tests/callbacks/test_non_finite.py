"""`NonFinite`: each policy against each kind of bad number, and what the host waits for."""

import csv
import math
import warnings

import pytest
import torch
from tests.test_budget import noted_waits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    NonFinite,
    OnExceptionCheckpoint,
)
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException, NonFiniteError

pytestmark = pytest.mark.faults

BATCHES = 8
KINDS = ("loss NaN", "loss infinite", "gradient infinite", "loss NaN, gradients finite")


def batches(count=BATCHES):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(4, 4, generator=generator) for _ in range(count)]


def spoiled(loss, kind):
    """A loss that goes wrong in one of four ways."""
    if kind == "gradient infinite":
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss
    if kind == "loss NaN, gradients finite":
        return loss + math.nan
    return loss * (math.nan if kind == "loss NaN" else math.inf)


class Net(pl.LightningModule):
    """Two layers; the batches in `bad` give a bad number, those in `absent` no loss at all."""

    def __init__(self, make="adam", bad=(), kind="loss NaN", absent=(), dropout=0.0):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Dropout(dropout), nn.Linear(4, 1))
        self.make, self.bad, self.kind, self.absent = make, bad, kind, absent
        self.trained = []

    def training_step(self, batch, batch_idx):
        place = (self.current_epoch, batch_idx)
        if place in self.absent:
            return None
        self.trained.append(place)
        loss = self.layers(batch).square().mean()
        if place in self.bad:
            loss = spoiled(loss, self.kind)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return OPTIMIZERS[self.make](self.parameters())


class OwnStep(Net):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        optimizer.step(closure=optimizer_closure)


class Manual(Net):
    def __init__(self, **options):
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if loss is None:
            return
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 0.1),
    "fused adam": lambda p: torch.optim.AdamW(p, 0.1, fused=True),
    "fused sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, fused=True),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3),
    "infinite rate": lambda p: torch.optim.SGD(p, 0.1),
}


def trained(module, callbacks=(), data=None, **options):
    quiet = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(callbacks=list(callbacks), **{**quiet, **options})
    trainer.fit(module, batches() if data is None else data)
    return trainer


def everything(trainer):
    """Weights and states of optimizers and schedulers, as comparable data."""
    found = [p.detach().clone() for p in trainer.lightning_module.parameters()]
    for optimizer in trainer.optimizers:
        state = optimizer.state_dict()
        found.append([group["lr"] for group in state["param_groups"]])
        found.append(state["state"])
    found.append([config.scheduler.state_dict() for config in trainer.lr_scheduler_configs])
    return found


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# --- skip ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 4], ids=["first batch", "fifth batch"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", ["sgd", "adam", "fused adam", "fused sgd", "lbfgs"])
@pytest.mark.parametrize("net", [Net, OwnStep, Manual])
def test_a_skipped_step_leaves_no_trace(net, make, kind, bad, tally):
    if make == "lbfgs" and net is Manual:
        pytest.skip("manual optimization gives LBFGS no closure here")
    place, careful = (0, bad), NonFinite("skip")
    tally("bad number in a step")
    with pytest.warns(UserWarning, match=f"not finite in batch {bad} of epoch 0"):
        trainer = trained(net(make=make, bad={place}, kind=kind), [careful])
    others = [None if index == bad else b for index, b in enumerate(batches())]
    never = trained(net(make=make), data=others)
    assert careful.skipped == 1
    assert same(everything(trainer), everything(never))
    assert trainer.global_step == BATCHES  # counts what was tried, as with a gradient scaler


OPTIONS = {
    "accumulation": {"accumulate_grad_batches": 2},
    "clipping by norm": {"gradient_clip_val": 0.5},
    "clipping by value": {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
    "scaler": {"precision": "16-mixed"},
    "bfloat16": {"precision": "bf16-mixed"},
    "16 bits": {"precision": "bf16-true"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", ["adam", "fused adam"])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_skipped_step_under_options_of_the_trainer(option, make, kind, tally):
    options = {**OPTIONS[option], "max_epochs": 2}
    window = {(1, 4), (1, 5)} if option == "accumulation" else {(1, 5)}
    careful = NonFinite("skip")
    overflow = option == "scaler" and kind == "gradient infinite"  # no loss says so
    tally("bad number in a step")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer = trained(Net(make, {(1, 5)}, kind), [careful], **options)
    assert any("not finite in batch 5" in str(each.message) for each in said) is not overflow
    never = trained(Net(make, absent=window), **options)
    assert careful.skipped == (0 if overflow else 1)
    assert same(everything(trainer), everything(never))
    if option == "scaler":
        share = 0.5 if overflow else 1.0
        assert trainer.scaler.get_scale() == share * never.scaler.get_scale()


def test_the_rest_of_a_window_that_went_wrong_is_not_used(tally):
    careful = NonFinite("skip")
    tally("bad number in a step")
    with pytest.warns(UserWarning, match="not finite in batch 5"):
        bad = trained(Net(bad={(0, 4)}), [careful], accumulate_grad_batches=2)
    never = trained(Net(absent={(0, 4), (0, 5)}), accumulate_grad_batches=2)
    assert careful.skipped == 1
    assert same(everything(bad), everything(never))


class Scheduled(Net):
    def configure_optimizers(self):
        optimizer = Net.configure_optimizers(self)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def test_a_schedule_of_steps_waits_for_a_step_that_was_left_out(tally):
    tally("bad number in a step")
    with pytest.warns(UserWarning, match="not finite"):
        trainer = trained(Scheduled(bad={(0, 3)}), [NonFinite("skip")])
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.1 * 0.5 ** (BATCHES - 1)


class ScheduledByHand(Manual):
    configure_optimizers = Scheduled.configure_optimizers

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        self.lr_schedulers().step()


def test_so_does_one_that_the_module_steps(tally):
    tally("bad number in a step")
    with pytest.warns(UserWarning, match="not finite"):
        trainer = trained(ScheduledByHand(bad={(0, 3)}), [NonFinite("skip")])
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.1 * 0.5 ** (BATCHES - 1)


class Pair(pl.LightningModule):
    """Two optimizers, in turn on every batch; the second one's loss is bad once."""

    def __init__(self, kind, bad):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(4, 1), nn.Linear(4, 1)
        self.kind, self.bad = kind, bad

    def training_step(self, batch, batch_idx, optimizer_idx):
        layer = (self.first, self.second)[optimizer_idx]
        loss = layer(batch).square().mean()
        if batch_idx == 2 and optimizer_idx == 1:
            return spoiled(loss, self.kind) if self.bad else None
        return loss

    def configure_optimizers(self):
        return [torch.optim.Adam(p.parameters(), 0.1) for p in (self.first, self.second)]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_optimizer_whose_loss_is_bad_is_held_back(kind, accumulate, tally):
    careful = NonFinite("skip")
    tally("bad number in a step")
    with pytest.warns(UserWarning, match="not finite"):
        options = {"accumulate_grad_batches": accumulate, "data": batches(3)}
        trainer = trained(Pair(kind, bad=True), [careful], **options)
    never = trained(Pair(kind, bad=False), **options)
    assert careful.skipped == 1
    first, second = trainer.lightning_module.first, trainer.lightning_module.second
    assert torch.equal(first.weight, never.lightning_module.first.weight)
    if accumulate == 1:
        assert same(everything(trainer), everything(never))
    else:  # the only window of the second one was spoiled
        assert not trainer.optimizers[1].state
        assert torch.equal(second.weight, Pair(kind, bad=True).second.weight)


def test_steps_that_can_never_be_good_again_are_not_skipped_for_ever(tally):
    class Broken(Net):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 3:
                with torch.no_grad():
                    self.layers[0].weight[0, 0] = math.nan

    tally("bad weight")
    with pytest.raises(NonFiniteError, match="weights are not finite after batch"):
        trained(Broken(), [NonFinite("skip", check_every_n_steps=2)])


# --- raise --------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("net", [Net, Manual])
def test_the_first_bad_batch_is_named_with_its_samples(net, kind, every, tally):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(5)).tolist()
    data = DataLoader(torch.randn(16, 4), batch_size=2, sampler=order)
    tally("bad number in a step")
    with pytest.raises(NonFiniteError) as caught:
        module = net(bad={(1, 5), (1, 6)}, kind=kind)
        trained(module, [NonFinite(check_every_n_steps=every)], data, max_epochs=3)
    error = caught.value
    assert (error.epoch, error.batch, error.sample_ids) == (1, 5, order[10:12])
    wrong = "norm of the gradients" if kind == "gradient infinite" else "loss"
    assert str(error).startswith(
        f"NonFinite(policy='raise'): The {wrong} was not finite in batch 5 of epoch 1 "
        f"(global step 14), samples {order[10:12]}. "
    )


def test_samples_of_several_loaders_and_of_a_list(tally):
    class Sum(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"] + batch["b"], batch_idx)

    loaders = {name: DataLoader(torch.randn(8, 4), batch_size=2) for name in "ab"}
    tally("bad number in a step", 2)
    with pytest.raises(NonFiniteError, match=r"samples \[\[4, 5\], \[4, 5\]\]"):
        trained(Sum(bad={(0, 2)}), [NonFinite()], loaders)
    with pytest.raises(NonFiniteError, match=r"in batch 2 of epoch 0 \(global step 3\)\. "):
        trained(Net(bad={(0, 2)}), [NonFinite()])


def test_workers_change_nothing_about_the_samples(tally):
    data = DataLoader(torch.randn(16, 4), batch_size=2, num_workers=2)
    tally("bad number in a step")
    with pytest.raises(NonFiniteError, match=r"batch 3 .* samples \[6, 7\]"):
        trained(Net(bad={(0, 3)}), [NonFinite()], data)


@pytest.mark.parametrize("policy", ["raise", "rollback"])
def test_a_scaler_deals_with_overflow_itself(policy):
    options = {"precision": "16-mixed", "max_epochs": 1}
    careful = NonFinite(policy)
    trainer = trained(Net(bad={(0, 3)}, kind="gradient infinite"), [careful], **options)
    assert trainer.scaler.get_scale() < 2.0**16
    assert careful.rollbacks == 0
    with pytest.raises(NonFiniteError, match="The loss was not finite in batch 3"):
        trained(Net(bad={(0, 3)}), [NonFinite("raise")], **options)


def test_anomaly_detection_comes_first(tally):
    class Root(Net):
        def training_step(self, batch, batch_idx):
            return (self.layers(batch).square().mean() * -1).sqrt()

    tally("bad number in a step")
    with pytest.raises(RuntimeError, match="SqrtBackward0.* returned nan values"):
        trained(Root(), [NonFinite()], detect_anomaly=True)


def test_early_stopping_on_a_bad_metric_is_as_it_was():
    stopper = EarlyStopping("loss", check_finite=True, check_on_train_epoch_end=True)
    with pytest.warns(UserWarning, match="not finite"):
        careful = NonFinite("skip")
        trainer = trained(Net(bad={(1, 3)}), [careful, stopper], max_epochs=5)
    assert stopper.stopped_epoch == 1  # the mean of the epoch's losses is NaN
    assert trainer.current_epoch == 2


# --- files --------------------------------------------------------------------------------------


class Diverging(Net):
    """Its learning rate is infinite on one batch: losses and gradients are fine there."""

    def on_train_batch_start(self, batch, batch_idx):
        rate = math.inf if batch_idx == 4 else 0.1
        self.optimizers().param_groups[0]["lr"] = rate


@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize(
    "spoil", [{"bad": {(0, 4)}}, {"bad": {(0, 4)}, "kind": "gradient infinite"}, {}]
)
def test_no_checkpoint_holds_bad_weights(spoil, weights_only, tmp_path, tally):
    module = Net(**spoil) if spoil else Diverging("infinite rate")
    saver = ModelCheckpoint(
        tmp_path, every_n_train_steps=1, save_top_k=-1, save_weights_only=weights_only
    )
    on_exception = OnExceptionCheckpoint(tmp_path, "failed")
    tally("bad weight" if not spoil else "bad number in a step")
    with pytest.raises(NonFiniteError, match="batch 4 of epoch 0"), pytest.warns(UserWarning):
        trained(module, [NonFinite(), saver, on_exception])
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"epoch=0-step={step}.ckpt" for step in (1, 2, 3, 4)]
    for name in files:
        weights = torch.load(tmp_path / name, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in weights.values())


# --- rollback -----------------------------------------------------------------------------------


class Rich(Net):
    """With a schedule of steps, random numbers and a validation."""

    def validation_step(self, batch, batch_idx):
        self.log("val", self.layers(batch).mean())

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def rows(folder):
    with open(folder / "csv" / "metrics.csv") as file:
        return list(csv.DictReader(file))


def rich_run(folder, module, data, callbacks=(), **options):
    saver = ModelCheckpoint(folder / "kept", every_n_train_steps=2, save_top_k=-1)
    logger = CSVLogger(folder, name="", version="csv")
    options = {"max_epochs": 3, "log_every_n_steps": 2, "val_check_interval": 4, **options}
    module.val_dataloader = lambda: batches(2)
    trainer = trained(module, [*callbacks, saver], data, logger=logger, **options)
    return everything(trainer), rows(folder), dict(trainer.callback_metrics)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("place", [(0, 5), (1, 0), (2, 7)])
@pytest.mark.parametrize("kind", ["loss NaN", "gradient infinite"])
def test_a_run_that_went_back_equals_one_without_the_batch(
    kind, place, accumulate, tmp_path, tally
):
    torch.manual_seed(2)
    options = {"accumulate_grad_batches": accumulate}
    careful = NonFinite("rollback")
    tally("rollback")
    module = Rich("adam", {place}, kind, dropout=0.5)
    with pytest.warns(UserWarning, match="The run goes back to"):
        found = rich_run(tmp_path / "bad", module, batches(), [careful], **options)
    window = [place]
    if accumulate == 2 and kind == "gradient infinite" and place[1] % 2:
        window = [(place[0], place[1] - 1), place]  # any of the window may have done it
    elif accumulate == 2 and kind == "gradient infinite":
        window = [place, (place[0], place[1] + 1)]
    assert careful.avoided == set(window)
    assert careful.rollbacks == 1

    class Without(Rich):
        def on_train_start(self):
            self.trainer._run.avoided = set(window)

    torch.manual_seed(2)
    expected = rich_run(tmp_path / "good", Without("adam", dropout=0.5), batches(), **options)
    assert same(found, expected)
    assert module.trained.count(place) == 1


def test_the_batch_is_left_out_as_one_that_is_none(tmp_path, tally):
    tally("rollback")
    with pytest.warns(UserWarning, match="The run goes back to"):
        found = rich_run(
            tmp_path / "bad", Rich("adam", {(1, 5)}), batches(), [NonFinite("rollback")]
        )

    class Stream:
        epoch = -1

        def __iter__(self):
            self.epoch += 1
            return iter([None if (self.epoch, i) == (1, 5) else b for i, b in enumerate(batches())])

        def __len__(self):
            return BATCHES

    with pytest.warns(UserWarning, match="gave None"):
        expected = rich_run(tmp_path / "good", Rich("adam"), Stream())
    assert same(found, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shuffled_loader_goes_on_in_its_order(workers, tmp_path, tally):
    rows = TensorDataset(torch.arange(16.0)[:, None].repeat(1, 4))
    seen = []

    class Noting(Net):
        def training_step(self, batch, batch_idx):
            seen.append((self.current_epoch, batch_idx, batch[0][:, 0].tolist()))
            return super().training_step(batch[0], batch_idx)

    torch.manual_seed(4)
    data = DataLoader(rows, batch_size=2, shuffle=True, num_workers=workers)
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1)
    tally("rollback")
    with pytest.warns(UserWarning, match="The run goes back to"):
        trained(Noting(bad={(1, 4)}), [NonFinite("rollback"), saver], data, max_epochs=2)
    places = [(epoch, batch) for epoch, batch, _ in seen]
    assert places[12:16] == [(1, 4), (1, 5), (1, 6), (1, 5)]  # back to the file of step 12
    contents = {}
    for epoch, batch, samples in seen:
        assert contents.setdefault((epoch, batch), samples) == samples
    for epoch in (0, 1):
        read = sorted(sum((s for (e, _), s in contents.items() if e == epoch), []))
        assert read == sorted(range(16))


def test_it_goes_back_three_times_and_no_more(tmp_path, tally):
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
    careful = NonFinite("rollback", check_every_n_steps=1)
    bad = {(0, index) for index in (2, 3, 5, 6)}
    tally("rollback", 4)
    with pytest.raises(NonFiniteError) as caught, pytest.warns(UserWarning):
        trained(Net(bad=bad), [careful, saver])
    assert careful.rollbacks == 3
    for index in (2, 3, 5, 6):
        assert f"in batch {index} of epoch 0" in str(caught.value)


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(tally):
    tally("rollback")
    with pytest.raises(NonFiniteError, match="no checkpoint of this run .*every_n_train_steps"):
        trained(Net(bad={(0, 2)}), [NonFinite("rollback")])


def test_a_damaged_checkpoint_is_passed_over(tmp_path, tally):
    class Damaging(Net):
        def on_train_batch_start(self, batch, batch_idx):
            newest = tmp_path / "epoch=0-step=4.ckpt"
            if batch_idx == 5 and (0, 5) not in self.trained:
                newest.write_bytes(newest.read_bytes()[:-100])

    saver = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    module = Damaging(bad={(0, 5)})
    tally("torn file")
    tally("rollback")
    with pytest.warns(UserWarning, match=r"step=2\.ckpt'; batch 5 .* Passed over: .*step=4\.ckpt"):
        trained(module, [NonFinite("rollback"), saver])
    assert module.trained == [(0, b) for b in (0, 1, 2, 3, 4, 5, 2, 3, 4, 6, 7)]


def test_files_of_other_runs_are_not_gone_back_to(tmp_path, tally):
    trained(Net(), [ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)])
    with pytest.warns(UserWarning):
        saver = ModelCheckpoint(tmp_path, every_n_train_steps=100)
        tally("rollback")
        with pytest.raises(NonFiniteError, match="no checkpoint of this run"):
            trained(Net(bad={(0, 2)}), [NonFinite("rollback"), saver])


def test_what_was_avoided_stays_avoided_after_a_resume(tmp_path, tally):
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    tally("rollback")
    with pytest.warns(UserWarning, match="goes back"):
        whole = trained(Net(bad={(0, 5)}), [NonFinite("rollback"), saver], max_epochs=2)
    careful = NonFinite("rollback")
    path = str(tmp_path / "epoch=1-step=10.ckpt")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=2, callbacks=[careful, saver.__class__(tmp_path)], **quiet)
    with pytest.warns(UserWarning):
        trainer.fit(Net(), batches(), ckpt_path=path)
    assert (careful.rollbacks, careful.avoided) == (1, {(0, 5)})
    assert same(everything(trainer), everything(whole))


# --- costs and arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "make", "most"),
    [("raise", "adam", 0), ("rollback", "adam", 0), ("skip", "fused adam", 0), ("skip", "adam", 1)],
)
def test_how_often_the_host_waits_for_the_device(policy, make, most):
    waits, steps = [], 6

    class Watched(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 1:
                self.context = noted_waits(waits)
                self.context.__enter__()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == steps:
                self.context.__exit__(None, None, None)

    class Unlogged(Net):
        def training_step(self, batch, batch_idx):
            return self.layers(batch).square().mean()

    trained(Unlogged(make), [Watched(), NonFinite(policy)], log_every_n_steps=50)
    assert len(waits) == most * steps


def test_counts_are_kept_in_checkpoints(tmp_path, tally):
    saver = ModelCheckpoint(tmp_path, filename="{step}")
    tally("bad number in a step")
    with pytest.warns(UserWarning, match="not finite"):
        trained(Net(bad={(0, 2), (0, 6)}), [NonFinite("skip"), saver])
    careful = NonFinite("skip")
    with pytest.warns(UserWarning):
        trainer = pl.Trainer(
            max_epochs=2, callbacks=[careful, ModelCheckpoint(tmp_path)], logger=False
        )
        trainer.fit(Net(bad={(1, 2)}), batches(), ckpt_path=str(tmp_path / "step=8.ckpt"))
    assert careful.skipped == 3


def test_wrong_arguments_are_refused():
    with pytest.raises(MisconfigurationException, match="Did you mean 'skip'"):
        NonFinite("skp")
    with pytest.raises(MisconfigurationException, match="pass 1 or more"):
        NonFinite(check_every_n_steps=0)
