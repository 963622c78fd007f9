"""A pass that some ranks began and others end: no sample is lost, and none is read twice."""

import random
from collections import Counter

import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Sampler,
    WeightedRandomSampler,
)

from pytorch_lightning.data import Ranks, Source
from pytorch_lightning.data.feed import open_source
from pytorch_lightning.utilities.warnings import PossibleUserWarning

SIZE = 48


class Numbers(Dataset):
    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        return torch.tensor(index)


class Noisy(Dataset):
    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        return torch.tensor([index, torch.rand(()).item()])


class Lazily(Sampler):
    """An order that is drawn from the shared generators with each sample."""

    def __init__(self):
        pass

    def __iter__(self):
        left = list(range(SIZE))
        while left:
            yield left.pop(random.randrange(len(left)))

    def __len__(self):
        return SIZE


class OwnBatches(Lazily):
    """Batches of three."""

    def __iter__(self):
        samples = list(super().__iter__())
        return iter([samples[i : i + 3] for i in range(0, SIZE, 3)])

    def __len__(self):
        return SIZE // 3


LOADERS = {
    "in order": lambda: DataLoader(Numbers(), batch_size=2),
    "shuffled": lambda: DataLoader(Numbers(), batch_size=2, shuffle=True),
    "own generator": lambda: DataLoader(
        Numbers(), batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(5)
    ),
    "weighted": lambda: DataLoader(
        Numbers(),
        batch_size=2,
        sampler=WeightedRandomSampler([0.3] * SIZE, SIZE, replacement=False),
    ),
    "own sampler": lambda: DataLoader(Numbers(), batch_size=2, sampler=Lazily()),
    "own batches": lambda: DataLoader(Numbers(), batch_sampler=OwnBatches()),
    "no batches": lambda: DataLoader(Numbers(), batch_size=None, shuffle=True),
    "in workers": lambda: DataLoader(Numbers(), batch_size=2, shuffle=True, num_workers=2),
}


def start_apart(rank):
    torch.manual_seed(100 + rank)
    random.seed(100 + rank)


def open_ranks(make, world, *, position=None, **options):
    sources = []
    for rank in range(world):
        start_apart(rank)
        source = open_source(make(), ranks=Ranks(rank, world), **options)
        if position is None:
            source.begin(3)
        else:
            source.seek(position)
        sources.append(source)
    return sources


def read(sources, count=None):
    """Samples in the order of rounds, and how many batches each rank read."""
    seen, batches = [], []
    for rank, source in enumerate(sources):
        start_apart(rank)
        done = 0
        while count is None or done < count:
            try:
                batch = next(source)
            except StopIteration:
                break
            seen += batch.reshape(-1).tolist()
            done += 1
        batches.append(done)
    return seen, batches


@pytest.mark.parametrize("kind", [k for k in LOADERS if k != "in workers"])
@pytest.mark.parametrize("worlds", [(1, 2), (2, 1), (2, 3), (3, 2), (1, 2, 1), (2, 1, 3)])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_sample_comes_once(kind, worlds, count):
    position, seen = None, []
    for turn, world in enumerate(worlds, 1):
        sources = open_ranks(LOADERS[kind], world, position=position)
        part, _ = read(sources, None if turn == len(worlds) else count)
        seen += part
        position = sources[0].position()
    counts = Counter(seen)
    assert set(counts) == set(range(SIZE))
    assert sum(counts.values()) - SIZE < 3 * worlds[-1]  # only the last round is padded


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("worlds", [(1, 2), (2, 1), (2, 3)])
def test_the_rest_is_dealt_in_the_order_that_was_begun(kind, worlds):
    before, now = worlds
    whole, _ = read(open_ranks(LOADERS[kind], before))
    begun = open_ranks(LOADERS[kind], before)
    seen, _ = read(begun, 2)
    resumed = open_ranks(LOADERS[kind], now, position=begun[0].position())
    rest, batches = read(resumed)
    assert set(seen) | set(rest) == set(range(SIZE)) == set(whole)
    assert len(set(batches)) == 1
    assert {source.length() for source in resumed} == {2 + batches[0]}
    assert all(source.is_last for source in resumed)
    assert not set(seen) & set(rest) or now == 3  # with three the last round is padded
    if (before, kind) == (1, "own sampler"):
        return  # one process draws it from the generators that the model draws from
    (alone,) = open_ranks(LOADERS[kind], 1, position=begun[0].position())
    first_round = [s for batch in range(now) for s in next(alone).reshape(-1).tolist()]
    assert {s for one in resumed_firsts(kind, now, begun[0]) for s in one} == set(first_round)


def resumed_firsts(kind, world, begun):
    """The first batch of each rank after a resume."""
    sources = open_ranks(LOADERS[kind], world, position=begun.position())
    firsts = [next(source).reshape(-1).tolist() for source in sources]
    for source in sources:
        source.close()
    return firsts


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("world", [2, 3])
def test_as_many_ranks_go_on_exactly(kind, world):
    for rank in range(world):
        start_apart(rank)
        ranks = Ranks(rank, world)
        begun = open_source(LOADERS[kind](), ranks=ranks)
        begun.begin(3)
        for _ in range(3):
            next(begun)
        position = begun.position()
        expected = [batch.tolist() for batch in begun]
        random.seed(77)
        torch.manual_seed(77)
        resumed = open_source(LOADERS[kind](), ranks=ranks)
        resumed.seek(position)
        assert resumed.length() == 3 + len(expected)
        assert [batch.tolist() for batch in resumed] == expected


@pytest.mark.parametrize("kind", ["shuffled", "own sampler", "own batches", "own generator"])
def test_the_epochs_after_a_resume_are_those_of_a_run_with_as_many_ranks(kind):
    begun = open_ranks(LOADERS[kind], 2)
    read(begun, 2)
    (alone,) = open_ranks(LOADERS[kind], 1, position=begun[0].position())
    assert alone.is_resized and alone.length() > 2
    list(alone)
    alone.begin(4)
    assert not alone.is_resized
    assert sorted(s for batch in alone for s in batch.reshape(-1).tolist()) == list(range(SIZE))
    pair = open_ranks(LOADERS[kind], 2, position=begun[0].position())
    fresh = open_ranks(LOADERS[kind], 2)
    for sources in (pair, fresh):
        for source in sources:
            list(source)
            source.begin(4)
    assert [read([s])[0] for s in pair] == [read([s])[0] for s in fresh]


def test_another_global_seed_keeps_the_order_that_was_begun(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    begun = open_ranks(LOADERS["shuffled"], 2)
    seen, _ = read(begun, 5)
    monkeypatch.setenv("PL_GLOBAL_SEED", "2")
    rest, _ = read(open_ranks(LOADERS["shuffled"], 3, position=begun[0].position()))
    assert set(seen) | set(rest) == set(range(SIZE))


def test_the_size_of_batches_may_change_with_the_ranks():
    def make(size):
        return lambda: DataLoader(Numbers(), batch_size=size, shuffle=True)

    (begun,) = open_ranks(make(4), 1)
    seen, _ = read([begun], 3)
    resumed = open_ranks(make(2), 2, position=begun.position())
    rest, batches = read(resumed)
    assert sorted(seen + rest) == list(range(SIZE))
    assert batches == [9, 9]


def test_a_last_round_that_is_left_out_stays_left_out():
    def make():
        return DataLoader(Numbers(), batch_size=5, drop_last=True)

    begun = open_ranks(make, 2)
    seen, _ = read(begun, 2)
    (alone,) = open_ranks(make, 1, position=begun[0].position())
    rest, _ = read([alone])
    assert sorted(seen + rest) == list(range(45))
    (fresh,) = open_ranks(make, 1)
    read([fresh], 8)
    for source in open_ranks(make, 2, position=fresh.position()):
        assert source.length() == 8 and list(source) == []


@pytest.mark.parametrize(("worlds", "limit", "seen"), [((2, 1), 5, 12), ((1, 2), 4, 18)])
def test_a_limit_counts_the_rounds_of_as_many_ranks_as_there_are(worlds, limit, seen):
    begun = open_ranks(LOADERS["in order"], worlds[0], limit=limit)
    first, _ = read(begun, 3)
    resumed = open_ranks(LOADERS["in order"], worlds[1], limit=limit, position=begun[0].position())
    rest, _ = read(resumed)
    assert sorted(first + rest) == list(range(seen))
    assert {source.length() for source in resumed} == {source.batches for source in resumed}


def test_a_collection_of_loaders():
    def make():
        return {"a": LOADERS["shuffled"](), "b": LOADERS["in order"]()}

    for before, now in ((2, 1), (1, 2)):
        begun = open_ranks(make, before)
        seen = [next(source) for source in begun for _ in range(4)]
        resumed = open_ranks(make, now, position=begun[0].position())
        for source in resumed:
            seen += list(source)
            assert source.is_last and source.length() == source.batches
        for name in ("a", "b"):
            assert sorted(s for batch in seen for s in batch[name].tolist()) == list(range(SIZE))


def test_whole_batches_of_an_evaluation():
    def make():
        return DataLoader(Numbers(), batch_size=5)

    for before, now in ((2, 1), (1, 2), (2, 3)):
        begun = open_ranks(make, before, training=False)
        seen, _ = read(begun, 2)
        resumed = open_ranks(make, now, position=begun[0].position(), training=False)
        rest, _ = read(resumed)
        assert sorted(seen + rest) == list(range(SIZE))


def test_workers_of_other_ranks_are_seeded_again_which_is_said():
    def make():
        return DataLoader(Noisy(), batch_size=2, num_workers=2, shuffle=True)

    begun = open_ranks(make, 2)
    for source in begun:
        for _ in range(3):
            next(source)
    with pytest.warns(PossibleUserWarning, match=r"saved by 2 rank\(s\) and goes on with 1"):
        (alone,) = open_ranks(make, 1, position=begun[0].position())
    rest = list(alone)
    assert len(rest) == 18
    torch.manual_seed(5)  # nothing of this process goes into it
    (again,) = open_ranks(make, 1, position=begun[0].position())
    assert all(torch.equal(one, two) for one, two in zip(rest, again, strict=True))
    next(begun[0])  # from another batch on, others
    (later,) = open_ranks(make, 1, position=begun[0].position())
    noise = {float(x) for batch in rest for x in batch[:, 1]}
    assert not noise & {float(x) for batch in later for x in batch[:, 1]}
    for source in begun:
        source.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: [torch.tensor(i) for i in range(6)],
        lambda: DataLoader(Numbers(), sampler=DistributedSampler(Numbers(), 2, 0)),
        lambda: DataLoader(Streamed()),
    ],
)
def test_what_ranks_read_by_themselves_starts_again_which_is_said(make):
    begun = Source(make(), rank=0, world=2)
    begun.begin(0)
    first = next(begun)
    with pytest.warns(PossibleUserWarning, match="place in .* is unknown"):
        resumed = Source(make(), rank=0, world=3)
        resumed.seek(begun.position())
    assert torch.equal(next(resumed), first)


class Streamed(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(6))
