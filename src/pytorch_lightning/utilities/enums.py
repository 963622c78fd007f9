"""Names that are strings."""

import re
import sys
from enum import Enum
from typing import Literal

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

from pytorch_lightning.utilities.rank_zero import rank_zero_warn

__all__ = [
    "GradClipAlgorithmType",
    "LightningEnum",
    "RunningStage",
    "TrainerFn",
    "TrainerStatus",
]

_Source = Literal["key", "value", "any"]


def _key(text: str) -> str:
    return re.sub(r"[\s-]", "_", text).lower()


class LightningEnum(str, Enum):
    """A string with a name: it equals, hashes, prints and formats as its plain value.

    Comparison does not look at the case of letters.
    """

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Enum):
            other = other.value
        return isinstance(other, str) and self.value.lower() == other.lower()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.value.lower())

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)

    @classmethod
    def from_str(cls, value: str, source: _Source = "key") -> Self:
        """Find the member whose name, value or either is `value`."""
        for member in cls:
            by_key = source in ("key", "any") and _key(member.name) == _key(value)
            by_value = source in ("value", "any") and _key(member.value) == _key(value)
            if by_key or by_value:
                return member
        expected = [m.value if source == "value" else m.name for m in cls]
        raise ValueError(f"{value!r} is no {cls.__name__}: expected one of {expected}.")

    @classmethod
    def try_from_str(cls, value: str, source: _Source = "key") -> Self | None:
        """Find a member as `from_str` does, or warn and answer None."""
        try:
            return cls.from_str(value, source)
        except ValueError as error:
            rank_zero_warn(str(error))
            return None


class GradClipAlgorithmType(LightningEnum):
    """How gradients are clipped."""

    VALUE = "value"
    NORM = "norm"

    @staticmethod
    def supported_types() -> list[str]:
        """The values that `gradient_clip_algorithm` takes."""
        return [member.value for member in GradClipAlgorithmType]

    @staticmethod
    def supported_type(val: str | Enum) -> bool:
        """Whether `gradient_clip_algorithm` takes this value."""
        text = val.value if isinstance(val, Enum) else val
        return text in GradClipAlgorithmType.supported_types()


class TrainerFn(LightningEnum):
    """The verb that a trainer was asked for."""

    FITTING = "fit"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"


class RunningStage(LightningEnum):
    """What runs right now; a fit trains, checks and validates in turn."""

    TRAINING = "train"
    SANITY_CHECKING = "sanity_check"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"

    @property
    def evaluating(self) -> bool:
        """Whether this stage only measures."""
        return self.value in ("sanity_check", "validate", "test")

    @property
    def dataloader_prefix(self) -> str:
        """The word in `train_dataloader`, `val_dataloader` and so on."""
        return "val" if self.value in ("sanity_check", "validate") else str(self.value)


class TrainerStatus(LightningEnum):
    """How far a call of the trainer has come."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"

    @property
    def stopped(self) -> bool:
        """Whether nothing runs any more."""
        return self.value in ("finished", "interrupted")
