"""What a trainer does with loaders and batches of every kind."""

from dataclasses import dataclass

import pytest
import torch
from tests.trainer.watched import Watched, numbers, quiet
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    TensorDataset,
)

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.trainer.loader_advice import advise

# --- kinds of loaders ---------------------------------------------------------------------------

BATCHES = [torch.full((2, 2), float(index)) for index in range(3)]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(6.0).repeat(2, 1).T)


class Indexed:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index >= 3:
            raise IndexError
        return BATCHES[index]


class Again:
    def __iter__(self):
        yield from BATCHES


class MyLoader(DataLoader):
    """Takes arguments of its own and changes what it yields."""

    def __init__(self, name, *args, factor=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.name, self.factor = name, factor

    def __iter__(self):
        for batch in super().__iter__():
            yield batch * self.factor


@pytest.mark.parametrize(
    "loader",
    [
        numbers(6),
        BATCHES,
        tuple(BATCHES),
        Again(),
        Indexed(),
        DataLoader(Stream(), batch_size=2),
        DataLoader(Stream(), batch_size=None),
        MyLoader("mine", torch.ones(6, 2), batch_size=2, factor=2),
        DataLoader(torch.ones(6, 2), batch_sampler=BatchSampler(range(6), 2, False)),
    ],
    ids=[
        "DataLoader",
        "list of batches",
        "tuple of batches",
        "iterable",
        "by index",
        "stream",
        "stream of samples",
        "subclass",
        "batch sampler",
    ],
)
def test_every_verb_reads_every_kind_of_loader(loader):
    class Any(Watched):
        def training_step(self, batch, batch_idx):
            self.note("train", batch_idx)
            return self(batch).mean()

        def predict_step(self, batch, batch_idx):
            self.note("predict", batch_idx)

    length = 6 if isinstance(loader, DataLoader) and loader.batch_size is None else 3
    if isinstance(loader, DataLoader) and loader.batch_sampler is not None:
        length = 3
    module, trainer = Any(), quiet(max_epochs=2)
    trainer.fit(module, loader, loader)
    trainer.test(module, loader, verbose=False)
    trainer.predict(module, loader)
    counts = {name: module.count(name) for name in ("train", "val", "test", "predict")}
    assert counts == {
        "train": 2 * length,
        "val": 2 * length,
        "test": length,
        "predict": length,
    }


def test_a_subclass_of_dataloader_stays_what_it_is():
    class Sums(Watched):
        def training_step(self, batch, batch_idx):
            self.note("sum", batch.sum().item(), type(self.trainer.train_dataloader).__name__)
            return super().training_step(batch, batch_idx)

    loader, module = MyLoader("mine", torch.ones(4, 2), batch_size=2, factor=3), Sums()
    quiet().fit(module, loader)
    assert [e for e in module.seen if e[0] == "sum"] == [("sum", 12.0, "MyLoader")] * 2


@pytest.mark.parametrize("wrong", [3, object(), torch.nn.Linear(1, 1)], ids=["int", "object", "nn"])
def test_what_is_no_iterable_is_named(wrong):
    with pytest.raises(TypeError, match="train_dataloader.*iterable"):
        quiet().fit(Watched(), wrong)


# --- batches ------------------------------------------------------------------------------------


@dataclass
class Sample:
    x: torch.Tensor
    name: str


class Movable:
    def __init__(self):
        self.moved_to = None

    def to(self, device, non_blocking=False):
        self.moved_to = device
        return self


def test_batches_of_any_structure_arrive_as_they_are():
    movable = Movable()
    batch = {"rows": [torch.ones(1, 2)], "sample": Sample(torch.ones(1), "a"), "other": movable}

    class Looks(Watched):
        def training_step(self, batch, batch_idx):
            self.given = batch
            return self(batch["rows"][0]).sum()

    module = Looks()
    quiet().fit(module, [batch])
    assert module.given["rows"][0] is batch["rows"][0]
    assert isinstance(module.given["sample"], Sample)
    assert module.given["sample"].name == "a"
    assert module.given["other"] is movable
    assert str(movable.moved_to) == "cpu"


def test_precision_converts_before_the_transfer_hooks():
    class Hooked(Watched):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            self.note("before", batch.dtype)
            return batch

        def on_after_batch_transfer(self, batch, dataloader_idx):
            self.note("after", batch.dtype)
            return batch

    module = Hooked()
    quiet(precision="64-true").fit(module, numbers(2))
    assert module.seen[:2] == [("before", torch.float64), ("after", torch.float64)]


def test_the_index_starts_again_in_each_epoch_and_loader():
    module, trainer = Watched(), quiet(max_epochs=2)
    trainer.fit(module, numbers(4))
    assert module.seen == [("train", 0, 0), ("train", 0, 1), ("train", 1, 0), ("train", 1, 1)]


class Gaps:
    """Batches, some of which are None."""

    def __init__(self, *present):
        self.present = present

    def __len__(self):
        return len(self.present)

    def __iter__(self):
        return (
            torch.full((1, 2), 1.0 + i) if here else None for i, here in enumerate(self.present)
        )


def test_a_batch_that_is_none_is_skipped_with_a_warning():
    class Ends(Watched):
        def on_train_batch_start(self, batch, batch_idx):
            self.note("start", batch_idx)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.note("end", batch_idx, outputs is None)

    module, trainer = Ends(), quiet()
    with pytest.warns(UserWarning, match="gave None"):
        trainer.fit(module, Gaps(1, 0, 1, 0))
    assert module.seen == [
        ("start", 0),
        ("train", 0, 0),
        ("end", 0, False),
        ("end", 1, True),
        ("start", 2),
        ("train", 0, 2),
        ("end", 2, False),
        ("end", 3, True),
    ]
    assert (trainer.global_step, trainer.fit_loop.total_batch_idx) == (2, 3)


@pytest.mark.parametrize(
    ("present", "windows"),
    [
        ((1, 0, 1, 1), [[0], [2, 3]]),
        ((0, 1, 1, 1), [[1], [2, 3]]),
        ((1, 1, 0, 0, 1), [[0, 1], [4]]),
        ((0, 0, 1, 0), [[2]]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*gave None")
def test_windows_are_averaged_over_the_batches_that_were_there(present, windows):
    module, trainer = Watched(), quiet(accumulate_grad_batches=2)
    weight = torch.nn.utils.parameters_to_vector
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(0.5)
    expected = Watched()
    expected.load_state_dict(module.state_dict())
    trainer.fit(module, Gaps(*present))
    optimizer = expected.configure_optimizers()
    for window in windows:
        optimizer.zero_grad()
        for index in window:
            loss = expected(torch.full((1, 2), 1.0 + index)).square().mean() * 1e-3
            (loss / len(window)).backward()
        optimizer.step()
    assert trainer.global_step == len(windows)
    assert torch.allclose(weight(module.parameters()), weight(expected.parameters()), atol=1e-9)


def test_other_stages_get_none_as_it_is():
    class Takes(Watched):
        def validation_step(self, batch, batch_idx):
            self.note("val", batch is None)

    module = Takes()
    quiet().validate(module, Gaps(1, 0), verbose=False)
    assert module.seen == [("val", False), ("val", True)]


# --- errors in a data set -----------------------------------------------------------------------


class Broken(Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            raise self.error
        return torch.ones(2)


@pytest.mark.parametrize("error", [IndexError("row"), StopIteration("row"), KeyError("row")])
@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_an_error_in_a_data_set_never_ends_an_epoch_quietly(error, verb):
    with pytest.raises(Exception, match="row") as raised:
        getattr(quiet(), verb)(Watched(), DataLoader(Broken(error)))
    assert raised.type is not StopIteration


# --- hints --------------------------------------------------------------------------------------


def hints(loader, verb="fit", **arguments):
    import warnings

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        getattr(quiet(**arguments), verb)(Watched(), loader)
    return [str(w.message) for w in given]


def test_few_workers(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert any("num_workers=7" in hint for hint in hints(numbers(4)))


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    with pytest.warns(UserWarning, match=r"num_workers=3`, one less than each process's 4 cores"):
        advise(numbers(4), "train_dataloader", processes=2)


def test_shuffled_evaluation():
    assert any("shuffles" in hint for hint in hints(numbers(4, shuffle=True), "test"))
    assert not any("shuffles" in hint for hint in hints(numbers(4, shuffle=True), "fit"))


def test_streams_that_claim_a_length():
    class Claims(Stream):
        def __len__(self):
            return 6

    assert any("stream with a length" in hint for hint in hints(DataLoader(Claims(), 2)))


def test_epochs_shorter_than_the_interval_of_logging(tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path)
    assert any("log_every_n_steps=50" in hint for hint in hints(numbers(4), logger=logger))
    found = hints(numbers(4), logger=logger, log_every_n_steps=2)
    assert not any("log_every_n_steps" in hint for hint in found)


# --- samplers -----------------------------------------------------------------------------------


class Epochs(Sampler):
    """Notes the epochs it is told."""

    def __init__(self):
        self.told = []

    def set_epoch(self, epoch):
        self.told.append(epoch)

    def __len__(self):
        return 4

    def __iter__(self):
        return iter(range(4))


@pytest.mark.parametrize("where", ["sampler", "batch sampler"])
def test_samplers_are_told_the_epoch(where):
    sampler = Epochs()
    rows = torch.ones(4, 2)
    if where == "sampler":
        loader = DataLoader(rows, batch_size=2, sampler=sampler)
    else:
        loader = DataLoader(rows, batch_sampler=BatchSampler(sampler, 2, False))
    quiet(max_epochs=3).fit(Watched(), loader)
    assert sampler.told == [0, 1, 2]
    quiet().test(Watched(), loader, verbose=False)
    assert sampler.told[3:] == [0]


def test_training_is_not_shuffled_unless_asked():
    class Rows(Watched):
        def training_step(self, batch, batch_idx):
            self.note("rows", *batch[:, 0].tolist())
            return super().training_step(batch, batch_idx)

    module, trainer = Rows(), quiet()
    trainer.fit(module, numbers(4))
    assert isinstance(trainer.train_dataloader.sampler, SequentialSampler)
    assert [e[1:] for e in module.seen if e[0] == "rows"] == [(0, 1), (2, 3)]
    trainer = quiet()
    trainer.fit(Rows(), numbers(4, shuffle=True))
    assert isinstance(trainer.train_dataloader.sampler, RandomSampler)


def test_prediction_takes_every_sample_and_knows_its_index():
    kept = []

    class Writer(BasePredictionWriter):
        def write_on_batch_end(
            self, trainer, module, prediction, indices, batch, batch_idx, loader
        ):
            kept.append((prediction.tolist(), indices))

    loader = numbers(5, drop_last=True)
    found = quiet(callbacks=[Writer("batch")]).predict(Watched(), loader)
    assert [batch.tolist() for batch in found] == [[0, 1], [2, 3], [4]]
    assert kept == [([0, 1], [0, 1]), ([2, 3], [2, 3]), ([4], [4])]
    assert loader.drop_last is True


# --- workers ------------------------------------------------------------------------------------


class Draws(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        import random

        import numpy

        drawn = [random.random(), numpy.random.rand(), torch.rand(()).item()]
        return torch.tensor(drawn, dtype=torch.float64)


def drawn(**seeding):
    class Keeps(pl.LightningModule):
        def predict_step(self, batch, batch_idx):
            return batch

    pl.seed_everything(7, verbose=False, **seeding)
    return torch.cat(quiet().predict(Keeps(), DataLoader(Draws(), num_workers=2)))


def test_seeded_workers_differ_and_repeat():
    found = drawn(workers=True)
    assert torch.equal(found, drawn(workers=True))
    for column in found.T:  # every generator, every sample another number
        assert len(set(column.tolist())) == 4


def test_a_function_of_the_user_keeps_the_workers():
    def seed(worker):
        torch.manual_seed(100 + worker)

    pl.seed_everything(7, workers=True, verbose=False)
    loader = DataLoader(TensorDataset(torch.ones(2)), num_workers=1, worker_init_fn=seed)

    class Keeps(pl.LightningModule):
        def predict_step(self, batch, batch_idx):
            pass

    quiet().predict(Keeps(), loader)
    assert loader.worker_init_fn is seed
