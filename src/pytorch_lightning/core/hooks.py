"""THE table of hooks: who has each one and what may be logged in it; their no-ops."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.tree import move_data_to_device

__all__ = [
    "HOOKS",
    "CheckpointHooks",
    "DataHooks",
    "Hook",
    "Logging",
    "MisconfigurationException",
    "ModelHooks",
    "is_overridden_hook",
    "move_data_to_device",
    "noop",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def noop(function: _Function) -> _Function:
    """Mark a documented method that does nothing, so that nobody calls it.

    A method without the mark counts as overridden, wherever it was set: on a class, a mixin or
    an instance.
    """
    function.noop = True  # type: ignore[attr-defined]  # functions take attributes
    return function


def is_overridden_hook(owner: object, name: str) -> bool:
    """Whether `owner` does something when hook `name` comes."""
    method = getattr(owner, name, None)
    return callable(method) and getattr(method, "noop", False) is not True


class Logging(NamedTuple):
    """What `self.log` does inside a hook when it is not told."""

    on_step: bool
    on_epoch: bool
    step_allowed: bool


class Hook(NamedTuple):
    """One hook: its owners in the order in which they are called, and its logging rule."""

    callback: bool = True
    module: bool = True
    datamodule: bool = False
    logging: Logging | None = None


_STEP = Logging(on_step=True, on_epoch=False, step_allowed=True)
_EVAL_STEP = Logging(on_step=False, on_epoch=True, step_allowed=True)
_EPOCH = Logging(on_step=False, on_epoch=True, step_allowed=False)


def _evaluation(stage: str) -> dict[str, Hook]:
    logs_step = None if stage == "predict" else _EVAL_STEP
    logs_epoch = None if stage == "predict" else _EPOCH
    return {
        f"on_{stage}_model_eval": Hook(callback=False),
        **({} if stage == "predict" else {f"on_{stage}_model_train": Hook(callback=False)}),
        f"on_{stage}_start": Hook(logging=logs_epoch),
        f"on_{stage}_epoch_start": Hook(logging=logs_epoch),
        f"on_{stage}_batch_start": Hook(logging=logs_step),
        f"{stage}_step": Hook(callback=False, logging=logs_step),
        f"{stage}_step_end": Hook(callback=False, logging=logs_step),
        f"on_{stage}_batch_end": Hook(logging=logs_step),
        f"{stage}_epoch_end": Hook(callback=False, logging=logs_epoch),
        f"on_{stage}_epoch_end": Hook(logging=logs_epoch),
        f"on_{stage}_end": Hook(),
    }


# In the order of a run. The datamodule is called first, then callbacks, then the module.
HOOKS: dict[str, Hook] = {
    "on_init_start": Hook(module=False),  # 1.x
    "on_init_end": Hook(module=False),  # 1.x
    "configure_callbacks": Hook(callback=False),
    "prepare_data": Hook(callback=False, datamodule=True),
    "on_before_accelerator_backend_setup": Hook(module=False),  # 1.x
    "setup": Hook(datamodule=True),
    "configure_sharded_model": Hook(callback=False),  # 1.x
    "on_configure_sharded_model": Hook(module=False),  # 1.x
    "configure_model": Hook(callback=False),
    "configure_optimizers": Hook(callback=False),
    "on_fit_start": Hook(),
    "on_pretrain_routine_start": Hook(),  # 1.x
    "on_pretrain_routine_end": Hook(),  # 1.x
    "on_sanity_check_start": Hook(module=False),
    "on_sanity_check_end": Hook(module=False),
    "train_dataloader": Hook(callback=False, datamodule=True),
    "val_dataloader": Hook(callback=False, datamodule=True),
    "test_dataloader": Hook(callback=False, datamodule=True),
    "predict_dataloader": Hook(callback=False, datamodule=True),
    "on_train_start": Hook(logging=_EPOCH),
    "on_epoch_start": Hook(logging=_EPOCH),  # 1.x
    "on_train_epoch_start": Hook(logging=_EPOCH),
    "on_before_batch_transfer": Hook(callback=False, datamodule=True),
    "transfer_batch_to_device": Hook(callback=False, datamodule=True),
    "on_after_batch_transfer": Hook(callback=False, datamodule=True),
    "on_batch_start": Hook(module=False, logging=_STEP),  # 1.x
    "on_train_batch_start": Hook(logging=_STEP),
    "optimizer_step": Hook(callback=False, logging=_STEP),
    "training_step": Hook(callback=False, logging=_STEP),
    "training_step_end": Hook(callback=False, logging=_STEP),  # 1.x
    "on_before_zero_grad": Hook(logging=_STEP),
    "optimizer_zero_grad": Hook(callback=False, logging=_STEP),
    "on_before_backward": Hook(logging=_STEP),
    "backward": Hook(callback=False, logging=_STEP),
    "on_after_backward": Hook(logging=_STEP),
    "on_before_optimizer_step": Hook(logging=_STEP),
    "configure_gradient_clipping": Hook(callback=False, logging=_STEP),
    "clip_gradients": Hook(callback=False, logging=_STEP),
    "lr_scheduler_step": Hook(callback=False),
    "on_train_batch_end": Hook(logging=_STEP),
    "on_batch_end": Hook(module=False, logging=_STEP),  # 1.x
    "on_validation_model_zero_grad": Hook(callback=False),
    **_evaluation("validation"),
    "training_epoch_end": Hook(callback=False, logging=_EPOCH),  # 1.x
    "on_train_epoch_end": Hook(logging=_EPOCH),
    "on_epoch_end": Hook(logging=_EPOCH),  # 1.x
    "on_train_end": Hook(),
    "on_fit_end": Hook(),
    **_evaluation("test"),
    **_evaluation("predict"),
    "teardown": Hook(datamodule=True),
    "on_exception": Hook(module=False, datamodule=True),
    "state_dict": Hook(module=False, datamodule=True),
    "load_state_dict": Hook(module=False, datamodule=True),
    "on_save_checkpoint": Hook(datamodule=True),
    "on_load_checkpoint": Hook(datamodule=True),
    "on_hpc_save": Hook(callback=False),  # 1.x
    "on_hpc_load": Hook(callback=False),  # 1.x
}


class ModelHooks:
    """The hooks of a module that follow a run; each does nothing until it is overridden."""

    @noop
    def on_fit_start(self) -> None:
        """Called at the very beginning of fit, after `configure_optimizers`."""

    @noop
    def on_fit_end(self) -> None:
        """Called at the very end of fit."""

    @noop
    def on_train_start(self) -> None:
        """Called before the first training epoch, after the sanity check."""

    @noop
    def on_train_end(self) -> None:
        """Called after the last training epoch, before loggers are closed."""

    @noop
    def on_validation_start(self) -> None:
        """Called at the beginning of validation."""

    @noop
    def on_validation_end(self) -> None:
        """Called at the end of validation."""

    @noop
    def on_test_start(self) -> None:
        """Called at the beginning of testing."""

    @noop
    def on_test_end(self) -> None:
        """Called at the end of testing."""

    @noop
    def on_predict_start(self) -> None:
        """Called at the beginning of prediction."""

    @noop
    def on_predict_end(self) -> None:
        """Called at the end of prediction."""

    @noop
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Called before a batch is trained; return -1 to skip the rest of the epoch."""
        return None

    @noop
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Called after a batch is trained; `outputs` is what `training_step` returned."""

    @noop
    def on_validation_batch_start(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Called before a validation batch."""

    @noop
    def on_validation_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Called after a validation batch."""

    @noop
    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called before a test batch."""

    @noop
    def on_test_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Called after a test batch."""

    @noop
    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called before a prediction batch."""

    @noop
    def on_predict_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Called after a prediction batch."""

    def on_validation_model_zero_grad(self) -> None:
        """Called after a training step, before validation; frees the gradients."""
        self.zero_grad()  # type: ignore[attr-defined]  # of the nn.Module this is mixed into

    @noop
    def on_validation_model_eval(self) -> None:
        """Called when validation starts; without an override the modules go to eval mode."""

    @noop
    def on_validation_model_train(self) -> None:
        """Called when validation ends; without an override each module gets its mode back."""

    @noop
    def on_test_model_eval(self) -> None:
        """Called when testing starts; without an override the modules go to eval mode."""

    @noop
    def on_test_model_train(self) -> None:
        """Called when testing ends; without an override each module gets its mode back."""

    @noop
    def on_predict_model_eval(self) -> None:
        """Called when prediction starts; without an override the modules go to eval mode."""

    @noop
    def on_train_epoch_start(self) -> None:
        """Called at the beginning of a training epoch."""

    @noop
    def on_train_epoch_end(self) -> None:
        """Called at the end of a training epoch, before callbacks that monitor a metric."""

    @noop
    def on_validation_epoch_start(self) -> None:
        """Called at the beginning of a validation epoch."""

    @noop
    def on_validation_epoch_end(self) -> None:
        """Called at the end of a validation epoch."""

    @noop
    def on_test_epoch_start(self) -> None:
        """Called at the beginning of a test epoch."""

    @noop
    def on_test_epoch_end(self) -> None:
        """Called at the end of a test epoch."""

    @noop
    def on_predict_epoch_start(self) -> None:
        """Called at the beginning of a prediction epoch."""

    @noop
    def on_predict_epoch_end(self) -> None:
        """Called at the end of a prediction epoch; an override may take the results."""

    @noop
    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """Called before gradients are cleared, at the beginning of an accumulation window."""

    @noop
    def on_before_backward(self, loss: torch.Tensor) -> None:
        """Called before `backward`; `loss` is divided by the number of accumulated batches."""

    @noop
    def on_after_backward(self) -> None:
        """Called after `backward`; gradients are not yet unscaled."""

    @noop
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Called before an optimizer step, with unscaled gradients, before they are clipped."""

    @noop
    def configure_model(self) -> None:
        """Create layers late, where the trainer has chosen device and type; may be called again."""


class DataHooks:
    """The hooks about data that a module and a datamodule share."""

    prepare_data_per_node: bool = True
    allow_zero_length_dataloader_with_multiple_devices: bool = False

    @noop
    def prepare_data(self) -> None:
        """Download and write to disk; called in one process per node; keep no state here."""

    @noop
    def setup(self, stage: str) -> None:
        """Called in every process at the beginning of fit, validate, test and predict.

        Args:
            stage: 'fit', 'validate', 'test' or 'predict'.
        """

    @noop
    def teardown(self, stage: str) -> None:
        """Called at the end of fit, validate, test and predict, also after an error."""

    @noop
    def train_dataloader(self) -> Any:
        """Any iterable of batches, or a nested collection of such."""
        raise MisconfigurationException("`train_dataloader` must be implemented to train.")

    @noop
    def val_dataloader(self) -> Any:
        """Any iterable of batches, or a nested collection of such."""
        raise MisconfigurationException("`val_dataloader` must be implemented to validate.")

    @noop
    def test_dataloader(self) -> Any:
        """Any iterable of batches, or a nested collection of such."""
        raise MisconfigurationException("`test_dataloader` must be implemented to test.")

    @noop
    def predict_dataloader(self) -> Any:
        """Any iterable of batches, or a nested collection of such."""
        raise MisconfigurationException("`predict_dataloader` must be implemented to predict.")

    @noop
    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch to a device; override for data that has no `to` method."""
        return move_data_to_device(batch, device)

    @noop
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it is moved to the device."""
        return batch

    @noop
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch after it was moved to the device."""
        return batch


class CheckpointHooks:
    """The hooks around a checkpoint file."""

    @noop
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called with what was read, before weights are loaded; may change it."""

    @noop
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called with what will be written; may add to it."""
