"""Which files stay and which fall out."""

import math
import random

import pytest
import torch

from pytorch_lightning.checkpoint.retention import (
    Candidate,
    Kept,
    best_of,
    deletable,
    kept_from,
    ranks,
    retain,
    retain_last,
    worst_of,
)


def after(scores, *, best, mode="min"):
    kept, deleted = Kept(), []
    for step, score in enumerate(scores):
        kept, fallen = retain(kept, Candidate(f"{step}", score, step), best=best, mode=mode)
        deleted += fallen
    return kept, deleted


@pytest.mark.parametrize(
    ("scores", "best", "mode", "expected"),
    [
        ([3.0, 1.0, 2.0], 1, "min", ["1"]),
        ([3.0, 1.0, 2.0], 1, "max", ["0"]),
        ([3.0, 1.0, 2.0], 2, "min", ["1", "2"]),
        ([3.0, 1.0, 2.0], -1, "min", ["0", "1", "2"]),
        ([3.0, 1.0, 2.0], 0, "min", []),
        ([1.0, 1.0, 1.0], 1, "min", ["0"]),
        ([1.0, 1.0, 1.0], 2, "max", ["0", "1"]),
        ([2.0, 2.0, 1.0], 2, "min", ["0", "2"]),
        ([math.nan, 1.0], 1, "min", ["1"]),
        ([1.0, math.nan], 1, "max", ["0"]),
        ([math.nan, math.nan, 5.0], 2, "max", ["0", "2"]),
        ([math.inf, 1.0, -math.inf], 1, "min", ["2"]),
        ([None, None, None], 1, "min", ["2"]),
        ([None, None, None], -1, "min", ["0", "1", "2"]),
        ([None, None, None], 0, "min", []),
    ],
)
def test_what_stays(scores, best, mode, expected):
    kept, deleted = after(scores, best=best, mode=mode)
    assert [entry.path for entry in kept.ranked] == expected
    assert sorted(deleted) == sorted({str(i) for i in range(len(scores))} - set(expected))


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("best", [1, 2, 5])
def test_equals_a_sort_of_everything_seen(mode, best):
    generator = random.Random(best)
    for _ in range(100):
        scores = [generator.choice([0.0, 1.0, 2.0, math.nan, math.inf]) for _ in range(8)]
        kept, _ = after(scores, best=best, mode=mode)
        bad = [math.inf if s != s else (s if mode == "min" else -s) for s in scores]
        oracle = sorted(sorted(range(8), key=lambda i: (bad[i], i))[:best])  # noqa: B023
        assert [int(entry.path) for entry in kept.ranked] == oracle


def test_ranks_says_what_retain_does():
    kept, _ = after([3.0, 1.0], best=2)
    for score in (0.5, 1.0, 2.0, 3.0, 4.0, math.nan):
        candidate = Candidate("new", score)
        stays = candidate in retain(kept, candidate, best=2)[0].ranked
        assert ranks(kept, candidate, best=2) is stays


def test_one_that_does_not_rank_is_to_be_deleted_itself():
    kept, _ = after([1.0], best=1)
    assert retain(kept, Candidate("b", 2.0), best=1) == (kept, ["b"])


def test_a_file_of_the_same_name_is_overwritten_and_never_deleted():
    kept, fallen = retain(Kept((Candidate("a", 1.0),)), Candidate("a", 9.0), best=1)
    assert kept.ranked == (Candidate("a", 9.0),)
    assert fallen == []


def test_the_last_file_is_not_deleted_while_it_is_the_last():
    kept, fallen = retain_last(Kept(), Candidate("a", step=1))
    assert fallen == []
    kept, fallen = retain_last(kept, Candidate("b", step=2))
    assert (kept.last.path, fallen) == ("b", ["a"])
    kept, fallen = retain_last(kept, Candidate("b", step=3))
    assert (kept.last.step, fallen) == (3, [])


def test_a_last_file_that_is_also_ranked_stays():
    kept, _ = retain(Kept(), Candidate("a", 1.0), best=1)
    kept, _ = retain_last(kept, Candidate("a"))
    kept, fallen = retain_last(kept, Candidate("b"))
    assert fallen == []
    assert kept.paths == {"a", "b"}
    kept, fallen = retain(kept, Candidate("c", 0.5), best=1)
    assert fallen == ["a"]


def test_best_and_worst():
    kept, _ = after([3.0, math.nan, 1.0], best=-1)
    assert best_of(kept).path == "2"
    assert worst_of(kept).path == "1"
    assert best_of(kept, "max").path == "0"
    assert best_of(Kept()) is None
    assert worst_of(Kept()) is None
    assert best_of(after([None, None], best=-1)[0]).path == "1"


def test_a_resumed_run_goes_on_where_it_was():
    kept, _ = after([3.0, 1.0, 2.0], best=2)
    resumed = kept_from({path: torch.tensor(score) for path, score in kept.scores.items()}, "last")
    assert resumed.scores == {"1": 1.0, "2": 2.0}
    assert resumed.last.path == "last"
    assert retain(resumed, Candidate("new", 1.5), best=2)[1] == ["2"]


def test_a_senseless_number_is_refused():
    with pytest.raises(ValueError, match="`save_top_k=-2`"):
        retain(Kept(), Candidate("a"), best=-2)


def test_only_own_files_may_be_deleted(tmp_path):
    folder, other = tmp_path / "run", tmp_path / "run2"
    mine, resumed, foreign = folder / "a.ckpt", folder / "b.ckpt", other / "c.ckpt"
    sneaky = folder / ".." / "run2" / "c.ckpt"
    paths = [str(mine), str(resumed), str(foreign), str(sneaky), "memory://x/d.ckpt"]
    may = deletable(paths, folder=str(folder), resumed_from=str(resumed))
    assert may == [str(mine), "memory://x/d.ckpt"]
