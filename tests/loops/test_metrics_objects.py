"""torchmetrics objects: by object, by value, in collections, loaders, stages and resumes."""

import copy

import pytest
import torch
from tests.loops.logging_runs import Plain, fitted, numbers, plain, trainer

import pytorch_lightning as pl

torchmetrics = pytest.importorskip("torchmetrics")


class OneMetric(Plain):
    """Logs one metric object in training."""

    def __init__(self, metric=None, **flags):
        super().__init__()
        self.metric = torchmetrics.MeanMetric() if metric is None else metric
        self.flags = flags or {"on_step": False, "on_epoch": True}

    def training_step(self, batch, batch_idx):
        self.metric(batch)
        self.log("m", self.metric, **self.flags)
        return super().training_step(batch, batch_idx)


def test_the_epoch_is_what_the_object_computes():
    run = fitted(OneMetric(), numbers(5), max_epochs=2)
    assert run.logger.of("m") == [(2, 2.0), (5, 2.0)]  # also in the second epoch: it began anew


def test_the_step_is_what_the_call_gave():
    run = fitted(OneMetric(on_step=True, on_epoch=True), numbers(5))
    assert run.logger.of("m_step") == [(0, 0.5), (1, 2.5), (2, 4.0)]
    assert run.logger.of("m_epoch") == [(2, 2.0)]


def test_an_object_that_is_only_updated_has_no_step_value():
    class Updated(OneMetric):
        def training_step(self, batch, batch_idx):
            self.metric.update(batch)
            self.log("m", self.metric, on_step=True, on_epoch=True)
            return Plain.training_step(self, batch, batch_idx)

    run = fitted(Updated(), numbers(5))
    assert run.logger.of("m_step") == []
    assert run.logger.of("m_epoch") == [(2, 2.0)]


def test_batch_size_and_reduction_do_not_change_an_object():
    run = fitted(OneMetric(on_epoch=True, batch_size=7, reduce_fx="max"), numbers(5))
    assert run.logger.of("m_epoch") == [(2, 2.0)]


def test_it_can_be_read_at_any_time_and_goes_on():
    seen = []

    class Read(OneMetric):
        def on_train_batch_end(self, *_):
            seen.append(float(self.trainer.callback_metrics["m"]))

    run = fitted(Read(), numbers(6))
    assert seen == [0.5, 1.5, 2.5]
    assert run.logger.of("m") == [(2, 2.5)]


def test_a_value_of_an_object_is_the_users_business():
    class ByValue(OneMetric):
        def training_step(self, batch, batch_idx):
            self.log("batch", self.metric(batch), on_step=False, on_epoch=True)
            return Plain.training_step(self, batch, batch_idx)

        def on_train_epoch_end(self):
            self.log("whole", self.metric.compute())

    module = ByValue()
    run = fitted(module, numbers(5), max_epochs=2)
    assert run.logger.of("batch") == [(2, 2.0), (5, 2.0)]  # means of batches, weighted by samples
    assert run.logger.of("whole") == [(2, 2.0), (5, 2.0)]
    assert module.metric.update_count == 6  # nobody reset it


def test_a_collection_with_a_prefix_and_compute_groups():
    class Collected(Plain):
        def __init__(self):
            super().__init__()
            self.scores = torchmetrics.MetricCollection(
                {
                    "precision": torchmetrics.classification.BinaryPrecision(),
                    "recall": torchmetrics.classification.BinaryRecall(),
                },
                prefix="train_",
            )

        def training_step(self, batch, batch_idx):
            self.scores.update(torch.tensor([1, 1, 0, 1]), torch.tensor([1, 0, 1, 1]))
            self.log_dict(self.scores, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

    module = Collected()
    run = fitted(module, numbers(4), max_epochs=2)
    assert plain(run.callback_metrics) == {
        "train_precision": round(2 / 3, 6),
        "train_recall": round(2 / 3, 6),
    }
    assert len(module.scores.compute_groups) == 1  # still one state for both
    assert run.logger.of("train_recall") == [(1, pytest.approx(2 / 3)), (3, pytest.approx(2 / 3))]


def test_a_called_collection_has_step_values():
    class Called(Plain):
        def __init__(self):
            super().__init__()
            metrics = {"mean": torchmetrics.MeanMetric(), "sum": torchmetrics.SumMetric()}
            self.scores = torchmetrics.MetricCollection(metrics, postfix="_of_x")

        def training_step(self, batch, batch_idx):
            self.scores(batch)
            self.log_dict(self.scores, on_step=True, on_epoch=True)
            return super().training_step(batch, batch_idx)

    logger = fitted(Called(), numbers(5)).logger
    assert logger.of("mean_of_x_step") == [(0, 0.5), (1, 2.5), (2, 4.0)]
    assert logger.of("sum_of_x_epoch") == [(2, 10.0)]


def test_one_object_for_several_loaders_gives_each_its_own_value():
    class Validated(OneMetric):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.metric.update(batch)
            self.log("v", self.metric)

    results = trainer().validate(Validated(), [numbers(4), numbers(8)], verbose=False)
    assert results == [{"v/dataloader_idx_0": 1.5}, {"v/dataloader_idx_1": 3.5}]


def test_one_object_in_two_stages_keeps_them_apart():
    seen = []

    class Shared(OneMetric):
        def validation_step(self, batch, batch_idx):
            self.metric.update(batch)
            self.log("v", self.metric)

        def on_validation_batch_end(self, *_):
            seen.append(plain(self.trainer.callback_metrics))

    run = fitted(Shared(), numbers(4), numbers(8), val_check_interval=1, max_epochs=2)
    assert run.logger.of("v") == [(0, 3.5), (1, 3.5), (2, 3.5), (3, 3.5)]
    assert run.logger.of("m") == [(1, 1.5), (3, 1.5)]
    assert [row["m"] for row in seen[:8]] == [0.5] * 4 + [1.5] * 4  # training is where it was
    assert [row["v"] for row in seen[:4]] == [0.5, 1.5, 2.5, 3.5]


def test_the_sanity_check_leaves_no_trace_in_an_object():
    class Checked(OneMetric):
        def validation_step(self, batch, batch_idx):
            self.metric.update(batch + 100)

    assert fitted(Checked(), numbers(4), numbers(4), num_sanity_val_steps=2).logger.of("m") == [
        (1, 1.5)
    ]


def test_the_attribute_is_found_by_identity_or_given():
    class Held(Plain):
        def __init__(self):
            super().__init__()
            self.held = torch.nn.ModuleDict({"m": torchmetrics.MeanMetric()})

        def training_step(self, batch, batch_idx):
            self.held["m"](batch)
            self.log("m", self.held["m"], on_epoch=True, metric_attribute="held.m")
            return super().training_step(batch, batch_idx)

    assert plain(fitted(Held(), numbers(4)).callback_metrics)["m_epoch"] == 1.5


def test_an_object_that_is_no_attribute_is_refused():
    class Loose(Plain):
        def training_step(self, batch, batch_idx):
            self.log("m", torchmetrics.MeanMetric())

    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="no attribute of"):
        fitted(Loose(), numbers(4))


def test_an_object_must_compute_one_tensor():
    class Dictionary(torchmetrics.MeanMetric):
        def compute(self):
            return {"a": super().compute()}

    with pytest.raises(ValueError, match="computes a dict"):
        fitted(OneMetric(Dictionary()), numbers(4))


def test_numbers_and_objects_do_not_share_a_name():
    class Mixed(OneMetric):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            self.log("m", 1.0, **self.flags)

    with pytest.raises(ValueError, match="a number and a metric object"):
        fitted(Mixed(), numbers(4))


class SaveAt(pl.Callback):
    """Saves a checkpoint after one training batch."""

    def __init__(self, batch, path):
        self.batch, self.path = batch, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 0 and batch_idx == self.batch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_resumed_epoch_has_the_value_of_a_whole_one(tmp_path, batch):
    class Both(OneMetric):
        def __init__(self):
            metrics = {"mean": torchmetrics.MeanMetric(), "cat": torchmetrics.CatMetric()}
            super().__init__()
            self.scores = torchmetrics.MetricCollection(
                {"low": torchmetrics.MinMetric(), "high": torchmetrics.MaxMetric()}
            )
            self.values = metrics["cat"]

        def training_step(self, batch, batch_idx):
            self.scores.update(batch)
            self.values.update(batch)
            self.log_dict(self.scores, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self):
            self.log("count", float(self.values.compute().numel()))
            self.values.reset()

    whole = fitted(Both(), numbers(6), callbacks=[SaveAt(batch, tmp_path / "c.ckpt")])
    resumed = trainer()
    resumed.fit(Both(), numbers(6), ckpt_path=tmp_path / "c.ckpt")
    assert plain(resumed.callback_metrics) == plain(whole.callback_metrics)
    assert plain(whole.callback_metrics) == {"m": 2.5, "low": 0.0, "high": 5.0, "count": 6.0}


def test_a_resume_inside_a_validation_keeps_both_stages(tmp_path):
    class Shared(OneMetric):
        def validation_step(self, batch, batch_idx):
            self.metric.update(batch)
            self.log("v", self.metric)

    class SaveInside(pl.Callback):
        def on_validation_batch_end(self, trainer, pl_module, *args, **kwargs):
            if args[2] == 1 and trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "c.ckpt")

    data = numbers(6), numbers(8)
    whole = fitted(Shared(), *data, val_check_interval=2, callbacks=[SaveInside()])
    resumed = trainer(val_check_interval=2)
    resumed.fit(Shared(), *data, ckpt_path=tmp_path / "c.ckpt")
    assert whole.logger.of("v") == resumed.logger.of("v") == [(1, 3.5)]
    assert whole.logger.of("m") == resumed.logger.of("m") == [(2, 2.5)]


def test_a_copy_of_the_module_has_metrics_of_its_own():
    module = OneMetric()
    fitted(module, numbers(4))
    other = copy.deepcopy(module)
    other.metric.update(3.0)
    assert not module.metric.update_called
