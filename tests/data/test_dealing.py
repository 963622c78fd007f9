"""Batches to ranks: each sample once, in the order of the user's sampler, and nothing rebuilt."""

import itertools
import random

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from pytorch_lightning.data import CombinedLoader, Feed, Ranks, Source, deal
from pytorch_lightning.data.feed import open_source
from pytorch_lightning.data.fingerprints import compare, fingerprints
from pytorch_lightning.utilities.exceptions import DataError
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.seed import capture_rng


class Numbers(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.tensor(index)


class Uneven(Sampler):
    """Batches of 1, 2, 3, 1, 2, 3 ... samples, in an order that is drawn batch by batch."""

    def __init__(self, size, *, shuffles=True):
        self.size, self.shuffles = size, shuffles

    def __iter__(self):
        left, size = list(range(self.size)), 1
        while left:
            if self.shuffles:
                random.shuffle(left)
            yield left[:size]
            left, size = left[size:], size % 3 + 1

    def __len__(self):
        whole, rest = divmod(self.size, 6)
        return whole * 3 + (rest > 0) + (rest > 1) + (rest > 3)


class Endless(Sampler):
    def __init__(self):
        pass

    def __iter__(self):
        return itertools.cycle(range(7))


class Stream(IterableDataset):
    def __init__(self, size, start=0):
        self.size, self.start = size, start

    def __iter__(self):
        return iter(torch.arange(self.start, self.start + self.size))


def batches_of(loader, epoch=0):
    source = Source(loader)
    source.begin(epoch)
    return [batch.tolist() for batch in source]


def of_all_ranks(loader, world, *, epoch=0, **options):
    """Per rank, its batches; each rank's shared generators stand elsewhere."""
    found = []
    for rank in range(world):
        torch.manual_seed(rank)
        random.seed(rank)
        found.append(batches_of(deal(loader, rank=rank, world=world, **options), epoch))
    return found


def dealt_in_turn(batches, world):
    return [batches[rank::world] for rank in range(world)]


EVALUATED = {
    "in order": lambda n, size: DataLoader(Numbers(n), batch_size=size),
    "incomplete left out": lambda n, size: DataLoader(Numbers(n), batch_size=size, drop_last=True),
    "batch sampler": lambda n, size: DataLoader(
        Numbers(n), batch_sampler=Uneven(n, shuffles=False)
    ),
    "no batches": lambda n, size: DataLoader(Numbers(n), batch_size=None),
    "list as a sampler": lambda n, size: DataLoader(
        Numbers(n), batch_size=size, sampler=list(range(n))[::-1]
    ),
}


@pytest.mark.parametrize("kind", EVALUATED)
@pytest.mark.parametrize("world", [2, 3])
def test_evaluation_deals_the_loaders_own_batches_in_turn(kind, world):
    for n, size in itertools.product(range(14), (1, 2, 5)):
        loader = EVALUATED[kind](n, size)
        alone = batches_of(loader)
        assert of_all_ranks(loader, world) == dealt_in_turn(alone, world), (n, size)
        lengths = [Source(deal(loader, rank=rank, world=world)).length() for rank in range(world)]
        assert lengths == [len(part) for part in dealt_in_turn(alone, world)]
        dealt = Source(deal(loader, rank=world - 1, world=world))
        assert dealt.rounds() == max(lengths)


RANDOM = {
    "shuffled": lambda: DataLoader(Numbers(11), batch_size=2, shuffle=True),
    "weighted": lambda: DataLoader(
        Numbers(11), batch_size=2, sampler=WeightedRandomSampler([0.1] * 11, 11, replacement=False)
    ),
    "a subset": lambda: DataLoader(
        Numbers(20), batch_size=2, sampler=SubsetRandomSampler(range(11))
    ),
    "own batches": lambda: DataLoader(Numbers(11), batch_sampler=Uneven(11)),
    "own generator": lambda: DataLoader(
        Numbers(11), batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
    "in workers": lambda: DataLoader(Numbers(11), batch_size=2, shuffle=True, num_workers=1),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_shuffled_evaluation_sees_each_sample_once(kind):
    seen = []
    for rank in range(3):
        torch.manual_seed(rank)
        random.seed(rank)
        seen += batches_of(deal(RANDOM[kind](), rank=rank, world=3))
    assert sorted(sum(seen, [])) == list(range(11))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world", [2, 3])
def test_training_deals_samples_as_the_sampler_of_torch_does(world, drop_last):
    for n, size in itertools.product(range(1, 16), (1, 2, 4)):
        loader = DataLoader(Numbers(n), batch_size=size, drop_last=drop_last)
        expected = []
        for rank in range(world):
            sampler = DistributedSampler(
                Numbers(n), world, rank, shuffle=False, drop_last=drop_last
            )
            expected.append(list(BatchSampler(sampler, size, drop_last)))
        if n < world and drop_last:
            expected = [[] for _ in range(world)]
        assert of_all_ranks(loader, world, training=True) == expected, (n, size)
        lengths = {
            Source(deal(loader, rank=rank, world=world, training=True)).length()
            for rank in range(world)
        }
        assert lengths == {len(expected[0])}


def test_a_shuffled_order_is_the_same_for_all_ranks_and_another_in_each_epoch():
    loader = DataLoader(Numbers(12), batch_size=2, shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        ranks = of_all_ranks(loader, 2, epoch=epoch, training=True)
        assert sorted(sum(sum(ranks, []), [])) == list(range(12))
        orders.append(ranks)
    assert orders[0] == orders[2] != orders[1]


def test_the_global_seed_gives_another_order(monkeypatch):
    loader = DataLoader(Numbers(12), batch_size=2, shuffle=True)
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    first = of_all_ranks(loader, 2, training=True)
    monkeypatch.setenv("PL_GLOBAL_SEED", "2")
    assert of_all_ranks(loader, 2, training=True) != first


@pytest.mark.parametrize("kind", [kind for kind in RANDOM if kind != "own generator"])
def test_the_shared_generators_are_left_to_the_model(kind):
    loader = deal(RANDOM[kind](), rank=1, world=2, training=True)
    source = Source(loader)
    source.begin(0)
    before = capture_rng()
    list(source)
    after = capture_rng()
    assert torch.equal(before["torch"], after["torch"])
    assert torch.equal(before["python"][1], after["python"][1])


def test_batches_of_ones_own_stay_whole_and_are_padded_which_is_said_once():
    loader = DataLoader(Numbers(8), batch_sampler=Uneven(8, shuffles=False))
    assert len(batches_of(loader)) == 5
    with pytest.warns(UserWarning, match="`Uneven` cannot be divided by 2 ranks") as said:
        ranks = of_all_ranks(loader, 2, training=True)
    assert ranks == [[[0], [3, 4, 5], [7]], [[1, 2], [6], [0]]]
    assert len(said) == 1


@pytest.mark.parametrize("training", [False, True])
def test_an_order_without_an_end(training):
    loader = DataLoader(Numbers(7), batch_size=2, sampler=Endless())
    for rank in range(2):
        source = Source(deal(loader, rank=rank, world=2, training=training), limit=4)
        source.begin(0)
        found = [batch.tolist() for batch in source]
        order = [index % 7 for index in range(16)]
        if training:
            assert sum(found, []) == order[rank::2]
        else:
            assert found == [order[2 * j : 2 * j + 2] for j in range(rank, 8, 2)]


def test_evaluation_can_be_padded_as_training_is():
    loader = DataLoader(Numbers(7), batch_size=2)
    ranks = of_all_ranks(loader, 2, pad=True)
    assert ranks == [[[0, 2], [4, 6]], [[1, 3], [5, 0]]]


def not_dealt():
    numbers = Numbers(6)

    class Mine(Sampler):
        num_replicas, rank = 2, 1

        def __init__(self):
            pass

        def __iter__(self):
            return iter([1, 3, 5])

    return [
        DataLoader(numbers, sampler=DistributedSampler(numbers, 2, 0)),
        DataLoader(
            numbers, batch_sampler=BatchSampler(DistributedSampler(numbers, 2, 0), 2, False)
        ),
        DataLoader(numbers, sampler=Mine()),
        DataLoader(Stream(6)),
        [torch.zeros(2)],
        iter([1]),
        range(3),
    ]


@pytest.mark.parametrize("index", range(7))
def test_what_knows_its_ranks_or_has_no_indices_is_left_alone(index):
    loader = not_dealt()[index]
    assert deal(loader, rank=0, world=2, training=True) is loader


def test_one_rank_and_who_asked_for_it_keep_their_loader():
    loader = DataLoader(Numbers(3))
    assert deal(loader, rank=0, world=1) is loader
    assert Ranks(0, 2, deals=False).deal(loader, training=True) is loader
    assert Source(Ranks(0, 2).deal(loader)).loader is not loader


def test_a_loader_is_copied_and_never_made_anew():
    class Mine(DataLoader):
        def __init__(self, data, secret):
            super().__init__(data, batch_size=2)
            self.secret = secret

    loader = Mine(Numbers(4), object())
    before = dict(vars(loader))
    dealt = deal(loader, rank=1, world=2, training=True)
    assert type(dealt) is Mine and dealt.secret is loader.secret
    assert batches_of(dealt) == [[1, 3]]
    assert vars(loader) == before and batches_of(loader) == [[0, 1], [2, 3]]


def test_a_loader_that_never_asks_its_sampler_is_refused():
    class Own(DataLoader):
        def __iter__(self):
            return iter(self.dataset)

    source = Source(deal(Own(Numbers(4)), rank=0, world=2))
    source.begin(0)
    with pytest.raises(DataError, match="use_distributed_sampler=False"):
        next(source)


def test_a_loader_that_iterates_by_itself_but_asks_is_dealt():
    class Doubled(DataLoader):
        def __iter__(self):
            return (batch * 2 for batch in super().__iter__())

    loader = Doubled(Numbers(5), batch_size=2)
    assert of_all_ranks(loader, 2) == [[[0, 2], [8]], [[4, 6]]]


def test_samplers_are_told_the_epoch():
    class Told(RandomSampler):
        epochs = ()

        def set_epoch(self, epoch):
            self.epochs += (epoch,)

    sampler = Told(Numbers(4))
    source = Source(deal(DataLoader(Numbers(4), sampler=sampler), rank=0, world=2, training=True))
    for epoch in (0, 1):
        source.begin(epoch)
        list(source)
    assert sampler.epochs == (0, 1)


def test_each_loader_of_a_collection_is_dealt():
    loaders = {
        "a": DataLoader(Numbers(8), batch_size=2),
        "b": DataLoader(Numbers(4), batch_size=1),
    }
    for collection in (loaders, CombinedLoader(loaders, "max_size_cycle")):
        feed = open_source(collection, ranks=Ranks(1, 2))
        assert isinstance(feed, Feed)
        feed.begin(0)
        assert [(b["a"].tolist(), b["b"].tolist()) for b in feed] == [
            ([1, 3], [1]),
            ([5, 7], [3]),
        ]
        assert feed.length() == 2 == feed.rounds()


def test_evaluation_of_joined_loaders_loses_no_batch_of_the_longest():
    loaders = [DataLoader(Numbers(5)), DataLoader(Numbers(1))]
    seen = []
    for rank in range(3):
        feed = open_source(
            CombinedLoader(loaders, "max_size_cycle"), ranks=Ranks(rank, 3), training=False
        )
        feed.begin(0)
        seen += [(first.item(), second.item()) for first, second in feed]
        assert [feed.is_ragged(batch) for batch in range(3)] == [False, True, False]
    assert sorted(seen) == [(i, 0) for i in range(5)]


def test_joined_loaders_are_ragged_where_the_joined_batches_are():
    for sizes, limit, ragged in (((5, 4), 9, None), ((5, 9), 9, 2), ((5, 9), 2, None)):
        loaders = [DataLoader(Numbers(size)) for size in sizes]
        ranks = Ranks(0, 2)
        feed = open_source(
            CombinedLoader(loaders, "min_size"), ranks=ranks, training=False, limit=limit
        )
        feed.begin(0)
        assert [b for b in range(6) if feed.is_ragged(b)] == ([] if ragged is None else [ragged])


def test_workers_that_persist_get_the_orders_of_each_epoch():
    found = []
    for persistent in (False, True):
        loader = DataLoader(
            Numbers(12), 2, shuffle=True, num_workers=1, persistent_workers=persistent
        )
        source = Source(deal(loader, rank=1, world=2, training=True))
        epochs = []
        for epoch in (0, 1):
            source.begin(epoch)
            epochs.append([batch.tolist() for batch in source])
        source.close()
        found.append(epochs)
    assert found[0] == found[1] and found[0][0] != found[0][1]


def test_a_loader_that_goes_round_shuffles_anew():
    loaders = [DataLoader(Numbers(40)), DataLoader(Numbers(20), shuffle=True)]
    feed = open_source(loaders, ranks=Ranks(0, 2))
    feed.begin(0)
    seen = [batch[1].item() for batch in feed]
    assert len(seen) == 20 and seen[:10] != seen[10:]


# --- what ranks tell each other -----------------------------------------------------------------


def told(make, world=2):
    found = []
    for rank in range(world):
        random.seed(rank)
        source = open_source(make(rank), ranks=Ranks(rank, world))
        source.begin(0)
        found.append((source, fingerprints(source, rank)))
    return [source for source, _ in found], [prints for _, prints in found]


def say_nothing(recwarn, prints):
    warnings_given.clear()
    compare(prints)
    assert not [w for w in recwarn if "same samples" in str(w.message)]


@pytest.mark.parametrize(
    "make",
    [
        lambda rank: DataLoader(Numbers(8), shuffle=True),
        lambda rank: DataLoader(Numbers(8), batch_sampler=Uneven(8)),
        lambda rank: [torch.tensor([rank])],
        lambda rank: DataLoader(Stream(5, start=rank)),
        lambda rank: DataLoader(Numbers(8), sampler=DistributedSampler(Numbers(8), 2, rank)),
        lambda rank: DataLoader(Stream(0)),
        lambda rank: [],
    ],
)
def test_ranks_that_read_their_parts_say_nothing(recwarn, make):
    say_nothing(recwarn, told(make)[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda rank: [torch.ones(3), torch.ones(3)],
        lambda rank: DataLoader(Stream(5)),
        lambda rank: DataLoader(Numbers(8), sampler=DistributedSampler(Numbers(8), 2, 0)),
        lambda rank: {"a": [torch.tensor([rank])], "b": DataLoader(Stream(5))},
    ],
)
def test_ranks_that_read_the_same_are_told_once(make):
    prints = told(make)[1]
    with pytest.warns(UserWarning, match="All ranks read the same samples") as said:
        compare(prints)
        compare(prints)
    assert len(said) == 1


def test_ranks_of_one_part_are_to_read_the_same(recwarn):
    prints = [[told(lambda rank: DataLoader(Stream(5)))[1][0][0]]] * 2
    say_nothing(recwarn, prints)


def test_another_order_on_a_rank_is_an_error_that_names_the_sampler():
    def make(rank):
        generator = torch.Generator().manual_seed(rank)
        return DataLoader(Numbers(9), shuffle=True, generator=generator)

    with pytest.raises(DataError, match="Rank 1 draws another order.*`RandomSampler`"):
        compare(told(make)[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda rank: DataLoader(Stream(5)),
        lambda rank: DataLoader(Numbers(9), shuffle=True, batch_size=2),
        lambda rank: DataLoader(Numbers(9), batch_sampler=Uneven(9)),
    ],
)
def test_being_looked_at_changes_nothing(make):
    looked_at = [[b.tolist() for b in source] for source in told(make)[0]]
    plain = []
    for rank in range(2):
        source = open_source(make(rank), ranks=Ranks(rank, 2))
        source.begin(0)
        plain.append([b.tolist() for b in source])
    assert looked_at == plain


def test_samplers_of_torch_that_nobody_deals_are_compared_without_a_draw():
    source = Source(DataLoader(Numbers(9), shuffle=True))
    source.begin(0)
    before = torch.get_rng_state()
    first = fingerprints(source, 0)[0].first
    assert first is not None and torch.equal(before, torch.get_rng_state())
