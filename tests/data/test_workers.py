"""Workers draw what torch's would, differ where they should, and take up their streams again."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from pytorch_lightning.data import Source
from pytorch_lightning.data.generators import GlobalGenerators
from pytorch_lightning.data.workers import mixed_seed, pack, unpack
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.seed import capture_rng, restore_rng, seed_everything
from pytorch_lightning.utilities.warnings import PossibleUserWarning


class Draws(Dataset):
    """The index, the worker as it sees itself, and draws from three generators."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        info = get_worker_info()
        who = [-1, -1] if info is None else [info.id, info.seed % 2**31]
        draws = [torch.rand(()).item(), random.random(), np.random.rand()]
        return torch.tensor([index, *who, *draws], dtype=torch.float64)


def remember(worker):
    """An init function of a user: it seeds by itself."""
    random.seed(worker * 1000)
    get_worker_info().dataset.worker = worker


def load(source):
    return [row for batch in source for row in batch.tolist()]


def draws():
    own = torch.rand(3).tolist(), random.gauss(0, 1), random.random()
    return *own, np.random.randn(3).tolist(), np.random.rand()


@pytest.mark.parametrize("half_a_pair", [False, True])
def test_a_packed_state_gives_the_same_draws(half_a_pair):
    if half_a_pair:
        random.gauss(0, 1)
        np.random.randn()
    packed = pack(GlobalGenerators().take())
    first = draws()
    unpack(packed)
    assert draws() == first
    assert isinstance(packed, bytes)


def test_every_change_of_the_generators_is_taken():
    """NumPy's state is read from memory; a waiting half of a pair is not there."""
    generators = GlobalGenerators()
    changes = [
        lambda: None,
        lambda: np.random.rand(),
        lambda: np.random.randn(),
        lambda: np.random.randn(),
        lambda: np.random.rand(700),
        lambda: np.random.seed(3),
        lambda: random.random(),
        lambda: torch.rand(1),
        lambda: np.random.set_state(np.random.RandomState(8).get_state()),
    ]
    for change in changes:
        change()
        packed = pack(generators.take())
        assert packed == pack(GlobalGenerators().take())
        expected = draws()
        unpack(packed)
        assert draws() == expected
        unpack(packed)


def test_mixed_seeds_differ_in_every_part():
    seeds = {mixed_seed(base, rank, w) for base in range(4) for rank in range(4) for w in range(4)}
    assert len(seeds) == 64
    assert mixed_seed(0, 11) != mixed_seed(0, 1, 1)


@pytest.mark.parametrize("init", [None, remember])
def test_a_resumed_worker_is_the_one_it_replaces(init):
    """Identity, seed, init function and generators; also with an odd number of batches done."""

    def make():
        return DataLoader(Draws(), batch_size=2, num_workers=2, worker_init_fn=init)

    torch.manual_seed(0)
    whole = load(make())
    torch.manual_seed(0)
    source = Source(make())
    source.begin()
    head = [next(source) for _ in range(3)]
    place = source.position()
    source.close()
    torch.manual_seed(5)
    again = Source(make())
    again.seek(place)
    assert torch.cat(head).tolist() + load(again) == whole
    again.close()


def test_spawned_workers_resume():
    def make():
        return DataLoader(
            Draws(), batch_size=6, num_workers=1, multiprocessing_context="spawn", shuffle=True
        )

    torch.manual_seed(0)
    source = Source(make())
    source.begin()
    first = next(source)
    place = source.position()
    rest = load(source)
    assert len(first) == 6
    again = Source(make())
    again.seek(place)
    assert load(again) == rest
    source.close()
    again.close()


def drawn(rank, *, epochs=1, init=None, persistent=False):
    torch.manual_seed(0)
    loader = DataLoader(
        Draws(), batch_size=3, num_workers=2, worker_init_fn=init, persistent_workers=persistent
    )
    source = Source(loader, rank=rank)
    rows = []
    for epoch in range(epochs):
        source.begin(epoch)
        rows.append(load(source))
    source.close()
    return rows


def test_seeds_of_workers_are_torchs_unless_asked(monkeypatch):
    monkeypatch.delenv("PL_SEED_WORKERS", raising=False)
    torch.manual_seed(0)
    expected = load(DataLoader(Draws(), batch_size=3, num_workers=2))
    assert drawn(0)[0] == drawn(1)[0] == expected
    seed_everything(0, workers=False, verbose=False)
    assert drawn(1)[0] == expected


def test_seeded_workers_differ_by_rank_worker_and_epoch_in_every_generator():
    seed_everything(0, workers=True, verbose=False)
    zero, one = drawn(0, epochs=2), drawn(1)
    assert zero == drawn(0, epochs=2)
    for column in (3, 4, 5):
        values = [row[column] for rows in [*zero, *one] for row in rows]
        assert len(set(values)) == len(values) == 36


def test_a_users_init_function_wins_over_the_seeding():
    seed_everything(0, workers=True, verbose=False)
    assert drawn(0, init=remember) == drawn(1, init=remember)


def test_seeded_workers_resume_exactly():
    seed_everything(0, workers=True, verbose=False)

    def make():
        return Source(DataLoader(Draws(), batch_size=2, num_workers=2), rank=3)

    torch.manual_seed(0)
    source = make()
    source.begin()
    next(source)
    place, rng = source.position(), capture_rng()
    rest = load(source)
    source.begin()
    later = load(source)
    source.close()
    torch.manual_seed(9)
    again = make()
    again.seek(place)
    restore_rng(rng)
    assert load(again) == rest
    again.begin()
    assert load(again) == later
    again.close()


@pytest.mark.parametrize(("before", "after"), [(2, 1), (2, 0), (0, 1)])
def test_another_number_of_workers_keeps_the_order_and_says_so_once(before, after):
    warnings_given.clear()
    torch.manual_seed(0)
    source = Source(DataLoader(Draws(), batch_size=2, num_workers=before, shuffle=True))
    source.begin()
    next(source)
    place = source.position()
    rest = [row[0] for row in load(source)]
    source.close()
    results = []
    for _ in range(2):
        seed_everything(5, verbose=False)
        again = Source(DataLoader(Draws(), batch_size=2, num_workers=after, shuffle=True))
        if not results:
            with pytest.warns(PossibleUserWarning, match="num_workers") as caught:
                again.seek(place)
            assert len(caught) == 1
        else:
            again.seek(place)
        results.append(load(again))
        again.close()
    assert [row[0] for row in results[0]] == rest
    assert results[0] == results[1]


def test_batches_in_any_order_restart_their_pass():
    warnings_given.clear()

    def make():
        return Source(
            DataLoader(Draws(), batch_size=2, num_workers=2, shuffle=True, in_order=False)
        )

    source = make()
    source.begin()
    seen = [next(source) for _ in range(2)]
    assert source.sample_ids is None and source.num_samples == 2
    place = source.position()
    seen += list(source)
    assert sorted(torch.cat(seen)[:, 0].tolist()) == list(range(12))
    end = source.position()
    source.close()
    again = make()
    with pytest.warns(UserWarning, match="in_order=False"):
        again.seek(place)
    assert sorted(row[0] for row in load(again)) == list(range(12))
    again.seek(end)
    assert list(again) == []
    again.close()


def test_options_of_the_loader_reach_torch(recwarn):
    """`pin_memory` and `timeout` stay what they are; batches keep their type."""

    def pairs(samples):
        return {"rows": torch.stack(samples), "names": ["x"] * len(samples)}

    loader = DataLoader(
        Draws(), batch_size=4, num_workers=1, collate_fn=pairs, pin_memory=True, timeout=30
    )
    source = Source(loader)
    source.begin()
    batch = next(source)
    assert type(batch) is dict and batch["names"] == ["x"] * 4
    assert source.num_samples == 4
    source.close()


def test_lost_states_of_workers_keep_the_order_and_are_told():
    warnings_given.clear()
    source = Source(DataLoader(Draws(), batch_size=2, num_workers=1, shuffle=True))
    source.begin()
    next(source)
    place = source.position()
    rest = [row[0] for row in load(source)]
    source.close()
    place["reader"]["states"] = None
    again = Source(DataLoader(Draws(), batch_size=2, num_workers=1, shuffle=True))
    with pytest.warns(PossibleUserWarning, match="lacks the random states"):
        again.seek(place)
    assert [row[0] for row in load(again)] == rest
    again.close()
