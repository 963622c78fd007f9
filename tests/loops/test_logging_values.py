"""Which values `self.log` takes, and how those of an epoch are brought into one."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.loops.logging_runs import Plain, fitted, numbers, plain, trainer
from torch.utils.data import DataLoader

from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Logs(Plain):
    """Logs what a function of (module, batch, batch_idx) logs."""

    def __init__(self, record):
        super().__init__()
        self.record = record

    def training_step(self, batch, batch_idx):
        self.record(self, batch, batch_idx)
        return self.layer.weight.sum()


def metrics_of(record, *loaders, **arguments):
    return fitted(Logs(record), *(loaders or (numbers(5),)), **arguments).callback_metrics


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, torch.float32),
        (np.float32(1.5), torch.float32),
        (torch.tensor(1.5), torch.float32),
        (torch.tensor([1.5]), torch.float32),
        (torch.tensor([[1.5]]), torch.float32),
        (torch.tensor(1.5, dtype=torch.half), torch.float32),
        (torch.tensor(1.5, dtype=torch.bfloat16), torch.float32),
        (torch.tensor(1.5, dtype=torch.double), torch.float64),
        (torch.tensor(1.5, requires_grad=True), torch.float32),
        (torch.nn.Parameter(torch.tensor(1.5)), torch.float32),
    ],
)
def test_numbers_of_every_kind(value, dtype):
    found = metrics_of(lambda module, *_: module.log("x", value, on_epoch=True))
    for name in ("x", "x_step", "x_epoch"):
        assert found[name] == 1.5
        assert found[name].dtype == dtype
        assert found[name].shape == ()
        assert not found[name].requires_grad


@pytest.mark.parametrize("value", [2, True, torch.tensor(2), torch.tensor([True]), np.int64(2)])
def test_whole_numbers_become_floats_and_say_so(value):
    if isinstance(value, np.int64):
        found = metrics_of(lambda module, *_: module.log("x", value))
    else:
        with pytest.warns(UserWarning, match="converted to"):
            found = metrics_of(lambda module, *_: module.log("x", value))
    assert found["x"] == float(value)
    assert found["x"].dtype == torch.float32


@pytest.mark.parametrize(
    "value", ["1.5", None, [1.5], (1.5,), {"a": 1.5}, {"a": {"b": 1.0}}, torch.ones(2), object()]
)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_no_number_is_refused_also_later(value, first):
    def record(module, batch, batch_idx):
        module.log("x", value if first or batch_idx else 1.0, on_epoch=True)

    with pytest.raises(ValueError, match=r"`self.log\('x'"):
        metrics_of(record)


def test_a_name_must_be_a_string():
    with pytest.raises(TypeError, match="must be a string"):
        metrics_of(lambda module, *_: module.log(3, 1.0))


def test_a_value_is_taken_when_it_is_logged():
    def record(module, batch, batch_idx):
        value = torch.tensor(float(batch_idx))
        module.log("x", value, on_epoch=True)
        module.log("step", value, on_epoch=False)
        value.fill_(1000.0)

    run = fitted(Logs(record), numbers(6))
    assert plain(run.callback_metrics) == {"x": 1.0, "x_step": 2.0, "x_epoch": 1.0, "step": 2.0}


def test_what_is_read_is_a_copy():
    seen = []

    class Reads(Logs):
        def on_train_batch_end(self, *_):
            found = self.trainer.callback_metrics
            seen.append((found["x_step"], found["x_epoch"]))

    fitted(Reads(lambda module, b, i: module.log("x", b.mean(), on_epoch=True)), numbers(6))
    assert [(float(a), float(b)) for a, b in seen] == [(0.5, 0.5), (2.5, 1.5), (4.5, 2.5)]


def test_the_graph_of_a_step_is_kept_on_request():
    seen = []

    class Reads(Plain):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("kept", loss, enable_graph=True, on_epoch=True)
            self.log("cut", loss)
            metrics = self.trainer.callback_metrics
            seen.append((metrics["kept_step"].requires_grad, metrics["cut"].requires_grad))
            return metrics["kept_step"]

    fitted(Reads(), numbers(4))
    assert seen == [(True, False)] * 2


# --- over an epoch ----------------------------------------------------------------------------


def test_a_mean_is_weighted_by_samples():
    found = metrics_of(lambda module, b, i: module.log("x", b.mean(), on_epoch=True), numbers(5))
    assert found["x"] == 2.0  # of 0..4, though the last batch holds one sample


def test_a_given_batch_size_is_the_weight():
    def record(module, batch, i):
        module.log("number", float(i), on_epoch=True, batch_size=i + 1)
        module.log("tensor", torch.tensor(float(i)), on_epoch=True, batch_size=torch.tensor(i + 1))
        module.log_dict({"dict": float(i)}, on_epoch=True, batch_size=i + 1)

    found = plain(metrics_of(record))
    assert found["number"] == found["tensor"] == found["dict"] == round((0 + 2 + 6) / 6, 6)


@dataclass
class Pair:
    name: list
    x: torch.Tensor


def transposed(samples):
    """Sequence first: the first dimension is not the number of samples."""
    return torch.stack(samples, dim=1)


@pytest.mark.parametrize(
    "collate",
    [
        transposed,
        lambda samples: {"odd": torch.zeros(7, 3), "x": torch.stack(samples)},
        lambda samples: {"text": [str(s) for s in samples]},
        lambda samples: Pair(["a"], torch.stack(samples)[None]),
        lambda samples: [torch.tensor(1.0), torch.stack(samples)],
        lambda samples: len(samples),
    ],
)
def test_the_weight_is_what_was_collated_whatever_the_batch_looks_like(collate):
    def record(module, batch, i):
        module.log("x", [0.5, 2.5, 4.0][i], on_epoch=True)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*first dimension.*")
        found = metrics_of(record, numbers(5, collate_fn=collate))
    assert found["x"] == 2.0


def test_of_several_loaders_the_first_is_the_weight():
    loaders = {"a": numbers(5), "b": numbers(9, batch_size=3)}

    def record(module, batch, i):
        module.log("x", batch["a"].mean(), on_epoch=True)

    assert metrics_of(record, loaders)["x"] == 2.0


def test_batches_that_no_loader_collated_are_guessed():
    batches = [{"x": torch.ones(1, 2)}, {"x": torch.full((3, 2), 5.0)}]

    def record(module, batch, i):
        module.log("x", batch["x"].mean(), on_epoch=True)

    assert metrics_of(record, batches)["x"] == 4.0
    unequal = [{"x": torch.ones(2, 2), "y": torch.ones(3)}]
    with pytest.warns(UserWarning, match="batch_size"):
        metrics_of(record, unequal)


def test_where_nothing_tells_the_size_it_must_be_given_if_it_matters():
    batches = [["a"], ["b"]]
    with pytest.raises(MisconfigurationException, match="batch_size"):
        metrics_of(lambda module, b, i: module.log("x", 1.0, on_epoch=True), batches)

    def record(module, batch, i):
        module.log("step", float(i))
        module.log("most", float(i), on_epoch=True, reduce_fx="max")
        module.log("given", float(i), on_epoch=True, batch_size=1)

    found = plain(metrics_of(record, batches))
    assert (found["step"], found["most_epoch"], found["given_epoch"]) == (1.0, 1.0, 0.5)


def test_the_last_batch_of_an_unbatched_loader_counts_as_one():
    loader = DataLoader(torch.arange(3).float(), batch_size=None)
    assert metrics_of(lambda m, b, i: m.log("x", b, on_epoch=True), loader)["x_epoch"] == 1.0


@pytest.mark.parametrize(
    ("reduce_fx", "expected"),
    [
        ("mean", 1.0),
        ("avg", 1.0),
        ("MEAN", 1.0),
        ("min", 0.0),
        ("max", 2.0),
        ("sum", 3.0),
        (torch.mean, 1.0),
        (torch.min, 0.0),
        (torch.max, 2.0),
        (torch.sum, 3.0),
        (min, 0.0),
        (max, 2.0),
        (sum, 3.0),
    ],
)
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_reductions(reduce_fx, expected, kind):
    def record(module, batch, i):
        module.log("x", kind(float(i)), on_epoch=True, reduce_fx=reduce_fx)

    found = plain(metrics_of(record, numbers(6)))
    assert found == {"x": expected, "x_epoch": expected, "x_step": 2.0}


@pytest.mark.parametrize("reduce_fx", ["median", torch.median, lambda values: values[0], None])
def test_other_reductions_point_to_torchmetrics(reduce_fx):
    with pytest.raises(MisconfigurationException, match="torchmetrics"):
        metrics_of(lambda module, *_: module.log("x", 1.0, reduce_fx=reduce_fx))


def test_logged_twice_in_one_hook_both_count_and_the_last_is_the_step():
    def record(module, batch, i):
        module.log("x", 1.0, on_epoch=True)
        module.log("x", 3.0, on_epoch=True)

    assert plain(metrics_of(record)) == {"x": 2.0, "x_epoch": 2.0, "x_step": 3.0}


def test_logged_twice_with_other_arguments_is_refused():
    def record(module, batch, i):
        module.log("x", 1.0, on_epoch=True)
        module.log("x", 3.0, prog_bar=True)

    with pytest.raises(MisconfigurationException, match="twice in `training_step`"):
        metrics_of(record)


def test_arguments_that_mean_the_same_are_the_same():
    def record(module, batch, i):
        module.log("x", 1.0)
        module.log("x", 3.0, on_step=True, on_epoch=False, logger=True, reduce_fx=torch.mean)

    assert plain(metrics_of(record)) == {"x": 3.0}


def test_an_epoch_begins_anew():
    def record(module, batch, i):
        module.log("x", float(module.current_epoch), on_step=False, on_epoch=True)
        module.log("most", -float(module.current_epoch), on_epoch=True, reduce_fx="max")

    logger = fitted(Logs(record), numbers(4), max_epochs=3).logger
    assert logger.of("x") == [(1, 0.0), (3, 1.0), (5, 2.0)]
    assert logger.of("most_epoch") == [(1, 0.0), (3, -1.0), (5, -2.0)]


def test_numbers_and_tensors_may_take_turns():
    def record(module, batch, i):
        first = 1.0 if (i + module.current_epoch) % 2 else torch.tensor(1.0)
        module.log("x", first + i, on_epoch=True)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*copy construct.*")
        logger = fitted(Logs(record), numbers(6), max_epochs=3).logger
    assert [value for _, value in logger.of("x_epoch")] == [2.0, 2.0, 2.0]


def test_a_million_values_lose_nothing():
    """Summed up in float32 the mean is wrong in the third digit."""

    def record(module, batch, i):
        for tenth in module.tenths:
            module.log("tensor", tenth, on_step=False, on_epoch=True, batch_size=1)

    module = Logs(record)
    module.tenths = [torch.tensor(0.1)] * 100_000
    found = metrics_of_module(module, numbers(20))
    assert math.isclose(float(found["tensor"]), float(torch.tensor(0.1)), rel_tol=1e-7)


def metrics_of_module(module, *loaders):
    return fitted(module, *loaders).callback_metrics


def test_large_sums_in_half_precision_do_not_overflow():
    value = torch.tensor(60000.0, dtype=torch.half)
    found = metrics_of(
        lambda module, *_: module.log("x", value, on_step=False, on_epoch=True, batch_size=1000)
    )
    assert found["x"] == 60000.0


def test_nan_and_infinity_stay_what_they_are():
    def record(module, batch, i):
        module.log("nan", math.nan if i == 1 else 1.0, on_epoch=True, on_step=False)
        module.log("inf", torch.tensor(math.inf), on_epoch=True, on_step=False, reduce_fx="max")

    found = metrics_of(record)
    assert math.isnan(found["nan"])
    assert found["inf"] == math.inf


def test_the_order_of_names_changes_nothing():
    def forwards(module, batch, i):
        module.log("a", batch.mean(), on_epoch=True)
        module.log("b", 2.0, on_epoch=True, reduce_fx="sum")
        if i:
            module.log("c", batch.max(), on_epoch=True)

    def backwards(module, batch, i):
        if i:
            module.log("c", batch.max(), on_epoch=True)
        module.log("b", 2.0, on_epoch=True, reduce_fx="sum")
        module.log("a", batch.mean(), on_epoch=True)

    assert plain(metrics_of(forwards)) == plain(metrics_of(backwards))


def test_default_type_is_that_of_torch():
    torch.set_default_dtype(torch.float64)
    assert metrics_of(lambda module, *_: module.log("x", 0.1))["x"].item() == 0.1


def test_an_explicit_logger_without_loggers_warns():
    with pytest.warns(UserWarning, match="no logger"):
        metrics_of(lambda module, *_: module.log("x", 1.0, logger=True), logger=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no logger.*")
        metrics_of(lambda module, *_: module.log("x", 1.0), logger=False)


def test_one_process_needs_no_reduction_over_processes():
    def record(module, batch, i):
        module.log("synced", batch.mean(), on_epoch=True, sync_dist=True)
        module.log("alone", batch.mean(), on_epoch=True, rank_zero_only=True)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*sync_dist.*")
        found = metrics_of(record)
    assert found["synced"] == found["alone"] == 2.0


def test_memory_does_not_grow_with_the_steps_logged():
    import tracemalloc

    def record(module, batch, i):
        module.log("x", batch.mean(), on_epoch=True)

    module, made = Logs(record), trainer(logger=False, max_epochs=-1, max_steps=400)
    sizes = []

    class Watched(Logs):
        def on_train_batch_end(self, *_):
            if self.trainer.global_step in (200, 399):
                sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    made.fit(Watched(module.record), numbers(400, batch_size=1))
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 20_000  # a hundred bytes a step would be seen
