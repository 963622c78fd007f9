"""Who waits for whom, from the collectives that each rank has begun."""

import json

import pytest

from pytorch_lightning.distributed.standstill import Stand, crossing, waits_in_vain
from pytorch_lightning.distributed.whereabouts import where_this_rank_is

GROUPS = ("gradients", "control")


def stand(gradients, control, kind="barrier", inside=(), **more):
    begun = {**dict(zip(GROUPS, (gradients, control), strict=True)), **more}
    return Stand(begun, "control", kind, "`fit`, train.py:3", inside)


REDUCES = ("all_reduce", "gradients")


@pytest.mark.parametrize(
    ("stands", "found"),
    [
        ([stand(5, 3), stand(5, 3)], None),
        ([stand(5, 3), stand(4, 3)], None),  # a slow rank
        ([stand(5, 4), stand(4, 3, "flag")], None),
        ([stand(5, 4), stand(6, 3)], (0, 1)),
        ([stand(5, 3), stand(5, 3), stand(4, 4)], (0, 2)),
        ([stand(5, 3), stand(5, 3, "flag")], (0, 1)),  # two things in one group
        ([stand(5, 3, inside=REDUCES), stand(5, 3)], (0, 1)),  # its fifth was another one
        ([stand(4, 3), stand(5, 3), stand(5, 3, inside=REDUCES)], (1, 2)),
        ([stand(5, 3, inside=REDUCES), stand(4, 3)], None),
        ([stand(5, 3, inside=REDUCES), stand(5, 3, inside=REDUCES)], None),
        ([stand(5, 3, rows=9, inside=("barrier", "rows")), stand(5, 3)], None),
        ([stand(5, 3, rows=9), stand(5, 3, columns=1)], None),  # groups that they do not share
    ],
)
def test_two_ranks_cross_where_each_has_begun_what_the_other_has_not(stands, found):
    assert crossing(dict(enumerate(stands))) == found


def test_who_stands_in_what_another_never_began_waits_in_vain():
    texts = ["", json.dumps(stand(6, 3)), json.dumps(stand(5, 3))]
    assert waits_in_vain(texts, {"gradients": 5, "control": 3}) == "rank 1 in `fit`, train.py:3"
    assert waits_in_vain(texts, {"gradients": 6, "control": 3}) is None
    assert waits_in_vain(["", "", ""], {"gradients": 0}) is None


def test_a_place_is_a_line_of_the_users_code():
    place = where_this_rank_is()
    line = test_a_place_is_a_line_of_the_users_code.__code__.co_firstlineno + 1
    assert place == f"`where_this_rank_is`, test_standstill.py:{line}"
