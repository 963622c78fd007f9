"""`LightningModule`: the research code, as one `torch.nn.Module`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import Self

from pytorch_lightning.core.export import export_onnx, export_tensorrt, export_torchscript
from pytorch_lightning.core.hooks import CheckpointHooks, DataHooks, ModelHooks, noop
from pytorch_lightning.core.hparams import HyperparametersMixin
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.core.saving import ClassmethodOnly, load_module
from pytorch_lightning.core.session import Session
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import plain
from pytorch_lightning.utilities.rank_zero import rank_zero_warn, warnings_given
from pytorch_lightning.utilities.types import (
    STEP_OUTPUT,
    LRSchedulerTypeUnion,
    OptimizerLRScheduler,
)

if TYPE_CHECKING:
    import pytorch_lightning as pl

_Number = int | float  # `float` is a method inside the class
# What a copy or a pickle leaves behind; the last two are hidden from compilers in a run.
_NOT_PLAIN = ("_trainer", "_session", "_ended_session", "_fabric", "log", "log_dict")


class LightningModule(HyperparametersMixin, ModelHooks, DataHooks, CheckpointHooks, nn.Module):
    """A system to be trained: models, losses, optimizers and the steps of each loop.

    It stays an ordinary `torch.nn.Module`: it can be called, copied, pickled, compiled and
    exported without a trainer.

    Example:
        >>> class Line(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(1, 1)
        ...     def training_step(self, batch, batch_idx):
        ...         x, y = batch
        ...         return nn.functional.mse_loss(self.layer(x), y)
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
    """

    CHECKPOINT_HYPER_PARAMS_KEY: ClassVar[str] = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME: ClassVar[str] = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE: ClassVar[str] = "hparams_type"

    # Names that scripting must not look at: they need a run.
    __jit_unused_properties__: ClassVar[list[str]] = [
        "example_input_array",
        "on_gpu",
        "current_epoch",
        "global_step",
        "global_rank",
        "local_rank",
        "logger",
        "loggers",
        "automatic_optimization",
        "trainer",
        "fabric",
        "strict_loading",
        "device_mesh",
        "hparams",
        "hparams_initial",
        "device",
        "dtype",
    ]

    _session: Session | None = None
    _ended_session: Session | None = None
    _trainer: Any = None
    _fabric: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = self.__dict__  # past nn.Module.__setattr__, which looks for parameters
        own["_device"] = torch.device("cpu")
        own["_dtype"] = torch.get_default_dtype()
        own["_automatic_optimization"] = True
        own["_example_input_array"] = None
        own["_strict_loading"] = None
        own["_toggled"] = None

    # --- what it belongs to -------------------------------------------------------------------

    @property
    def trainer(self) -> "pl.Trainer":
        """The trainer that runs this module.

        Raises:
            RuntimeError: If no trainer runs or ran it.
        """
        if self._trainer is None:
            if self._fabric is not None:
                return self._fabric  # type: ignore[no-any-return]
            if "_exporting" in self.__dict__:
                return None  # type: ignore[return-value]  # of no use to whoever compiles it
            raise RuntimeError(
                f"{type(self).__name__} is not attached to a `Trainer`; call this inside "
                "`trainer.fit`, `validate`, `test` or `predict`."
            )
        return self._trainer  # type: ignore[no-any-return]

    @trainer.setter
    def trainer(self, trainer: "pl.Trainer | None") -> None:
        for module in self.modules():
            if isinstance(module, LightningModule):
                module.__dict__["_trainer"] = trainer

    @property
    def fabric(self) -> Any:
        """The `Fabric` that drives this module in a hand-written loop, if one does."""
        return self._fabric

    @fabric.setter
    def fabric(self, fabric: Any) -> None:
        for module in self.modules():
            if isinstance(module, LightningModule):
                module.__dict__["_fabric"] = fabric

    @property
    def current_epoch(self) -> int:
        """Index of the running epoch; 0 without a trainer."""
        return self._trainer.current_epoch if self._trainer is not None else 0

    @property
    def global_step(self) -> int:
        """Optimizer steps so far, of all optimizers; 0 without a trainer."""
        return self._trainer.global_step if self._trainer is not None else 0

    @property
    def global_rank(self) -> int:
        """Index of this process among all; 0 without a trainer."""
        return self._trainer.global_rank if self._trainer is not None else 0

    @property
    def local_rank(self) -> int:
        """Index of this process on its machine; 0 without a trainer."""
        return self._trainer.local_rank if self._trainer is not None else 0

    @property
    def logger(self) -> Any:
        """The first logger, or None."""
        loggers = self.loggers
        return loggers[0] if loggers else None

    @property
    def loggers(self) -> list[Any]:
        """All loggers."""
        owner = self._trainer if self._trainer is not None else self._fabric
        return list(owner.loggers) if owner is not None else []

    @property
    def device_mesh(self) -> Any:
        """The mesh of devices under `ModelParallelStrategy`, else None."""
        return getattr(getattr(self._trainer, "strategy", None), "device_mesh", None)

    # --- device and type ----------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where this module was moved to last; a CUDA device has an index."""
        device: torch.device = self.__dict__["_device"]
        if device.type == "cuda" and device.index is None:
            return torch.device("cuda", torch.cuda.current_device())
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The floating point type this module was converted to last."""
        return self.__dict__["_dtype"]  # type: ignore[no-any-return]

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        raise RuntimeError(f"Cannot set `dtype={dtype}`: call `.to({dtype})`, which converts.")

    @property
    def on_gpu(self) -> bool:
        """Whether this module lies on a CUDA device."""
        return self.device.type == "cuda"

    def _moved(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        for module in self.modules():
            if isinstance(module, LightningModule):
                if device is not None:
                    module.__dict__["_device"] = device
                if dtype is not None and dtype.is_floating_point:
                    module.__dict__["_dtype"] = dtype

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move and convert as `nn.Module.to` does, and remember where to."""
        device, dtype = torch._C._nn._parse_to(*args, **kwargs)[:2]
        super().to(*args, **kwargs)
        self._moved(device, dtype)
        return self

    def cuda(self, device: torch.device | int | None = None) -> Self:
        """Move to a CUDA device, by default the current one."""
        index = torch.cuda.current_device() if device is None else device
        target = torch.device("cuda", index) if isinstance(index, int) else torch.device(index)
        super().cuda(target)
        self._moved(target)
        return self

    def cpu(self) -> Self:
        """Move to the CPU."""
        super().cpu()
        self._moved(torch.device("cpu"))
        return self

    def type(self, dst_type: str | torch.dtype) -> Self:
        """Convert all parameters and buffers."""
        super().type(dst_type)
        self._moved(dtype=dst_type if isinstance(dst_type, torch.dtype) else None)
        return self

    def float(self) -> Self:
        """Convert floating point parameters and buffers to float32."""
        super().float()
        self._moved(dtype=torch.float)
        return self

    def double(self) -> Self:
        """Convert floating point parameters and buffers to float64."""
        super().double()
        self._moved(dtype=torch.double)
        return self

    def half(self) -> Self:
        """Convert floating point parameters and buffers to float16."""
        super().half()
        self._moved(dtype=torch.half)
        return self

    # --- settings -----------------------------------------------------------------------------

    @property
    def automatic_optimization(self) -> bool:
        """False: `training_step` calls `backward` and `step` itself."""
        return self.__dict__["_automatic_optimization"]  # type: ignore[no-any-return]

    @automatic_optimization.setter
    def automatic_optimization(self, automatic_optimization: bool) -> None:
        self.__dict__["_automatic_optimization"] = automatic_optimization

    @property
    def example_input_array(self) -> Tensor | tuple[Any, ...] | dict[str, Any] | None:
        """An input for `forward`: a tensor, a tuple of arguments or a dict of keywords."""
        return self.__dict__["_example_input_array"]  # type: ignore[no-any-return]

    @example_input_array.setter
    def example_input_array(
        self, example: Tensor | tuple[Any, ...] | dict[str, Any] | None
    ) -> None:
        self.__dict__["_example_input_array"] = example

    @property
    def strict_loading(self) -> bool:
        """Whether the keys of a checkpoint must be exactly those of `state_dict()`."""
        strict = self.__dict__["_strict_loading"]
        return True if strict is None else strict

    @strict_loading.setter
    def strict_loading(self, strict_loading: bool) -> None:
        self.__dict__["_strict_loading"] = strict_loading

    # --- logging ------------------------------------------------------------------------------

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once, on rank zero, without breaking the progress bar."""
        if self._session is not None:
            self._session.print(*args, **kwargs)
        elif self.global_rank == 0:
            print(*args, **kwargs)

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Record a number under a name, for loggers, callbacks and the progress bar.

        Args:
            value: A number, a tensor with one element, or a torchmetrics `Metric`.
            prog_bar: Show it in the progress bar.
            logger: Send it to the loggers; None means yes.
            on_step: Log the value of this step; the default depends on the hook.
            on_epoch: Log the reduced value at the end of the epoch; likewise.
            reduce_fx: 'mean', 'min', 'max' or 'sum' over the steps of an epoch.
            enable_graph: Keep the autograd graph of the value.
            sync_dist: Reduce over all processes.
            sync_dist_group: The process group for that.
            add_dataloader_idx: With several evaluation loaders, append `/dataloader_idx_<i>`.
            batch_size: Weight of this value in the mean of an epoch, where the loader cannot know.
            metric_attribute: Name of the attribute that holds the metric.
            rank_zero_only: Called on rank zero alone; the value is not reduced over processes.
        """
        session = self._session
        if session is None:
            self._not_running()
            return
        session.record(
            name,
            value,
            batch_size,
            (
                prog_bar,
                logger,
                on_step,
                on_epoch,
                reduce_fx,
                enable_graph,
                sync_dist,
                sync_dist_group,
                add_dataloader_idx,
                metric_attribute,
                rank_zero_only,
            ),
        )

    def log_dict(
        self,
        dictionary: Mapping[str, Any],
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Record several numbers; the arguments are those of `log`.

        Args:
            dictionary: Names and values, or a torchmetrics `MetricCollection`.
        """
        session = self._session
        if session is None:
            self._not_running()
            return
        flags = (
            prog_bar,
            logger,
            on_step,
            on_epoch,
            reduce_fx,
            enable_graph,
            sync_dist,
            sync_dist_group,
            add_dataloader_idx,
            None,
            rank_zero_only,
        )
        session.record_dict(dictionary, batch_size, flags)

    def _not_running(self) -> None:
        if self._fabric is None and self._trainer is None:
            warnings_given.warn(
                "You are trying to `self.log()` but no `Trainer` is attached: nothing is recorded."
            )
            return
        if self._trainer is not None:
            raise MisconfigurationException(
                "`self.log()` was called outside the hooks of a run; call it in a step or a hook."
            )

    # --- optimization -------------------------------------------------------------------------

    def _running(self, asked: str) -> Session:
        if self._session is None:
            raise RuntimeError(
                f"`self.{asked}` needs a run: {type(self).__name__} is not attached to a `Trainer`."
            )
        return self._session

    def optimizers(
        self, use_pl_optimizer: bool = True
    ) -> LightningOptimizer | Optimizer | list[LightningOptimizer] | list[Optimizer]:
        """The optimizer, or the list of them when there is not just one.

        Args:
            use_pl_optimizer: Wrapped, so that `step` counts and goes through precision and hooks.
        """
        session = self._session or self._ended_session or self._running("optimizers()")
        wrapped = list(session.optimizers)
        found: list[Any] = wrapped if use_pl_optimizer else [o.optimizer for o in wrapped]
        return found[0] if len(found) == 1 else found

    def lr_schedulers(self) -> None | list[LRSchedulerTypeUnion] | LRSchedulerTypeUnion:
        """The scheduler, the list of them, or None when there is none."""
        session = self._session or self._ended_session or self._running("lr_schedulers()")
        found = [config.scheduler for config in session.schedulers]
        if not found:
            return None
        return found[0] if len(found) == 1 else found

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Call this instead of `loss.backward()` in manual optimization.

        Raises:
            MisconfigurationException: If optimization is automatic.
        """
        if self.automatic_optimization:
            raise MisconfigurationException(
                "`self.manual_backward()` with automatic optimization: set "
                "`self.automatic_optimization = False` in `__init__`."
            )
        self._running("manual_backward()").manual_backward(loss, *args, **kwargs)

    @plain
    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients; override for another way to do so."""
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    def toggle_optimizer(
        self, optimizer: Optimizer | LightningOptimizer, optimizer_idx: int | None = None
    ) -> None:
        """Compute no gradients for parameters that only other optimizers own."""
        self._running("toggle_optimizer()").toggle(optimizer)

    def untoggle_optimizer(
        self,
        optimizer: Optimizer | LightningOptimizer | int | None = None,
        optimizer_idx: int | None = None,
    ) -> None:
        """Switch back on what `toggle_optimizer` switched off."""
        self._running("untoggle_optimizer()").untoggle(optimizer)

    @contextmanager
    def toggled_optimizer(self, optimizer: Optimizer | LightningOptimizer) -> Iterator[None]:
        """`toggle_optimizer` and `untoggle_optimizer` around a block."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    @plain
    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Any = None,
        *more: Any,
        **kwargs: Any,
    ) -> None:
        """Step the optimizer; the closure runs `training_step`, `zero_grad` and `backward`.

        An override must call the closure, most simply by `optimizer.step(optimizer_closure)`.
        """
        if not callable(optimizer_closure) and optimizer_closure is not None:
            optimizer_closure = more[0] if more else kwargs.get("optimizer_closure")
        optimizer.step(closure=optimizer_closure)

    @plain
    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: Optimizer, *_: Any
    ) -> None:
        """Clear the gradients before the first backward of an accumulation window."""
        (optimizer if not isinstance(optimizer, int) else _[0]).zero_grad()

    @plain
    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: _Number | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients of one optimizer's parameters.

        Args:
            gradient_clip_val: None takes the trainer's value; another one than that is an error.
            gradient_clip_algorithm: 'norm' or 'value'; likewise.
        """
        value, algorithm = self._agreed_clipping(gradient_clip_val, gradient_clip_algorithm)
        self._running("clip_gradients()").clip_gradients(optimizer, value, algorithm)

    def _agreed_clipping(self, value: Any, algorithm: Any) -> tuple[Any, Any]:
        trainer = self._trainer
        for name, mine, theirs in (
            ("gradient_clip_val", value, getattr(trainer, "gradient_clip_val", None)),
            (
                "gradient_clip_algorithm",
                algorithm,
                getattr(trainer, "gradient_clip_algorithm", None),
            ),
        ):
            if mine is not None and theirs is not None and mine != theirs:
                raise MisconfigurationException(
                    f"`clip_gradients({name}={mine!r})` and `Trainer({name}={theirs!r})` "
                    "contradict each other; give it in one place."
                )
        value = value if value is not None else getattr(trainer, "gradient_clip_val", None)
        if algorithm is None:
            algorithm = getattr(trainer, "gradient_clip_algorithm", None) or "norm"
        return value, algorithm

    @plain
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: _Number | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip; called before every optimizer step, also when nothing is to be clipped."""
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    @plain
    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, *args: Any) -> None:
        """Step one scheduler, with the monitored metric for those that want it."""
        metric = args[-1] if args else None
        if metric is None:
            scheduler.step()  # type: ignore[call-arg]  # plateau schedulers get the metric
        else:
            scheduler.step(metric)

    # --- what users write -----------------------------------------------------------------------

    @noop
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module does: inference."""
        return super().forward(*args, **kwargs)

    @noop
    def training_step(self, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Compute the loss of a batch: a tensor, a mapping with 'loss', or None to skip."""
        rank_zero_warn("`training_step` must be implemented to be used with `Trainer.fit`.")
        return None

    @noop
    def validation_step(self, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Evaluate a batch of validation data."""
        raise NotImplementedError

    @noop
    def test_step(self, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Evaluate a batch of test data."""
        raise NotImplementedError

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Predict a batch; by default call the module with the whole batch."""
        batch = kwargs.get("batch", args[0] if args else None)
        return self(batch)

    @noop
    def configure_callbacks(self) -> Any:
        """Callbacks that belong to this module; they replace the trainer's of the same type."""
        return []

    @noop
    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizers and learning rate schedulers, in any of the documented forms."""
        rank_zero_warn("`configure_optimizers` must be implemented to be used with `Trainer.fit`.")
        return None

    # --- everything else ------------------------------------------------------------------------

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Gather tensors from all processes.

        Args:
            data: A tensor, or a nested collection of tensors.
            group: The process group; None means all.
            sync_grads: Let gradients flow back through the gathering.

        Returns:
            The same structure; tensors have a new first dimension of the number of processes,
            and are unchanged when there is one process.
        """
        if self._session is None:
            return data
        return self._session.all_gather(data, group, sync_grads)

    def freeze(self) -> Self:
        """Compute no gradients for any parameter, and go to eval mode."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        self.eval()
        return self

    def unfreeze(self) -> Self:
        """Compute gradients for all parameters, and go to train mode."""
        for parameter in self.parameters():
            parameter.requires_grad = True
        self.train()
        return self

    def to_onnx(self, file_path: Any = None, input_sample: Any = None, **kwargs: Any) -> Any:
        """Export to ONNX.

        Args:
            file_path: A path or a binary file; may be left out with `dynamo=True`.
            input_sample: What to call the module with; default `example_input_array`.
            kwargs: For `torch.onnx.export`.
        """
        return export_onnx(self, file_path, input_sample, **kwargs)

    def to_torchscript(
        self,
        file_path: str | Path | None = None,
        method: str | None = "script",
        example_inputs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Compile to TorchScript by 'script' or 'trace', and save if a path is given."""
        return export_torchscript(self, file_path, method, example_inputs, **kwargs)

    def to_tensorrt(self, file_path: Any = None, input_sample: Any = None, **kwargs: Any) -> Any:
        """Export to TensorRT, where `torch_tensorrt` is installed."""
        return export_tensorrt(self, file_path, input_sample, **kwargs)

    @ClassmethodOnly
    def load_from_checkpoint(
        cls: Any,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make a module from a checkpoint file, with the hyperparameters that lie in it.

        Args:
            checkpoint_path: A path, a URL or a binary file.
            map_location: Where to put tensors, as `torch.load` takes it.
            hparams_file: A yaml or csv file with hyperparameters, for files that hold none.
            strict: Whether keys must match; None asks the module's `strict_loading`.
            weights_only: False runs code from the file, if it has any: only for files you trust.
            kwargs: Arguments of `__init__` that replace the stored ones.
        """
        return load_module(
            cls,
            checkpoint_path,
            map_location=map_location,
            hparams_file=hparams_file,
            strict=strict,
            weights_only=weights_only,
            **kwargs,
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in _NOT_PLAIN:
            state.pop(name, None)
        return state
