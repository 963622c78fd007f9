"""Collections of loaders: the public iterator, and the feed that knows its place."""

import io
import math
import pickle
from collections import namedtuple

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pytorch_lightning.data import CombinedLoader, Feed, Source, is_collection, open_source
from pytorch_lightning.utilities.exceptions import CheckpointError, DataError
from pytorch_lightning.utilities.seed import capture_rng, restore_rng

SHORT, LONG = range(3), range(10, 15)
JOINED = {
    "min_size": [[0, 10], [1, 11], [2, 12]],
    "max_size_cycle": [[0, 10], [1, 11], [2, 12], [0, 13], [1, 14]],
    "max_size": [[0, 10], [1, 11], [2, 12], [None, 13], [None, 14]],
}
Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize("mode", JOINED)
def test_joined_modes(mode):
    combined = CombinedLoader([SHORT, LONG], mode)
    assert iter(combined) is combined
    assert len(combined) == len(JOINED[mode])
    for _ in range(2):
        assert list(combined) == [(batch, i, 0) for i, batch in enumerate(JOINED[mode])]


def test_sequential_restarts_the_batch_index_for_each_loader():
    combined = CombinedLoader([SHORT, LONG], "sequential")
    iter(combined)
    assert len(combined) == 8
    assert list(combined)[2:5] == [(2, 2, 0), (10, 0, 1), (11, 1, 1)]


@pytest.mark.parametrize(
    ("tree", "first"),
    [
        ({"a": SHORT, "b": [LONG, SHORT]}, {"a": 0, "b": [10, 0]}),
        ((SHORT, {"c": LONG}), (0, {"c": 10})),
        (Pair(SHORT, LONG), Pair(0, 10)),
        ({"a": [1, 2, 3], "b": SHORT}, {"a": 1, "b": 0}),
        ([[1, 2], [3, 4]], [1, 3]),
        (SHORT, 0),
    ],
)
def test_batches_have_the_structure_of_the_collection(tree, first):
    batch, batch_idx, dataloader_idx = next(iter(CombinedLoader(tree)))
    assert (batch, batch_idx, dataloader_idx) == (first, 0, 0)
    assert type(batch) is type(first)


@pytest.mark.parametrize("mode", [*JOINED, "sequential"])
def test_empty_collections_and_empty_loaders(mode):
    assert list(CombinedLoader([], mode)) == []
    found = [batch for batch, _, _ in CombinedLoader([SHORT, []], mode)]
    expected = {"max_size": [[0, None], [1, None], [2, None]], "sequential": [0, 1, 2]}
    assert found == expected.get(mode, [])


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match="mode='longest'.*min_size.*sequential"):
        CombinedLoader([SHORT], "longest")


def test_length_needs_an_iterator_and_known_lengths():
    combined = CombinedLoader([SHORT, iter(range(4))], "max_size")
    with pytest.raises(RuntimeError, match="once `iter"):
        len(combined)
    with pytest.raises(RuntimeError, match="call `iter"):
        next(combined)
    iter(combined)
    with pytest.raises(TypeError, match="unknown"):
        len(combined)
    shortest = CombinedLoader([SHORT, iter(range(4))])
    iter(shortest)
    assert len(shortest) == 3


def test_limits_hold_for_each_loader():
    combined = CombinedLoader([SHORT, LONG], "sequential")
    assert combined.limits is None
    combined.limits = 2
    assert combined.limits == [2, 2]
    assert [batch for batch, _, _ in combined] == [0, 1, 10, 11]
    combined.limits = [1, math.inf]
    assert [batch for batch, _, _ in combined] == [0, *LONG]
    assert len(combined) == 6
    with pytest.raises(ValueError, match=r"limits \(3\) and number of iterables \(2\)"):
        combined.limits = [1, 2, 3]
    joined = CombinedLoader([SHORT, LONG], "max_size")
    joined.limits = [1, 2]
    assert [batch for batch, _, _ in joined] == [[0, 10], [None, 11]]
    assert len(joined) == 2


def test_loaders_can_be_replaced_and_looked_into():
    combined = CombinedLoader({"a": DataLoader(SHORT), "b": LONG})
    assert combined.flattened == [combined.iterables["a"], LONG]
    assert combined.sampler == {"a": combined.iterables["a"].sampler, "b": None}
    assert combined.batch_sampler == {"a": combined.iterables["a"].batch_sampler, "b": None}
    combined.flattened = [LONG, SHORT]
    assert combined.iterables == {"a": LONG, "b": SHORT}
    with pytest.raises(ValueError, match=r"flattened length \(1\) and existing length \(2\)"):
        combined.flattened = [LONG]


def test_reset_ends_workers_and_the_iteration():
    loader = DataLoader(list(SHORT), num_workers=1, persistent_workers=True)
    combined = CombinedLoader([loader])
    next(iter(combined))
    workers = list(loader._iterator._workers)
    copied = pickle.loads(pickle.dumps(CombinedLoader([SHORT])))
    assert [batch for batch, _, _ in copied] == [[0], [1], [2]]
    combined.reset()
    assert loader._iterator is None
    assert not any(worker.is_alive() for worker in workers)
    with pytest.raises(RuntimeError, match="call `iter"):
        next(combined)


def test_an_iterator_under_way_is_not_pickled():
    combined = CombinedLoader([SHORT])
    next(iter(combined))
    assert len(list(pickle.loads(pickle.dumps(combined)))) == 3


@pytest.mark.parametrize(
    ("loaders", "collection"),
    [
        (DataLoader(SHORT), False),
        ([DataLoader(SHORT)], True),
        ((SHORT, LONG), True),
        ([iter([1])], True),
        ({"a": [torch.zeros(1)]}, True),
        ([DataLoader(SHORT), [torch.zeros(1)]], True),
        ([{"a": DataLoader(SHORT)}], True),
        ([torch.zeros(1)] * 3, False),
        ([(torch.zeros(1), torch.zeros(1))], False),
        ([{"x": torch.zeros(1), "name": ["a", "b"]}], False),
        ([[1, 2], [3, 4]], False),
        (["a", "b"], False),
        ([], False),
        (torch.zeros(3), False),
    ],
)
def test_what_is_a_collection(loaders, collection):
    assert is_collection(loaders) is collection
    assert type(open_source(loaders)) is (Feed if collection else Source)


def test_a_combined_loader_brings_mode_and_limits():
    combined = CombinedLoader([SHORT, LONG], "max_size")
    combined.limits = [1, 3]
    feed = open_source(combined, mode="min_size")
    assert feed.length() == 3
    feed.begin()
    assert list(feed) == [[0, 10], [None, 11], [None, 12]]
    with pytest.raises(ValueError, match="sequential"):
        open_source(CombinedLoader([SHORT], "sequential"))


@pytest.mark.parametrize("limit", [math.inf, 2])
@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("mode", JOINED)
def test_feeds_know_their_last_batch(mode, sized, limit):
    class Unsized:
        def __init__(self, numbers):
            self.numbers = numbers

        def __iter__(self):
            return iter(self.numbers)

    kind = list if sized else Unsized
    feed = Feed({"a": kind(SHORT), "b": kind(LONG)}, mode=mode, limit=limit)
    expected = [{"a": a, "b": b} for a, b in JOINED[mode]]
    expected = expected if limit == math.inf else expected[:2]
    for _ in range(2):
        feed.begin()
        seen = [(batch, feed.is_last) for batch in feed]
        assert [batch for batch, _ in seen] == expected
        assert [last for _, last in seen] == [False] * (len(seen) - 1) + [True]
        assert feed.batches == len(expected) and not feed.ended_early
    assert feed.length() == (len(expected) if sized else limit)


def test_samples_are_those_of_the_first_loader():
    feed = Feed([DataLoader(SHORT, batch_size=2), DataLoader(LONG, batch_size=3)], mode="max_size")
    feed.begin()
    found = [(feed.num_samples, feed.sample_ids) for _ in feed]
    assert found == [(2, [0, 1]), (1, [2])]


def test_a_loader_that_cannot_start_again_is_named():
    feed = Feed([iter([1]), DataLoader(LONG)], mode="max_size_cycle")
    feed.begin()
    next(feed)
    with pytest.raises(DataError, match="Loader 0.*starts"):
        next(feed)


class Cursor(IterableDataset):
    """Goes on where it is, and to its beginning after its end."""

    def __init__(self, length):
        self.length, self.at = length, 0

    def __iter__(self):
        while self.at < self.length:
            self.at += 1
            yield torch.tensor([float(self.at), torch.rand(()).item()])
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class Numbers(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.tensor([float(index), torch.rand(()).item()])


def loaders():
    return {
        "long": DataLoader(Numbers(), batch_size=1, shuffle=True),
        "stream": DataLoader(Cursor(4), batch_size=2),
        "memory": [torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([2.0])],
    }


def flat(batch):
    return [None if part is None else part.tolist() for part in batch.values()]


@pytest.mark.parametrize("mode", JOINED)
def test_feeds_resume_at_every_batch(mode):
    def run(feed, results, places=None):
        for batch in feed:
            results.append([*flat(batch), torch.rand(()).item()])
            if places is not None:
                places.append((feed.position(), capture_rng()))

    torch.manual_seed(0)
    feed, seen, places = Feed(loaders(), mode=mode), [], []
    for epoch in range(2):
        feed.begin(epoch)
        places.append((feed.position(), capture_rng()))
        run(feed, seen, places)
    assert len(seen) >= 4 and len(places) == len(seen) + 2
    for number, (position, rng) in enumerate(places):
        file = io.BytesIO()
        torch.save(position, file)
        file.seek(0)
        torch.manual_seed(99)
        again, results = Feed(loaders(), mode=mode), []
        before = torch.get_rng_state()
        again.seek(torch.load(file, weights_only=True))
        assert torch.equal(torch.get_rng_state(), before)
        restore_rng(rng)
        run(again, results)
        if position["epoch"] == 0:
            again.begin(1)
            run(again, results)
        assert results == seen[number - position["epoch"] :]


def test_another_number_of_loaders_is_refused():
    feed = Feed([SHORT, LONG])
    feed.begin()
    next(feed)
    with pytest.raises(CheckpointError, match="2 training loaders and has 1"):
        Feed([SHORT]).seek(feed.position())
