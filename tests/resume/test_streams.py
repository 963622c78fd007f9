"""Exact resumption of data that knows its own place: data sets and loaders with a state."""

import pytest
import torch
from tests.resume import matrix
from tests.resume.matrix import Cell, Samples, check, train
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pytorch_lightning.data.position import Source

pytest.importorskip("torchdata")
from torchdata.stateful_dataloader import StatefulDataLoader  # noqa: E402 - if it is there


class Stream(IterableDataset):
    """Numbered samples with noise, dealt to workers; tells and takes its place."""

    def __init__(self, size):
        self.size = size
        self.place = 0

    def __iter__(self):
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        while self.place * workers + worker < self.size:
            number = self.place * workers + worker
            self.place += 1
            yield number, torch.arange(4.0) / 10 + torch.rand(4)
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


LOADERS = {
    "stream": lambda: DataLoader(Stream(9), 2),
    "stream, 2 workers": lambda: DataLoader(Stream(9), 2, num_workers=2),
    "stream, 3 workers": lambda: DataLoader(Stream(10), 2, num_workers=3),
    "stream, 2 workers that persist": lambda: DataLoader(
        Stream(9), 2, num_workers=2, persistent_workers=True
    ),
    "stream, 3 workers that persist": lambda: DataLoader(
        Stream(20), 2, num_workers=3, persistent_workers=True
    ),
    "stream, 2 workers, own generator": lambda: DataLoader(
        Stream(8), 2, num_workers=2, generator=torch.Generator().manual_seed(3), drop_last=True
    ),
    "stateful, shuffled": lambda: StatefulDataLoader(Samples(7), 2, shuffle=True),
    "stateful stream": lambda: StatefulDataLoader(Stream(9), 2),
    "stateful, shuffled, 2 workers": lambda: StatefulDataLoader(
        Samples(7), 2, shuffle=True, num_workers=2
    ),
    "stateful stream, 2 workers": lambda: StatefulDataLoader(Stream(9), 2, num_workers=2),
}


@pytest.mark.long
@pytest.mark.parametrize("name", LOADERS)
def test_every_place(name, tmp_path):
    cell = Cell(train=LOADERS[name], validation=None)
    assert check(cell, "on_train_batch_end", tmp_path) >= 12


@pytest.mark.parametrize("name", [name for name in LOADERS if "3 workers" not in name])
def test_some_places(name, tmp_path):
    cell = Cell(train=LOADERS[name], validation=None, options={"max_epochs": 2})
    assert check(cell, "on_train_batch_end", tmp_path, every=4) >= 2


@pytest.mark.long
@pytest.mark.parametrize("size", [8, 40])
def test_workers_that_persist_in_passes_that_are_left(size, tmp_path):
    def train():
        return DataLoader(Stream(size), 2, num_workers=2, persistent_workers=True)

    cell = Cell(train=train, validation=None, options={"limit_train_batches": 3})
    assert check(cell, "on_train_batch_end", tmp_path) == 9


def test_another_number_of_workers_starts_the_pass_again_which_is_said_once(tmp_path):
    def train_with(workers):
        data = DataLoader(Stream(9), 2, num_workers=workers)
        return Cell(train=lambda: data, validation=None, options={"max_epochs": 1})

    _, moments = train(train_with(2), 1, tmp_path, save_in="on_train_batch_end")
    matrix.count("data without a place")
    with pytest.warns(UserWarning, match="use as many workers as in the run") as said:
        resumed, _ = train(train_with(1), 2, tmp_path, ckpt_path=moments[1].path)
    assert [str(w.message) for w in said].count(str(said[0].message)) == 1
    ids = [event[1] for event in resumed.events if event[0] == "train"]
    assert ids == ["[0, 1]", "[2, 3]", "[4, 5]", "[6, 7]", "[8]"]


class Sharded(IterableDataset):
    """Is told by a function in each worker what to read, and what its own data set is."""

    def __init__(self):
        self.numbers = range(12)
        self.read = 0

    def __iter__(self):
        assert get_worker_info().dataset is self
        for number in self.numbers[self.read :]:
            self.read += 1
            yield number, torch.arange(4.0) / 10

    def state_dict(self):
        return {"read": self.read}

    def load_state_dict(self, state):
        self.read = state["read"]


def shard(worker):
    info = get_worker_info()
    info.dataset.numbers = info.dataset.numbers[worker :: info.num_workers]


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_data_sets_that_a_function_divides_among_the_workers(context):
    def source():
        return Source(
            DataLoader(
                Sharded(), 2, num_workers=2, worker_init_fn=shard, multiprocessing_context=context
            )
        )

    first = source()
    first.begin(0)
    ids = [next(first)[0].tolist() for _ in range(3)]
    position = first.position()
    first.close()
    second = source()
    second.seek(position)
    ids += [batch[0].tolist() for batch in second]
    second.close()
    assert ids == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9, 11]]
