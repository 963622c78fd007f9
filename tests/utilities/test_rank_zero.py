import subprocess
import sys
import warnings

import pytest

from pytorch_lightning.utilities.rank_zero import (
    WarningCache,
    rank_prefixed_message,
    rank_zero_deprecation,
    rank_zero_only,
    rank_zero_warn,
)
from pytorch_lightning.utilities.warnings import (
    LightningDeprecationWarning,
    PossibleUserWarning,
    disable_possible_user_warnings,
)


@pytest.fixture
def rank_one():
    rank_zero_only.rank, found = 1, rank_zero_only.rank
    yield
    rank_zero_only.rank = found


def test_rank_zero_runs_and_others_answer_the_default(rank_one):
    calls = []
    function = rank_zero_only(calls.append, default="elsewhere")
    assert function(1) == "elsewhere"
    rank_zero_only.rank = 0
    assert function(2) is None
    assert calls == [2]


def test_only_rank_zero_warns(rank_one):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rank_zero_warn("unheard")


def test_a_warning_points_at_the_line_of_the_caller():
    with pytest.warns(UserWarning, match="here") as caught:
        rank_zero_warn("here")
    assert caught[0].filename == __file__


def test_a_cache_says_things_once():
    cache = WarningCache()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache.warn("once")
        cache.warn("once")
        cache.deprecation("old spelling")
        cache.deprecation("old spelling")
    assert [str(warning.message) for warning in caught] == ["once", "old spelling"]


def test_deprecations_have_their_category():
    with pytest.warns(LightningDeprecationWarning, match="old"):
        rank_zero_deprecation("old")


def test_possible_warnings_can_be_silenced(monkeypatch):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkeypatch.setenv("POSSIBLE_USER_WARNINGS", "off")
        rank_zero_warn("perhaps", category=PossibleUserWarning)
        monkeypatch.setenv("POSSIBLE_USER_WARNINGS", "1")
        disable_possible_user_warnings()
        rank_zero_warn("perhaps", category=PossibleUserWarning)
        rank_zero_warn("surely")
    assert [str(warning.message) for warning in caught] == ["surely"]


def test_messages_carry_a_rank_where_there_is_one():
    assert rank_prefixed_message("done", 3) == "[rank: 3] done"
    assert rank_prefixed_message("done", None) == "done"


@pytest.mark.parametrize(
    ("variables", "rank"),
    [({}, 0), ({"RANK": "2", "LOCAL_RANK": "1"}, 2), ({"SLURM_PROCID": "5"}, 5), ({"RANK": ""}, 0)],
)
def test_the_rank_is_read_from_the_environment(variables, rank, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    program = "from pytorch_lightning.utilities import rank_zero_only as r; print(r.rank)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == str(rank)
