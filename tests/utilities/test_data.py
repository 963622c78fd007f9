import warnings
from dataclasses import dataclass

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from pytorch_lightning.utilities.data import (
    extract_batch_size,
    get_len,
    has_iterable_dataset,
    has_len,
    has_len_all_ranks,
    is_dataclass_instance,
    sized_len,
    suggested_max_num_workers,
    warning_cache,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.warnings import PossibleUserWarning


@dataclass
class Sample:
    name: str
    image: torch.Tensor


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


class SizedStream(Stream):
    def __len__(self):
        return 3


class Unfinished:
    def __len__(self):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _nothing_said_yet():
    warning_cache.clear()


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(3, 2), 3),
        (torch.tensor(1.0), 1),
        ((torch.zeros(4, 2), torch.zeros(4)), 4),
        ({"name": ["a", "b"], "x": torch.zeros(2, 1)}, 2),
        ([["ab", "c"], {"deep": [torch.zeros(5)]}], 5),
        (Sample("a", torch.zeros(6, 1)), 6),
        (torch.zeros(0, 2), 0),
    ],
)
def test_batch_size_is_the_first_dimension_of_the_first_tensor(batch, size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert extract_batch_size(batch) == size


def test_tensors_that_differ_are_warned_of_once():
    batch = [torch.zeros(2), torch.zeros(3)]
    with pytest.warns(UserWarning, match="2 is taken as the batch size"):
        assert extract_batch_size(batch) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert extract_batch_size(batch) == 2


@pytest.mark.parametrize("batch", ["abc", [], 5, None, {"a": 1}])
def test_a_batch_without_tensors_needs_a_word(batch):
    with pytest.raises(MisconfigurationException, match=r"self.log\(..., batch_size=...\)"):
        extract_batch_size(batch)


def test_lengths():
    assert sized_len([1, 2]) == 2
    assert sized_len(DataLoader(range(5), batch_size=2)) == 3
    assert sized_len(iter([])) is None
    assert sized_len(DataLoader(Stream())) is None
    assert sized_len(Unfinished()) is None
    assert get_len(Unfinished()) == float("inf")


def test_streams_are_recognised():
    assert has_iterable_dataset(DataLoader(Stream()))
    assert not has_iterable_dataset(DataLoader(range(3)))
    assert not has_iterable_dataset([1, 2])


def test_lengths_that_may_be_wrong_are_warned_of():
    assert has_len([1])
    assert not has_len(iter([]))
    with pytest.warns(PossibleUserWarning, match="`list` has 0 batches"):
        assert has_len([])
    with pytest.warns(PossibleUserWarning, match="must give its own share"):
        assert has_len(DataLoader(SizedStream()))


class Ranks:
    def __init__(self, total):
        self.total = total

    def reduce(self, tensor, *, reduce_op):
        assert reduce_op == "sum"
        return self.total


def test_a_process_without_batches_is_refused():
    with pytest.raises(RuntimeError, match="has 0 batches in this process but 4 in the others"):
        has_len_all_ranks([], Ranks(4))
    with pytest.warns(PossibleUserWarning, match="has 0 batches"):
        assert has_len_all_ranks([], Ranks(4), True)
    assert has_len_all_ranks([1, 2], Ranks(2))
    assert not has_len_all_ranks(iter([]), Ranks(2))


def test_workers_are_shared_between_processes(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [suggested_max_num_workers(n) for n in (1, 2, 4, 8, 16)] == [7, 3, 1, 1, 1]
    with pytest.raises(ValueError, match="`local_world_size=0`: pass 1 or more"):
        suggested_max_num_workers(0)


def test_dataclass_instances():
    assert is_dataclass_instance(Sample("a", torch.zeros(1)))
    assert not is_dataclass_instance(Sample)
