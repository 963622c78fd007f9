import copy
import pickle

import pytest

from pytorch_lightning.trainer.states import RunningStage, TrainerFn, TrainerState, TrainerStatus
from pytorch_lightning.utilities.enums import GradClipAlgorithmType, LightningEnum


@pytest.mark.parametrize("member", [*TrainerFn, *RunningStage, *GradClipAlgorithmType])
def test_a_member_reads_as_its_plain_value(member):
    assert str(member) == f"{member}" == "%s" % member == member.value  # noqa: UP031
    assert f"{member:>15}" == member.value.rjust(15)
    assert member == member.value
    assert member == member.value.upper()
    assert {member: 1}[member.value] == 1


def test_comparison_with_others_is_false_not_an_error():
    assert TrainerFn.FITTING != "validate"
    assert TrainerFn.FITTING != 1
    assert TrainerFn.FITTING is not None
    assert TrainerFn.VALIDATING == RunningStage.VALIDATING


def test_members_survive_copies_and_pickles():
    assert pickle.loads(pickle.dumps(TrainerFn.TESTING)) is TrainerFn.TESTING
    assert copy.deepcopy(TrainerFn.TESTING) is TrainerFn.TESTING


def test_from_str_finds_names_and_values():
    class Kind(LightningEnum):
        TWO_WORDS = "other-words"

    assert Kind.from_str("two words") is Kind.TWO_WORDS
    assert Kind.from_str("OTHER_WORDS", source="value") is Kind.TWO_WORDS
    assert Kind.from_str("other-words", source="any") is Kind.TWO_WORDS
    with pytest.raises(ValueError, match=r"'nothing' is no Kind: expected one of \['TWO_WORDS'\]"):
        Kind.from_str("nothing")
    with pytest.warns(UserWarning, match="'nothing' is no Kind"):
        assert Kind.try_from_str("nothing") is None


def test_supported_clip_algorithms():
    assert GradClipAlgorithmType.supported_types() == ["value", "norm"]
    assert GradClipAlgorithmType.supported_type("norm")
    assert GradClipAlgorithmType.supported_type(GradClipAlgorithmType.NORM)
    assert not GradClipAlgorithmType.supported_type("other")


def test_stages_know_their_loaders():
    prefixes = {stage.value: stage.dataloader_prefix for stage in RunningStage}
    assert prefixes == {
        "train": "train",
        "sanity_check": "val",
        "validate": "val",
        "test": "test",
        "predict": "predict",
    }
    assert [s.value for s in RunningStage if s.evaluating] == ["sanity_check", "validate", "test"]


def test_the_state_of_a_trainer_starts_empty():
    state = TrainerState()
    assert (state.fn, state.stage, state.status) == (None, None, TrainerStatus.INITIALIZING)
    assert not state.finished
    assert TrainerState(status=TrainerStatus.FINISHED).finished
    assert TrainerState(status=TrainerStatus.INTERRUPTED).stopped
