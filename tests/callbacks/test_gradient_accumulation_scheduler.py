"""What `GradientAccumulationScheduler` promises."""

import pytest

import pytorch_lightning as pl
from pytorch_lightning.callbacks.gradient_accumulation_scheduler import (
    GradientAccumulationScheduler,
)
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def trainer_with(*callbacks, **arguments):
    defaults = {
        "max_epochs": 4,
        "limit_train_batches": 4,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**defaults, **arguments}, callbacks=list(callbacks))


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


def steps_per_epoch(*callbacks, **arguments):
    class Counting(BoringModel):
        def on_train_epoch_end(self):
            counts.append(self.trainer.global_step)

    counts = [0]
    trainer_with(*callbacks, **arguments).fit(Counting())
    return [after - before for before, after in zip(counts, counts[1:], strict=False)]


def test_steps_follow_the_plan():
    assert steps_per_epoch(GradientAccumulationScheduler({1: 2, 2: 4, 3: 3})) == [4, 2, 1, 2]


def test_a_second_fit_goes_on():
    callback = GradientAccumulationScheduler({0: 2})
    trainer = trainer_with(callback, max_epochs=1)
    trainer.fit(BoringModel())
    trainer.fit_loop.max_epochs = 2
    trainer.fit(BoringModel())
    assert trainer.global_step == 4


def test_two_answers_contradict_each_other():
    with pytest.raises(ValueError, match="accumulate_grad_batches=3"):
        steps_per_epoch(GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=3)


def test_manual_optimization_decides_for_itself():
    model = BoringModel()
    model.automatic_optimization = False
    with pytest.raises(MisconfigurationException, match="manual optimization"):
        trainer_with(GradientAccumulationScheduler({1: 2})).fit(model)


def test_an_overridden_step_is_told():
    class Own(BoringModel):
        def optimizer_step(self, *args, **kwargs):
            super().optimizer_step(*args, **kwargs)

    with pytest.warns(UserWarning, match="Own.optimizer_step"):
        steps_per_epoch(GradientAccumulationScheduler({0: 2}))
        trainer_with(GradientAccumulationScheduler({0: 2})).fit(Own())


def test_a_plain_module_is_not(recwarn):
    steps_per_epoch(GradientAccumulationScheduler({0: 2}))
    assert not [w for w in recwarn if "is overridden" in str(w.message)]
