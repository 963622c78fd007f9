"""Sources give what plain torch gives, and go on from any batch as if nothing had happened."""

import io
import itertools
import math
import pickle
import random
import time
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from pytorch_lightning.data import Source
from pytorch_lightning.utilities.exceptions import DataError
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.seed import capture_rng, restore_rng
from pytorch_lightning.utilities.warnings import PossibleUserWarning

SIZE = 22


class Noisy(Dataset):
    """Each sample is its index and a draw from every global generator."""

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        draws = [torch.rand(()).item(), random.random(), np.random.rand()]
        return torch.tensor([float(index), *draws], dtype=torch.float64)


class NoisyBatches(Noisy):
    def __getitems__(self, indices):
        return [self[index] for index in reversed(indices)]


class Eager(Sampler):
    """Draws its order from the global generator when `iter` is called."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return iter(torch.randperm(len(self.data)).tolist())

    def __len__(self):
        return len(self.data)


class EagerPairs(Eager):
    def __iter__(self):
        order = torch.randperm(len(self.data)).tolist()
        return iter([order[i : i + 2] for i in range(0, len(order), 2)])

    def __len__(self):
        return len(self.data) // 2


class ByEpoch(Eager):
    """The documented `set_epoch` protocol."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.epoch)
        return iter(torch.randperm(len(self.data), generator=generator).tolist())


class FromPython(Eager):
    """Draws from `random` and from a generator of its own while it is read."""

    def __init__(self, data):
        super().__init__(data)
        self.own = random.Random(5)
        self.numpy = np.random.default_rng(6)

    def __iter__(self):
        for _ in range(len(self.data)):
            yield (self.own.randrange(SIZE) + int(self.numpy.integers(SIZE))) % SIZE


class Remembers(Eager):
    """Counts its passes, and says so."""

    passes = 0

    def state_dict(self):
        return {"passes": self.passes}

    def load_state_dict(self, state):
        self.passes = state["passes"]

    def __iter__(self):
        self.passes += 1
        return iter([(i * 7 + self.passes) % SIZE for i in range(SIZE)])


def total(samples):
    return torch.stack(samples).sum(0) + torch.rand(())


def plain(**options):
    return DataLoader(Noisy(), **{"batch_size": 4, **options})


def with_generator(**options):
    return plain(shuffle=True, generator=torch.Generator().manual_seed(11), **options)


def exact_multiple(**options):
    """Torch draws once more from the generator when the batches fit exactly."""
    generator = torch.Generator().manual_seed(12)
    return plain(batch_size=11, shuffle=True, generator=generator, **options)


LOADERS = {
    "sequential": lambda **o: plain(**o),
    "shuffled": lambda **o: plain(shuffle=True, **o),
    "drop_last": lambda **o: plain(shuffle=True, drop_last=True, **o),
    "weighted": lambda **o: plain(sampler=WeightedRandomSampler([1.0, 2.0] * 11, 17), **o),
    "replacement": lambda **o: plain(
        sampler=RandomSampler(Noisy(), replacement=True, num_samples=70), **o
    ),
    "subset": lambda **o: plain(sampler=SubsetRandomSampler(range(3, 20)), **o),
    "eager_sampler": lambda **o: plain(sampler=Eager(Noisy()), **o),
    "python_sampler": lambda **o: plain(sampler=FromPython(Noisy()), **o),
    "stateful_sampler": lambda **o: plain(sampler=Remembers(Noisy()), **o),
    "batch_sampler": lambda **o: DataLoader(
        Noisy(), batch_sampler=BatchSampler(RandomSampler(Noisy()), 5, True), **o
    ),
    "eager_batch_sampler": lambda **o: DataLoader(Noisy(), batch_sampler=EagerPairs(Noisy()), **o),
    "unbatched": lambda **o: plain(batch_size=None, shuffle=True, **o),
    "unbatched_eager": lambda **o: plain(batch_size=None, sampler=Eager(Noisy()), **o),
    "generator": with_generator,
    "exact_multiple": exact_multiple,
    "collate": lambda **o: plain(shuffle=True, collate_fn=total, **o),
    "getitems": lambda **o: DataLoader(NoisyBatches(), batch_size=4, shuffle=True, **o),
    "list_of_samples": lambda **o: DataLoader(list(range(9)), batch_size=2, shuffle=True, **o),
}


def seed(number=0):
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def same_rng(left, right):
    assert torch.equal(left["torch"], right["torch"])
    assert torch.equal(left["python"][1], right["python"][1])
    assert torch.equal(left["numpy"][1], right["numpy"][1])
    assert left["numpy"][2] == right["numpy"][2]


def through_a_file(position):
    file = io.BytesIO()
    torch.save(position, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def torch_passes(make, passes=3):
    """What a plain loop sees, and the generators afterwards."""
    seed()
    loader = make()
    seen = [list(loader) for _ in range(passes)]
    return seen, capture_rng()


def recorded_pass(source, epoch=None):
    """The batches of a pass, with the position and the generators before each and at the end."""
    source.begin(epoch)
    batches, places = [], [(source.position(), capture_rng())]
    for batch in source:
        batches.append(batch)
        places.append((source.position(), capture_rng()))
    places.append((source.position(), capture_rng()))
    return batches, places


def check_resume(make, seen, place, *, number, later):
    """From `place` the rest of pass `number` and the passes up to `later` are as seen."""
    position, rng = place
    seed(99)
    source = Source(make())
    before = capture_rng()
    source.seek(through_a_file(position))
    same_rng(capture_rng(), before)
    restore_rng(rng)
    done = position["batches"]
    assert source.batches == done
    same(list(source), seen[number][done:])
    for following in range(number + 1, later + 1):
        source.begin()
        same(list(source), seen[following])
    source.close()


@pytest.mark.parametrize("name", LOADERS)
def test_every_place_of_a_pass_without_workers(name):
    make = LOADERS[name]
    seen, rng_after = torch_passes(make)
    seed()
    source = Source(make())
    passes = [recorded_pass(source) for _ in range(3)]
    same_rng(capture_rng(), rng_after)
    for (batches, _), expected in zip(passes, seen, strict=True):
        same(batches, expected)
    for place in passes[1][1]:
        check_resume(make, seen, place, number=1, later=2)


@pytest.mark.parametrize("persistent", [False, True], ids=["fresh", "persistent"])
@pytest.mark.parametrize(
    "name", ["shuffled", "eager_batch_sampler", "unbatched_eager", "generator", "collate"]
)
def test_two_workers(name, persistent):
    def make():
        return LOADERS[name](num_workers=2, persistent_workers=persistent)

    seen, rng_after = torch_passes(make)
    seed()
    source = Source(make())
    passes = [recorded_pass(source) for _ in range(3)]
    source.close()
    same_rng(capture_rng(), rng_after)
    for (batches, _), expected in zip(passes, seen, strict=True):
        same(batches, expected)
    for number, k in [(0, 0), (0, 1), (1, 0), (1, 3), (1, -1)]:
        check_resume(make, seen, passes[number][1][k], number=number, later=2)


def test_two_workers_resumed_twice():
    def make():
        return plain(shuffle=True, num_workers=2, persistent_workers=True)

    seen, _ = torch_passes(make)
    seed()
    first = Source(make())
    first.begin()
    next(first)
    place, rng = first.position(), capture_rng()
    first.close()
    second = Source(make())
    second.seek(through_a_file(place))
    restore_rng(rng)
    same([next(second), next(second)], seen[0][1:3])
    place, rng = second.position(), capture_rng()
    second.close()
    check_resume(make, seen, (place, rng), number=0, later=2)


class Mixed(Eager):
    """Draws each index from the generator that the model draws from too."""

    def __iter__(self):
        for _ in range(len(self.data)):
            yield random.randrange(SIZE)


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_of_sampler_and_model_may_be_mixed(workers):
    def make():
        return plain(sampler=Mixed(Noisy()), num_workers=workers)

    def run(source, places):
        for batch in source:
            random.randbytes(40)  # dropout, say
            places.append((batch[:, 0].tolist(), source.position(), capture_rng()))
        source.close()

    seed()
    source, places = Source(make()), []
    source.begin()
    run(source, places)
    for k in (0, 2, 4):
        _, position, rng = places[k]
        again, rest = Source(make()), []
        again.seek(through_a_file(position))
        restore_rng(rng)
        run(again, rest)
        assert [ids for ids, _, _ in rest] == [ids for ids, _, _ in places[k + 1 :]]


def test_last_batch_can_be_repeated_with_workers():
    def make():
        return plain(shuffle=True, num_workers=2)

    seen, _ = torch_passes(make)
    seed()
    source = Source(make())
    source.begin()
    batches = [next(source) for _ in range(4)]
    place = source.position(repeat_last=True), capture_rng()
    source.close()
    assert place[0]["batches"] == 3
    same(batches[3:], seen[0][3:4])
    check_resume(make, seen, place, number=0, later=1)


def test_last_batch_can_be_repeated_in_every_kind():
    for loader in ([1, 2, 3], CountingLoader(3), DataLoader([1, 2, 3]), DataLoader(Stream(3))):
        source = Source(loader)
        source.begin()
        next(source), next(source)
        place = source.position(repeat_last=True)
        assert place["batches"] == 1
        again = Source(loader)
        again.seek(place)
        assert [int(batch) for batch in again] == [2, 3]
        assert again.is_last


def test_left_pass_of_persistent_workers_can_be_followed_and_resumed():
    def make():
        return plain(shuffle=True, num_workers=2, persistent_workers=True)

    seed()
    source = Source(make())
    source.begin()
    next(source)
    source.begin()  # the pass is left with batches under way
    first = next(source)
    place, rng = source.position(), capture_rng()
    rest = list(source)
    source.close()
    assert len([first, *rest]) == 6
    check_resume(make, [[first, *rest]], (place, rng), number=0, later=0)


def test_limit_is_exact_with_persistent_workers():
    """Batches behind the limit are not made, so that the next pass does not depend on them."""

    def make():
        return Source(plain(shuffle=True, num_workers=2, persistent_workers=True), limit=3)

    seed()
    source = make()
    passes = [recorded_pass(source) for _ in range(2)]
    source.close()
    assert [len(batches) for batches, _ in passes] == [3, 3]
    position, rng = passes[0][1][-1]
    again = make()
    again.seek(through_a_file(position))
    restore_rng(rng)
    assert list(again) == []
    again.begin()
    same(list(again), passes[1][0])
    again.close()


def test_limits_that_cut_nothing_leave_the_generators_as_torch_does():
    seen, rng_after = torch_passes(exact_multiple)
    seed()
    source = Source(exact_multiple(), limit=2)
    for expected in seen:
        source.begin()
        same(list(source), expected)
    same_rng(capture_rng(), rng_after)


def test_epochs_are_told_and_found_again():
    def make():
        return plain(sampler=ByEpoch(Noisy()))

    source = Source(make())
    orders = []
    for epoch in range(3):
        source.begin(epoch)
        orders.append([batch[:, 0].tolist() for batch in source])
    assert orders[0] != orders[1] != orders[2]
    source.begin(1)
    next(source), next(source)
    again = Source(make())
    again.seek(through_a_file(source.position()))
    assert [batch[:, 0].tolist() for batch in again] == orders[1][2:]
    again.begin(2)
    assert [batch[:, 0].tolist() for batch in again] == orders[2]


def test_epoch_reaches_batch_samplers_and_data_sets_once():
    told = []

    class Tells:
        def set_epoch(self, epoch):
            told.append((type(self).__name__, epoch))

    class TellingSampler(Tells, Eager):
        pass

    class TellingBatches(Tells, BatchSampler):
        pass

    class TellingData(Tells, Noisy):
        pass

    sampler = TellingBatches(TellingSampler(Noisy()), 4, False)
    source = Source(DataLoader(TellingData(), batch_sampler=sampler))
    source.begin(7)
    assert sorted(told) == [("TellingBatches", 7), ("TellingData", 7), ("TellingSampler", 7)]


def test_lists_are_sought_at_once():
    batches = list(range(1_000_000))
    source = Source(batches)
    source.seek({**started(batches), "batches": 999_998})
    start = time.process_time()
    source.seek({**started(batches), "batches": 999_998})
    assert time.process_time() - start < 0.1
    assert list(source) == [999_998, 999_999]


def started(loader):
    source = Source(loader)
    source.begin()
    return source.position()


def test_a_million_indices_are_sought_quickly_and_no_sample_is_read():
    class Untouched(Dataset):
        reads = 0

        def __len__(self):
            return 1_000_010

        def __getitem__(self, index):
            self.reads += 1
            return index

    data = Untouched()
    loader = DataLoader(data, batch_size=10, shuffle=True)
    source = Source(loader)
    source.begin()
    next(source)
    place = source.position()
    data.reads = 0
    start = time.process_time()
    source.seek({**place, "batches": 100_000})
    assert time.process_time() - start < 0.5
    assert data.reads == 0
    assert len(list(source)) == 1


@pytest.mark.parametrize("limit", [math.inf, 3, 10])
def test_is_last_and_length_of_sized_loaders(limit):
    for loader in ([0, 1, 2, 3, 4], DataLoader(range(5))):
        source = Source(loader, limit=limit)
        assert source.length() == min(5, limit)
        source.begin()
        flags = [source.is_last for _ in source]
        assert flags == [False] * (min(5, limit) - 1) + [True]
        assert not source.ended_early
        assert source.batches == min(5, limit)


def test_unsized_loaders_are_read_exactly_one_ahead():
    taken = []

    def stream():
        for number in range(5):
            taken.append(number)
            yield number

    source = Source(stream(), limit=4)
    assert source.length() == 4
    source.begin()
    assert taken == []
    seen = [(number, source.is_last, len(taken)) for number in source]
    assert seen == [(0, False, 2), (1, False, 3), (2, False, 4), (3, True, 4)]
    source = Source(iter([]), limit=3)
    source.begin()
    assert list(source) == [] and not source.ended_early
    source = Source(iter([1, 2]))
    assert source.length() == math.inf
    source.begin()
    assert [(number, source.is_last) for number in source] == [(1, False), (2, True)]


def test_sized_loaders_are_not_read_ahead():
    taken = []

    class Counting(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            taken.append(index)
            return index

    source = Source(DataLoader(Counting()))
    source.begin()
    next(source)
    assert taken == [0]


def test_an_error_while_reading_ahead_comes_with_its_own_batch():
    def stream():
        yield 1
        yield 2
        raise KeyError("third")

    source = Source(stream())
    source.begin()
    assert [next(source), next(source)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(source)


class LyingStream(IterableDataset):
    def __init__(self, length, announced):
        self.length, self.announced = length, announced

    def __len__(self):
        return self.announced

    def __iter__(self):
        return iter(range(self.length))


def test_a_loader_that_ends_before_its_length_says_so():
    source = Source(DataLoader(LyingStream(3, 5)))
    source.begin()
    assert [source.is_last for _ in source] == [False, False, False]
    assert source.ended_early


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
def test_a_loader_longer_than_announced_is_read_to_its_end():
    source = Source(DataLoader(LyingStream(5, 3)))
    source.begin()
    assert len(list(source)) == 5
    assert not source.ended_early


def test_samples_and_their_ids_are_known():
    source = Source(DataLoader(Noisy(), batch_size=4))
    source.begin()
    ids = [(source.num_samples, source.sample_ids) for _ in source]
    assert ids[0] == (4, [0, 1, 2, 3])
    assert ids[-1] == (2, [20, 21])
    source = Source(DataLoader(Stream(5), batch_size=2))
    source.begin()
    assert [source.num_samples for _ in source] == [2, 2, 1]
    source = Source([torch.zeros(3)])
    source.begin()
    next(source)
    assert source.num_samples is None and source.sample_ids is None
    source = Source(DataLoader(Noisy(), batch_size=None))
    source.begin()
    next(source)
    assert source.num_samples is None


class Stream(IterableDataset):
    """A stream with a cursor that draws at random."""

    def __init__(self, length):
        self.length, self.cursor = length, 0

    def __iter__(self):
        while self.cursor < self.length:
            self.cursor += 1
            yield self.cursor
        self.cursor = 0

    def state_dict(self):
        return {"cursor": self.cursor}

    def load_state_dict(self, state):
        self.cursor = state["cursor"]


class NoisyStream(Stream):
    def __iter__(self):
        for number in super().__iter__():
            yield torch.tensor([number, torch.rand(()), random.random()])


class CountingLoader(Stream):
    """Not a torch loader; knows its place."""


class NoisyLoader(NoisyStream):
    pass


class PutOnce(Stream):
    """Starts each pass at its beginning, but the first one where it was put."""

    start = 0

    def __iter__(self):
        self.cursor, self.start = self.start, 0
        while self.cursor < self.length:
            self.cursor += 1
            yield self.cursor

    def load_state_dict(self, state):
        self.cursor = self.start = state["cursor"]


@pytest.mark.parametrize("make", [lambda: DataLoader(PutOnce(3)), lambda: PutOnce(3)])
def test_a_stream_put_at_its_end_starts_again_with_the_next_pass(make):
    source = Source(make())
    source.begin()
    places = [source.position() for _ in source]
    places.append(source.position())
    for place in places:
        again = Source(make())
        again.seek(place)
        assert [int(number) for number in again] == [1, 2, 3][place["batches"] :]
        again.begin()
        assert [int(number) for number in again] == [1, 2, 3]
    again.seek(places[-1])
    again.begin()
    assert [int(number) for number in again] == [1, 2, 3]


@pytest.mark.parametrize(
    "make",
    [lambda: DataLoader(NoisyStream(7), batch_size=2), lambda: NoisyLoader(7)],
    ids=["cursor_of_the_data_set", "state_of_the_loader"],
)
def test_streams_that_know_their_place_resume_exactly(make):
    """Also where the next batch was read ahead before the model drew random numbers."""

    def run(source, results):
        for batch in source:
            results.append(torch.cat([batch.flatten(), torch.rand(1)]))
            places.append((source.position(), capture_rng()))

    seed()
    source, seen, places = Source(make()), [], []
    source.begin()
    run(source, seen)
    source.begin()
    run(source, seen)
    saved = places[:]
    for k, (position, rng) in enumerate(saved):
        source, results = Source(make()), []
        seed(99)
        source.seek(through_a_file(position))
        restore_rng(rng)
        run(source, results)
        if k < len(saved) // 2:
            source.begin()
            run(source, results)
        same(results, seen[k + 1 :])


def test_the_loaders_own_state_is_preferred():
    class Own(DataLoader):
        def state_dict(self):
            return {"mine": 3}

        def load_state_dict(self, state):
            self.loaded = state

    loader = Own(range(4))
    source = Source(loader)
    source.begin()
    next(source)
    place = source.position()
    source.seek(place)
    assert loader.loaded == {"mine": 3}


def endless():
    yield from itertools.count()


class OwnIter(DataLoader):
    def __iter__(self):
        for batch in super().__iter__():
            yield batch * 2


class Pathless(IterableDataset):
    def __iter__(self):
        return iter(range(6))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: DataLoader(Pathless()), "data set"),
        (lambda: OwnIter(range(6)), "overrides `__iter__`"),
        (lambda: map(int, "123456"), "state_dict"),
        (lambda: DataLoader(Pathless(), num_workers=1), "give its data set"),
    ],
)
def test_an_unknown_place_is_said_once_and_the_stream_starts_over(make, named):
    warnings_given.clear()
    source = Source(make())
    source.begin()
    whole = [next(source)]
    place = source.position()
    whole += list(source)
    source.close()
    again = Source(make())
    with pytest.warns(PossibleUserWarning, match=named) as caught:
        again.seek(place)
    assert len(caught) == 1
    assert type(again.loader).__name__ in str(caught[0].message)
    same(list(again), whole)
    again.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repeated = Source(make())
        repeated.seek(place)
        repeated.close()


def test_no_warning_at_the_beginning_or_end_of_an_unknown_place():
    source = Source(OwnIter(range(3)))
    source.begin()
    places = [source.position()]
    places += [source.position() for _ in source]
    places.append(source.position())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for place, left in [(places[0], 3), (places[-2], 0), (places[-1], 0)]:
            again = Source(OwnIter(range(3)))
            again.seek(place)
            assert len(list(again)) == left
            again.begin()
            assert len(list(again)) == 3


def test_a_position_before_any_pass():
    position = Source(plain()).position()
    seed()
    expected = list(plain(shuffle=True))
    source = Source(plain(shuffle=True))
    source.seek(position)
    seed()
    same(list(source), expected)


def test_reading_before_a_pass_is_an_error():
    with pytest.raises(RuntimeError, match="begin"):
        next(Source([1]))


class Fails(Dataset):
    def __init__(self, error, at=5):
        self.error, self.at = error, at

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == self.at:
            raise self.error("bad sample")
        return index


class FailsInBatches(Fails):
    def __getitems__(self, indices):
        return [self[index] for index in indices]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error", [StopIteration, IndexError])
@pytest.mark.parametrize("data", [Fails, FailsInBatches])
def test_errors_of_a_data_set_never_look_like_the_end(data, error, workers):
    source = Source(DataLoader(data(error), batch_size=2, num_workers=workers))
    source.begin()
    next(source), next(source)
    with pytest.raises(DataError, match=rf"`{data.__name__}`.*{error.__name__}.*\[4, 5\]") as info:
        next(source)
    assert isinstance(info.value.__cause__, error)
    source.close()


@pytest.mark.parametrize("at", [0, 7])
def test_errors_in_the_first_and_last_batch(at):
    source = Source(DataLoader(Fails(StopIteration, at), batch_size=2))
    source.begin()
    with pytest.raises(DataError):
        list(source)


def stops(samples):
    raise StopIteration("too short")


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_collate_functions_never_look_like_the_end(workers):
    for data in (Noisy(), Pathless()):
        source = Source(DataLoader(data, collate_fn=stops, num_workers=workers))
        source.begin()
        with pytest.raises(DataError, match="stops"):
            next(source)
        source.close()


def test_errors_of_streams_are_named():
    class Broken(IterableDataset):
        def __iter__(self):
            yield 1
            raise IndexError("lost")

    class BrokenLoader:
        def __iter__(self):
            return iter(Broken())

    for loader in (DataLoader(Broken()), BrokenLoader()):
        source = Source(loader)
        source.begin()
        next(source)
        with pytest.raises(DataError, match="lost"):
            next(source)


def test_other_errors_pass_as_they_are():
    source = Source(DataLoader(Fails(KeyError)))
    source.begin()
    with pytest.raises(KeyError):
        list(source)


def test_the_loader_is_left_alone():
    loader = plain(shuffle=True)
    before = dict(vars(loader))
    source = Source(loader)
    assert source.loader is loader
    for _ in range(2):
        source.begin()
        list(source)
    source.seek(source.position())
    assert vars(loader) == before
    assert pickle.loads(pickle.dumps(Source(loader))).length() == 6


def test_constructing_touches_nothing():
    class Touchy:
        def __len__(self):
            raise AssertionError("touched")

        __iter__ = __len__

    Source(Touchy())


def test_positions_of_another_kind_start_over():
    warnings_given.clear()
    source = Source([1, 2, 3])
    source.begin()
    next(source)
    place = source.position()
    other = Source(DataLoader([1, 2, 3]))
    with pytest.warns(PossibleUserWarning, match="unknown"):
        other.seek(place)
    assert len(list(other)) == 3
