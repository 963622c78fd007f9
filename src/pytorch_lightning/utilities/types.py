"""Names for the types that appear in signatures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypedDict, Union, runtime_checkable

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from typing_extensions import NotRequired, Required

__all__ = [
    "EPOCH_OUTPUT",
    "EVAL_DATALOADERS",
    "STEP_OUTPUT",
    "TRAIN_DATALOADERS",
    "DistributedDataParallel",
    "LRSchedulerConfig",
    "LRSchedulerConfigType",
    "LRSchedulerPLType",
    "LRSchedulerType",
    "LRSchedulerTypeTuple",
    "LRSchedulerTypeUnion",
    "OptimizerConfig",
    "OptimizerLRScheduler",
    "OptimizerLRSchedulerConfig",
    "ReduceLROnPlateau",
]

STEP_OUTPUT: TypeAlias = Tensor | Mapping[str, Any] | None
EPOCH_OUTPUT: TypeAlias = list[STEP_OUTPUT] | list[list[STEP_OUTPUT]]
TRAIN_DATALOADERS: TypeAlias = Any  # any iterable, or a nested collection of iterables
EVAL_DATALOADERS: TypeAlias = Any

LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerTypeUnion: TypeAlias = LRScheduler | ReduceLROnPlateau
LRSchedulerType: TypeAlias = type[LRScheduler] | type[ReduceLROnPlateau]
LRSchedulerPLType: TypeAlias = LRScheduler | ReduceLROnPlateau


@runtime_checkable
class TrainingStep(Protocol):
    """A `training_step` that returns a loss."""

    def training_step(self, *args: Any, **kwargs: Any) -> STEP_OUTPUT: ...


@runtime_checkable
class ValidationStep(Protocol):
    """A `validation_step`."""

    def validation_step(self, *args: Any, **kwargs: Any) -> STEP_OUTPUT: ...


@runtime_checkable
class TestStep(Protocol):
    """A `test_step`."""

    def test_step(self, *args: Any, **kwargs: Any) -> STEP_OUTPUT: ...


@runtime_checkable
class PredictStep(Protocol):
    """A `predict_step`."""

    def predict_step(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass
class LRSchedulerConfig:
    """A learning rate scheduler, and when it is stepped."""

    scheduler: LRSchedulerTypeUnion
    name: str | None = None
    interval: str = "epoch"
    frequency: int = 1
    reduce_on_plateau: bool = False
    monitor: str | None = None
    strict: bool = True
    opt_idx: int | None = None  # the optimizer it belongs to, as 1.x writes it


class LRSchedulerConfigType(TypedDict, total=False):
    """A scheduler as a dictionary that `configure_optimizers` returns."""

    scheduler: Required[LRSchedulerTypeUnion]
    name: str | None
    interval: str
    frequency: int
    reduce_on_plateau: bool
    monitor: str | None
    strict: bool
    opt_idx: int | None


class OptimizerConfig(TypedDict):
    """An optimizer as a dictionary that `configure_optimizers` returns."""

    optimizer: Optimizer
    frequency: NotRequired[int]


class OptimizerLRSchedulerConfig(TypedDict):
    """An optimizer with its scheduler as a dictionary."""

    optimizer: Optimizer
    lr_scheduler: LRSchedulerTypeUnion | LRSchedulerConfigType
    monitor: NotRequired[str]
    frequency: NotRequired[int]


_OptimizerDict: TypeAlias = OptimizerConfig | OptimizerLRSchedulerConfig
_SchedulerItem: TypeAlias = LRSchedulerTypeUnion | LRSchedulerConfig | LRSchedulerConfigType
OptimizerLRScheduler: TypeAlias = Union[  # noqa: UP007 - long
    Optimizer,
    Sequence[Optimizer],
    tuple[Sequence[Optimizer], Sequence[_SchedulerItem]],
    _OptimizerDict,
    Sequence[_OptimizerDict],
    None,
]
