"""What `GradientAccumulationScheduler` promises."""

import pytest

from pytorch_lightning.callbacks.gradient_accumulation_scheduler import (
    GradientAccumulationScheduler,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def test_accumulation_by_epoch():
    plan = GradientAccumulationScheduler({2: 4, 5: 3})
    assert [plan.get_accumulate_grad_batches(epoch) for epoch in range(7)] == [1, 1, 4, 4, 4, 3, 3]
    assert plan.epochs == [0, 2, 5]
    assert plan.scheduling[0] == 1
    assert plan.going_to_accumulate_grad_batches()
    assert not GradientAccumulationScheduler({0: 1}).going_to_accumulate_grad_batches()


@pytest.mark.parametrize("plan", [{}, 3, [1]])
def test_accumulation_needs_a_plan(plan):
    with pytest.raises(TypeError, match="scheduling="):
        GradientAccumulationScheduler(plan)


@pytest.mark.parametrize("plan", [{0: 0}, {"a": 1}, {-1: 2}, {0: 1.5}, {0.5: 2}, {0: True}])
def test_accumulation_refuses_odd_numbers(plan):
    with pytest.raises(MisconfigurationException, match="scheduling"):
        GradientAccumulationScheduler(plan)
