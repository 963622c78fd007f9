"""`self.log` on several ranks: what is reduced, when it travels, and what is an error on all."""

import warnings

import pytest
import torch
from tests.distributed.ranks import run_ranks
from tests.loops.logging_runs import Rows, numbers
from torch import nn

import pytorch_lightning as pl


class Logs(pl.LightningModule):
    """Trains on nothing; what is logged is added by the tests."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def trainer(world, **arguments):
    quiet = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "strategy": "ddp",
        "devices": world,
        "logger": Rows(),
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "use_distributed_sampler": False,
    }
    return pl.Trainer(**{**quiet, **arguments})


def own(rank, *shares):
    """A loader of the batches of this rank, each a column of numbers."""
    batches = [torch.tensor(batch, dtype=torch.float64)[:, None] for batch in shares[rank]]
    return torch.utils.data.DataLoader(batches, batch_size=None)


def plain(found):
    return {name: float(value) for name, value in found.items()}


# --- epochs ---------------------------------------------------------------------------------------

SHARES = ([[0.0, 1.0, 2.0], [3.0]], [[4.0]], [])  # the second has one batch, the third has none


class Reductions(Logs):
    def validation_step(self, batch, batch_idx):
        names = ["mean", "sum", "min", "max"]
        if self.global_rank == 1:
            names.reverse()
        for name in names:
            values = {"sum": batch.sum(), "min": batch.min(), "max": batch.max()}
            value = values.get(name, batch.mean())
            self.log(name, value, reduce_fx=name, sync_dist=True, batch_size=len(batch))
        self.log("own", batch.mean(), batch_size=len(batch))

    def on_validation_epoch_end(self):
        self.seen.append(plain(self.trainer.callback_metrics))
        self.log("end", float(self.global_rank), sync_dist=True)


def _reductions(world):
    made = trainer(world)
    rank = made.global_rank
    module = Reductions().double()
    found = made.validate(module, own(rank, *SHARES), verbose=False)
    return found, plain(made.callback_metrics), module.seen, made.logger.rows


def test_an_epoch_is_reduced_over_the_samples_of_all_ranks():
    expected = {"mean": 2.0, "sum": 10.0, "min": 0.0, "max": 4.0}
    for rank, (found, after, seen, _) in enumerate(run_ranks(_reductions, 3, 3)):
        for name, value in {**expected, "end": 1.0}.items():
            assert after[name] == pytest.approx(value, abs=1e-12)
            assert found[0][name] == pytest.approx(value, abs=1e-12)
        assert {n: seen[0][n] for n in expected} == pytest.approx(expected, abs=1e-12)
        assert after.get("own") == {0: 1.5, 1: 4.0}.get(rank)


class OnlyInSome(Logs):
    def validation_step(self, batch, batch_idx):
        if float(batch.max()) > 2:
            self.log("large", batch.max(), sync_dist=True, batch_size=1)


def _only_in_some(world):
    made = trainer(world)
    made.validate(OnlyInSome(), own(made.global_rank, *SHARES), verbose=False)
    return plain(made.callback_metrics)


def test_a_name_of_some_batches_counts_for_those():
    assert run_ranks(_only_in_some, 3, 3) == [{"large": 3.5}] * 3


class Sums(Logs):
    def training_step(self, batch, batch_idx):
        self.log("x", batch.mean(), on_step=False, on_epoch=True, sync_dist=True)
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self):
        self.seen.append(float(self.trainer.callback_metrics["x"]))
        self.log("late", 10.0 * self.global_rank, sync_dist=True)


class Monitors(pl.Callback):
    monitors_metrics = True
    seen = None

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen = plain(trainer.callback_metrics)


def _training():
    made = trainer(2, max_epochs=2, callbacks=[watch := Monitors()])
    rank = made.global_rank
    module = Sums()
    made.fit(module, own(rank, [[0.0, 1.0], [2.0, 3.0]], [[4.0, 5.0], [6.0, 7.0]]))
    return module.seen, watch.seen, plain(made.callback_metrics), made.logger.of("x")


def test_training_epochs_are_agreed_on_before_their_hooks_and_before_monitors():
    for seen, watched, after, rows in run_ranks(_training, 2):
        assert seen == [3.5, 3.5]
        assert watched == after == {"x": 3.5, "late": 5.0}
        assert rows in ([(1, 3.5), (3, 3.5)], [])


# --- steps ----------------------------------------------------------------------------------------


class Steps(Logs):
    def training_step(self, batch, batch_idx):
        rank = self.global_rank
        self.log("a", 10.0 * rank + batch_idx, sync_dist=True)
        self.log("b", 10.0 * rank + batch_idx, sync_dist=True, on_epoch=True, reduce_fx="max")
        self.log("own", 10.0 * rank + batch_idx)
        return super().training_step(batch, batch_idx)


def _steps(every):
    made = trainer(2, log_every_n_steps=every)
    made.fit(Steps(), numbers(12, batch_size=2))
    return made.logger.rows, plain(made.callback_metrics)


def test_step_values_are_the_mean_of_the_ranks_where_loggers_are_due():
    for rank, (rows, after) in enumerate(run_ranks(_steps, 2, 3)):
        assert after["a"] == 10.0 and after["own"] == 5.0 + 10 * rank
        assert after["b_step"] == 15.0 and after["b_epoch"] == after["b"] == 15.0
        if rank == 0:
            steps = [(x, row["a"], row["b_step"], row["own"]) for x, row in rows if "a" in row]
            assert steps == [(2, 7.0, 12.0, 2.0), (5, 10.0, 15.0, 5.0)]


class LacksOne(Logs):
    def training_step(self, batch, batch_idx):
        self.log("a", 1.0, sync_dist=True)
        if self.global_rank != 1 or batch_idx != 2:
            self.log("b", 2.0, sync_dist=True)
        return super().training_step(batch, batch_idx)


def _lacks_one():
    try:
        trainer(3).fit(LacksOne(), numbers(10))
    except pl.utilities.exceptions.MisconfigurationException as error:
        return str(error)
    return None


def test_a_step_value_that_a_rank_lacks_is_an_error_on_all():
    for text in run_ranks(_lacks_one, 3, limit=20):
        assert "`self.log('b', sync_dist=True)` was called on ranks 0, 2 but not" in text
        assert "on rank 1 (after batch 2 of epoch 0)" in text


class EndLacks(Logs):
    def on_train_epoch_end(self):
        if self.global_rank == 0:
            self.log("only", 1.0, sync_dist=True)


def _end_lacks():
    try:
        trainer(2).fit(EndLacks(), numbers(4))
    except pl.utilities.exceptions.MisconfigurationException as error:
        return str(error)
    return None


def test_a_value_of_an_epochs_hook_that_a_rank_lacks_is_an_error_on_all():
    for text in run_ranks(_end_lacks, 2, limit=20):
        assert "`self.log('only', sync_dist=True)` was called on rank 0 but not" in text


class OtherReduction(Logs):
    def validation_step(self, batch, batch_idx):
        self.log("x", 1.0, sync_dist=True, reduce_fx="sum" if self.global_rank else "mean")


def _other_reduction():
    made = trainer(2)
    try:
        made.validate(OtherReduction(), numbers(2), verbose=False)
    except pl.utilities.exceptions.MisconfigurationException as error:
        return str(error)
    return None


def test_one_name_with_two_reductions_is_an_error_on_all():
    for text in run_ranks(_other_reduction, 2, limit=20):
        assert "'x'" in text and "'mean'" in text and "'sum'" in text


# --- metric objects -------------------------------------------------------------------------------


class Objects(Logs):
    def __init__(self):
        super().__init__()
        import torchmetrics

        self.mean = torchmetrics.MeanMetric()
        self.rho = torchmetrics.SpearmanCorrCoef()
        kinds = [
            torchmetrics.classification.BinaryPrecision,
            torchmetrics.classification.BinaryRecall,
        ]
        self.pair = torchmetrics.MetricCollection([kind() for kind in kinds])
        self.so_far = []

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.mean.update(batch)
        self.rho.update(batch.flatten(), batch.flatten() ** 2)
        self.pair.update((batch > 1).int().flatten(), (batch > 0).int().flatten())
        self.log_dict(self.pair)
        pair = [("mean", self.mean), ("rho", self.rho)]
        for name, metric in pair if self.global_rank else reversed(pair):
            self.log(name, metric)
        if self.global_rank == 0:  # reading asks no other rank
            known = plain(self.trainer.callback_metrics)
            self.so_far.append(known.get("mean", known.get("mean/dataloader_idx_0")))


def _objects(world):
    made = trainer(world)
    module = Objects().double()
    loader = own(made.global_rank, *SHARES)
    found = []
    for loaders in (loader, [loader, loader]):
        made.validate(module, loaders, verbose=False)
        found.append(plain(made.callback_metrics))
    return *found, module.so_far


def test_metric_objects_compute_over_all_ranks_also_where_one_has_no_data():
    expected = {"mean": 2.0, "rho": 1.0, "BinaryPrecision": 1.0, "BinaryRecall": 0.75}
    for rank, (one, two, so_far) in enumerate(run_ranks(_objects, 3, 3)):
        assert one == pytest.approx(expected, abs=1e-6)
        assert one["mean"] == pytest.approx(2.0, abs=1e-12)
        for loader in (0, 1):
            of = {name: two[f"{name}/dataloader_idx_{loader}"] for name in expected}
            assert of == pytest.approx(expected, abs=1e-6)
        assert so_far == ([1.0, 1.5, 1.0, 1.5, 2.0, 2.0] if rank == 0 else [])


# --- rank zero alone, groups, advice --------------------------------------------------------------


class RankZero(Logs):
    def validation_step(self, batch, batch_idx):
        self.log("zero", 7.0, rank_zero_only=True, sync_dist=True)
        if self.global_rank == 0:
            self.log("alone", 8.0, rank_zero_only=True)


def _rank_zero():
    made = trainer(2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made.validate(RankZero(), numbers(2), verbose=False)
    return plain(made.callback_metrics), [str(w.message) for w in said if "sync" in str(w.message)]


def test_rank_zero_only_is_found_there_alone():
    assert run_ranks(_rank_zero, 2) == [({"zero": 7.0, "alone": 8.0}, []), ({}, [])]


class Grouped(Logs):
    def validation_step(self, batch, batch_idx):
        self.log("x", float(self.global_rank), sync_dist=True, sync_dist_group=self.group)
        if self.global_rank > 0:
            self.log("pair", float(self.global_rank), sync_dist=True, sync_dist_group=self.group)

    def on_validation_epoch_start(self):
        pair = torch.distributed.new_group([1, 2])
        alone = torch.distributed.new_group([0])
        self.group = pair if self.global_rank else alone


def _grouped():
    made = trainer(3)
    made.validate(Grouped(), numbers(2), verbose=False)
    return plain(made.callback_metrics)


def test_a_group_reduces_over_its_members():
    found = run_ranks(_grouped, 3)
    assert found[0]["x"] == 0.0
    assert found[1] == found[2] == {"x": 1.5, "pair": 1.5}


class Advised(Logs):
    def training_step(self, batch, batch_idx):
        self.log("step", 1.0)
        self.log("epoch", 1.0, on_step=False, on_epoch=True)
        self.log("synced", 1.0, on_epoch=True, sync_dist=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("val", 1.0)
        self.log("val_synced", 1.0, sync_dist=True)


def _advised(world):
    made = trainer(world) if world > 1 else trainer(1, strategy="auto")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made.fit(Advised(), numbers(4), numbers(4))
    told = [w for w in said if "recommended to use `self.log" in str(w.message)]
    return [(str(w.message).split("'")[1], w.category.__name__) for w in told]


def test_values_of_epochs_that_stay_the_ranks_own_are_pointed_out_once_on_rank_zero():
    expected = [("epoch", "PossibleUserWarning"), ("val", "PossibleUserWarning")]
    assert [sorted(said) for said in run_ranks(_advised, 2, 2)] == [expected, []]


def test_one_process_gets_no_such_advice():
    assert run_ranks(_advised, 1, 1, torchrun=False) == [[]]


# --- what it costs --------------------------------------------------------------------------------


class Counts(Steps):
    """Counts collectives between the second and the last batch."""

    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == 2:
            self.profiler = torch.autograd.profiler.profile()
            self.profiler.__enter__()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.trainer.callback_metrics, self.trainer.progress_bar_metrics  # noqa: B018 - read
        if batch_idx == 6:
            self.profiler.__exit__(None, None, None)


def _counts(world, every):
    module = Counts()
    made = trainer(world, log_every_n_steps=every, strategy="ddp" if world > 1 else "auto")
    made.fit(module, numbers(20))
    names = [e.name for e in module.profiler.function_events if "gloo:" in e.name]
    return sum("all_gather" in name or "allgather" in name for name in names)


def test_values_of_steps_travel_once_where_somebody_is_due_and_reading_sends_nothing():
    assert run_ranks(_counts, 2, 2, 5) == [2, 2]  # after batch 4: a header, and the values


def test_one_process_sends_nothing():
    assert run_ranks(_counts, 1, 1, 5, torchrun=False) == [0]


# --- uneven streams -------------------------------------------------------------------------------


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter([torch.ones(1)] * self.count)


def _uneven():
    made = trainer(2)
    module = Steps()
    made.fit(module, torch.utils.data.DataLoader(Stream(2 + 2 * made.global_rank)))
    return made.logger.of("a"), plain(made.callback_metrics)["a"]


def test_a_rank_whose_stream_has_ended_lacks_names_without_an_error():
    (rows, last), (_, same) = run_ranks(_uneven, 2, limit=20)
    assert rows == [(0, 5.0), (1, 6.0), (2, 12.0), (3, 13.0)]
    assert last == same == 13.0


class Gathers(Logs):
    def validation_step(self, batch, batch_idx):
        rank = self.global_rank
        self.found = self.all_gather({"number": rank, "pair": (torch.ones(2) * rank, "kept")})
        x = torch.ones(1, requires_grad=True)
        with torch.enable_grad():
            (self.all_gather(x * 2, sync_grads=True).sum() * (rank + 1)).backward()
        self.gradient = x.grad.item()


def _gathers():
    made = trainer(2, inference_mode=False)
    module = Gathers()
    made.validate(module, numbers(2), verbose=False)
    pair, text = module.found["pair"]
    return module.found["number"].tolist(), pair.tolist(), text, module.gradient


def test_a_module_gathers_trees():
    assert run_ranks(_gathers, 2) == [([0, 1], [[0, 0], [1, 1]], "kept", 6.0)] * 2


# --- resume ---------------------------------------------------------------------------------------


class Saves(Logs):
    """Saves after the second batch, and fails after the third unless told not to."""

    def __init__(self, path, *, fails):
        super().__init__()
        self.path, self.fails = path, fails

    def training_step(self, batch, batch_idx):
        value = 10.0 * self.global_rank + batch_idx
        weight = 1 + self.global_rank
        for reduce in ("mean", "sum", "max"):
            options = {"reduce_fx": reduce, "batch_size": weight, "sync_dist": True}
            self.log(reduce, value, on_step=True, on_epoch=True, **options)
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if batch_idx == 1 and self.fails:
            self.trainer.save_checkpoint(self.path)
        if batch_idx == 2 and self.fails:
            raise KeyError("fails")


def _resumed(path):
    logged = {"log_every_n_steps": 2}
    whole = trainer(2, **logged)
    whole.fit(Saves("", fails=False), numbers(10))
    failed = trainer(2, **logged)
    with pytest.raises(KeyError):
        failed.fit(Saves(path, fails=True), numbers(10))
    again = trainer(2, **logged)
    again.fit(Saves("", fails=False), numbers(10), ckpt_path=path)
    rows = (whole.logger.rows, failed.logger.rows, again.logger.rows)
    return plain(whole.callback_metrics), plain(again.callback_metrics), rows


def test_a_resumed_epoch_counts_every_value_of_every_rank_once(tmp_path):
    for rank, (whole, again, rows) in enumerate(run_ranks(_resumed, 2, str(tmp_path / "x.ckpt"))):
        assert whole == again
        assert whole["mean_epoch"] == pytest.approx((10 + 2 * 60) / 15, abs=1e-6)
        assert whole["sum_epoch"] == 10 + 60 and whole["max_epoch"] == 14
        if rank == 0:
            of_whole, _, of_again = rows
            assert [row for row in of_whole if row[0] >= 1] == of_again
