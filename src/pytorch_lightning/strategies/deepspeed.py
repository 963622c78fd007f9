"""Training through DeepSpeed's engine: ZeRO, offloading, its own checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.distributed.process_group import DEFAULT_TIMEOUT
from pytorch_lightning.precision import Precision
from pytorch_lightning.precision.deepspeed import DeepSpeedPrecision
from pytorch_lightning.strategies import deepspeed_files as files
from pytorch_lightning.strategies.deepspeed_config import (
    ENV_VAR,
    NAMES,
    add_precision,
    config_of_arguments,
    given_config,
    stage_of,
)
from pytorch_lightning.strategies.deepspeed_engine import (
    call_through,
    import_deepspeed,
    scaled,
)
from pytorch_lightning.strategies.parallel import ParallelStrategy
from pytorch_lightning.strategies.registry import Registry
from pytorch_lightning.strategies.strategy import NOTHING
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import warnings_given


class DeepSpeedStrategy(ParallelStrategy):
    """Training through DeepSpeed.

    The trainer ends accumulation windows, the engine reduces, clips and steps. Checkpoints are
    folders that DeepSpeed writes and reads; it reads them with `pickle`, so only load what you
    trust.

    Args:
        stage: Of ZeRO: 1 splits optimizer states, 2 gradients too, 3 parameters too.
        remote_device: Where stage 3 makes the parameters of `configure_model`.
        config: DeepSpeed's own configuration, instead of all the arguments about it.
        logging_batch_size_per_gpu: For the throughput that DeepSpeed logs.
        load_full_weights: Whether stage 3 starts from one file with all the weights.
        exclude_frozen_parameters: Whether checkpoints leave out what is not trained.
    """

    strategy_name = "deepspeed"
    DEEPSPEED_ENV_VAR = ENV_VAR
    accelerators = ("cuda", "cpu")

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        zero_optimization: bool = True,
        stage: int = 2,
        remote_device: str | None = None,
        offload_optimizer: bool = False,
        offload_parameters: bool = False,
        offload_params_device: str = "cpu",
        nvme_path: str = "/local_nvme",
        params_buffer_count: int = 5,
        params_buffer_size: int = 100_000_000,
        max_in_cpu: int = 1_000_000_000,
        offload_optimizer_device: str = "cpu",
        optimizer_buffer_count: int = 4,
        block_size: int = 1048576,
        queue_depth: int = 8,
        single_submit: bool = False,
        overlap_events: bool = True,
        thread_count: int = 1,
        pin_memory: bool = False,
        sub_group_size: int = 1_000_000_000_000,
        contiguous_gradients: bool = True,
        overlap_comm: bool = True,
        allgather_partitions: bool = True,
        reduce_scatter: bool = True,
        allgather_bucket_size: int = 200_000_000,
        reduce_bucket_size: int = 200_000_000,
        zero_allow_untested_optimizer: bool = True,
        logging_batch_size_per_gpu: str | int = "auto",
        config: str | Path | dict[str, Any] | None = None,
        logging_level: int = 30,
        parallel_devices: list[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        loss_scale: float = 0,
        initial_scale_power: int = 16,
        loss_scale_window: int = 1000,
        hysteresis: int = 2,
        min_loss_scale: int = 1,
        partition_activations: bool = False,
        cpu_checkpointing: bool = False,
        contiguous_memory_optimization: bool = False,
        synchronize_checkpoint_boundary: bool = False,
        load_full_weights: bool = False,
        precision_plugin: Precision | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        exclude_frozen_parameters: bool = False,
    ) -> None:
        given = dict(locals())
        if find_spec("deepspeed") is None:
            raise MisconfigurationException(
                "`strategy='deepspeed'` needs the package deepspeed: `pip install deepspeed`."
            )
        super().__init__(accelerator, parallel_devices, cluster_environment, None, precision_plugin)
        self._options = given
        chosen = given_config(config)
        self.config = config_of_arguments(given) if chosen is None else chosen
        self.process_group_backend = process_group_backend
        self.timeout = timeout if timeout is not None else DEFAULT_TIMEOUT
        self.remote_device = remote_device
        self.load_full_weights = load_full_weights
        self.exclude_frozen_parameters = exclude_frozen_parameters
        self._logging_level = logging_level
        self._engine: Any = None
        self._is_loaded = False  # the engine took weights and optimizer out of a folder
        self._unreduced = False  # the last backward left its gradients apart
        self._factor = 1.0
        self._linear = nn.functional.linear

    @property
    def is_distributed(self) -> bool:
        """It is."""
        return True

    def make_precision(self, precision: str) -> Precision:
        """The precision in DeepSpeed's kind."""
        try:
            return DeepSpeedPrecision(precision)  # type: ignore[arg-type]  # it refuses other names
        except ValueError as error:
            raise MisconfigurationException(str(error)) from None

    @property
    def zero_stage_3(self) -> bool:
        """Whether parameters are split."""
        return stage_of(self.config) == 3

    @property
    def deepspeed_engine(self) -> Any:
        """The engine, during `fit`."""
        return self._engine

    # Set-up.

    def setup_distributed(self) -> None:
        """Meet the other processes, and let DeepSpeed know them."""
        super().setup_distributed()
        if self.root_device.type == "cpu":
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        self._linear = nn.functional.linear  # stage 3 puts its own in the place, for good
        deepspeed = import_deepspeed()
        if not deepspeed.comm.is_initialized():
            deepspeed.init_distributed(self.backend, auto_mpi_discovery=False, verbose=False)

    def setup(self, trainer: Any) -> None:
        """Place the module, and make the engine that trains it."""
        assert self._lightning_module is not None, "connect() comes first"
        if self.accelerator is not None:
            self.accelerator.setup(trainer)
        fitting = trainer.state.fn == "fit"
        if fitting:
            self._synchronize_layers()
        self.model = self.precision_plugin.convert_module(self._lightning_module)
        self._complete_config()
        self._is_loaded = False
        if fitting:
            self.setup_optimizers(trainer)
            self.init_deepspeed()
        elif self.zero_stage_3:
            self._initialize(None, [])
        else:
            self.model_to_device()
        self.setup_precision_plugin()

    def model_to_device(self) -> None:
        """Move the module to the device of this process."""
        if self.model is not None:
            self.module_to_device(self.model)

    def init_deepspeed(self) -> None:
        """Make the engine for the one optimizer of the run."""
        module = self._lightning_module
        assert module is not None, "connect() comes first"
        if len(self.optimizers) > 1:
            raise MisconfigurationException(
                f"`strategy='deepspeed'` steps one optimizer, and `configure_optimizers` returned "
                f"{len(self.optimizers)}. Return one."
            )
        if not self.optimizers and "optimizer" not in self.config:
            raise MisconfigurationException(
                "`strategy='deepspeed'` needs an optimizer: return one from "
                "`configure_optimizers`, or name it in `config`."
            )
        if "activation_checkpointing" in self.config:
            options = self.config["activation_checkpointing"]
            import_deepspeed().checkpointing.configure(
                mpu_=None,
                partition_activations=options.get("partition_activations"),
                contiguous_checkpointing=options.get("contiguous_memory_optimization"),
                checkpoint_in_cpu=options.get("cpu_checkpointing"),
            )
        trained = [p for p in module.parameters() if p.requires_grad]
        self._initialize(self.optimizers[0] if self.optimizers else None, trained)
        self.optimizers = [self._engine.optimizer]

    def _initialize(self, optimizer: Optimizer | None, trained: list[nn.Parameter]) -> None:
        deepspeed = import_deepspeed()
        deepspeed.utils.logging.logger.setLevel(self._logging_level)
        self._engine, *_ = deepspeed.initialize(
            model=self.model,
            model_parameters=trained or None,
            optimizer=optimizer,
            config=self.config,
            dist_init_required=False,
        )
        self.model = self._engine
        if isinstance(self.precision_plugin, DeepSpeedPrecision):
            self.precision_plugin.engine = self._engine

    def _complete_config(self) -> None:
        """Add what only the trainer knows."""
        assert self._lightning_module is not None, "connect() comes first"
        trainer: Any = self._lightning_module.trainer
        config = self.config
        config["gradient_accumulation_steps"] = 1  # windows are the trainer's
        if "train_batch_size" not in config and "train_micro_batch_size_per_gpu" not in config:
            config["train_micro_batch_size_per_gpu"] = self._batch_size(trainer)
        if trainer.gradient_clip_val:
            if trainer.gradient_clip_algorithm == "value":
                raise MisconfigurationException(
                    "`gradient_clip_algorithm='value'`: DeepSpeed clips the norm. Pass 'norm'."
                )
            config["gradient_clipping"] = float(trainer.gradient_clip_val)
        add_precision(config, self.precision_plugin.precision, self._options)

    def _batch_size(self, trainer: Any) -> int:
        given = self._options["logging_batch_size_per_gpu"]
        if given != "auto":
            return int(given)
        loader = trainer.train_dataloader if trainer.state.fn == "fit" else None
        return int(getattr(loader, "batch_size", None) or 1)

    def setup_module(self, module: nn.Module) -> nn.Module:
        """Refused: the engine belongs to a run of the trainer."""
        raise MisconfigurationException(
            "`strategy='deepspeed'` trains under `Trainer`; with `Fabric` pass strategy='ddp' or "
            "'fsdp'."
        )

    def tensor_init_context(self, empty_init: bool | None = None) -> AbstractContextManager[Any]:
        """New tensors are of the precision; where they lie is the engine's."""
        return self.precision_plugin.tensor_init_context()

    @contextmanager
    def model_sharded_context(self) -> Iterator[None]:
        """Stage 3 splits the parameters of new layers at once."""
        if not self.zero_stage_3:
            yield
            return
        self._complete_config()
        # its `dtype` is not heeded everywhere; the configuration is
        with import_deepspeed().zero.Init(
            remote_device=self.remote_device, config_dict_or_path=self.config
        ):
            yield

    # One batch.

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `training_step` through the engine."""
        with self.precision_plugin.train_step_context():
            return self._through_engine("training_step", args, kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `validation_step` through the engine."""
        with self.precision_plugin.val_step_context():
            return self._through_engine("validation_step", args, kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `test_step` through the engine."""
        with self.precision_plugin.test_step_context():
            return self._through_engine("test_step", args, kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `predict_step` through the engine."""
        with self.precision_plugin.predict_step_context():
            return self._through_engine("predict_step", args, kwargs)

    def _through_engine(self, name: str, args: Any, kwargs: Any) -> Any:
        module, engine = self._lightning_module, self._engine
        assert module is not None, "connect() comes first"
        method: Callable[..., Any] = getattr(module, name)
        if engine is None:
            return method(*args, **kwargs)
        return call_through(engine, module, method, args, kwargs)

    def backward(
        self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Compute the gradients; the engine exchanges them where a window ends."""
        self._unreduced = not self._engine.is_gradient_accumulation_boundary()
        return super().backward(closure_loss, optimizer, *args, **kwargs)

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """A context in which gradients are accumulated without being exchanged."""
        if self._engine is None:
            yield
            return
        self._engine.set_gradient_accumulation_boundary(False)
        try:
            yield
        finally:
            self._engine.set_gradient_accumulation_boundary(True)

    def run_alone(self) -> AbstractContextManager[Any]:
        """Refused: the engine of one process cannot go on without the others."""
        raise MisconfigurationException(
            "`strategy='deepspeed'`: the processes have different numbers of batches, and its "
            "engine needs all of them for each. Give every process as many."
        )

    def average_gradients(self, parameters: Iterable[nn.Parameter], share: float) -> None:
        """Have the engine exchange what it did not yet; it takes the mean."""
        self._reduce()

    def _reduce(self) -> None:
        if self._unreduced:
            self._engine.set_gradient_accumulation_boundary(True)
            self._engine.allreduce_gradients()
            self._unreduced = False

    def scale_gradients(self, optimizer: Optimizer, factor: float) -> None:
        """Multiply the gradients, which the engine holds, when it steps."""
        self._factor *= factor

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any] | None,
        model: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        """Step through the engine.

        Returns:
            What the closure returned.
        """
        self._factor = 1.0
        owner = model if model is not None else self._lightning_module
        with ExitStack() as until_stepped:

            def compute() -> Any:
                result = closure() if closure is not None else None
                self._reduce()
                if self._factor != 1.0:
                    until_stepped.enter_context(scaled(self._engine, self._factor))
                return result

            return self.precision_plugin.optimizer_step(
                optimizer, model=owner, closure=compute, **kwargs
            )

    # State.

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """The engine reads checkpoints."""
        return True

    @property
    def lightning_restore_optimizer(self) -> bool:
        """The engine does."""
        return False

    @property
    def saves_alone(self) -> bool:
        """Each process writes its part."""
        return self._engine is None

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Nothing in `fit`, where the engine writes the weights."""
        return super().lightning_module_state_dict() if self._engine is None else {}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Nothing: the engine writes it."""
        return {}

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filepath: str | Path,
        storage_options: Any | None = None,
    ) -> None:
        """Let the engine write a folder, whole or not at all; all processes take part."""
        if storage_options is not None:
            raise TypeError(
                f"`storage_options={storage_options!r}`: DeepSpeed writes checkpoints itself and "
                "takes none."
            )
        if self._engine is None:
            super().save_checkpoint(checkpoint, filepath)
            return
        if self.background is not None:
            warnings_given.warn(
                "DeepSpeed writes its checkpoints itself: training waits for them, although saving "
                "in the background was asked for."
            )
        files.save(self, self._engine, checkpoint, self.broadcast(os.fspath(filepath)))

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a folder of DeepSpeed, or one file of any other strategy for its weights."""
        path = os.fspath(checkpoint_path)
        if not os.path.isdir(path):
            return super().load_checkpoint(path, weights_only)
        if weights_only:
            raise ValueError(
                "`weights_only=True`: DeepSpeed reads its folders with `pickle`. Leave it out for "
                "a folder that you trust."
            )
        module = self._lightning_module
        assert module is not None, "connect() comes first"
        if self._engine is None or module.trainer.state.fn != "fit":
            return files.read(path, weights_only)
        checkpoint = files.load(self._engine, path, weights_only, strict=module.strict_loading)
        self._is_loaded = True
        return checkpoint

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take the weights of a file; those of a folder the engine has taken already."""
        if self._is_loaded:
            return
        module = self._lightning_module
        assert module is not None, "connect() comes first"
        with self._whole_parameters(module):
            super().load_model_state_dict(checkpoint, strict=strict)
        optimizer: Any = getattr(self._engine, "optimizer", None)
        if optimizer is not None and hasattr(optimizer, "refresh_fp32_params"):
            optimizer.refresh_fp32_params()

    def _whole_parameters(self, module: nn.Module) -> AbstractContextManager[Any]:
        if not self.zero_stage_3 or self._engine is None:
            return NOTHING
        gathered: AbstractContextManager[Any] = import_deepspeed().zero.GatheredParameters(
            list(module.parameters()), modifier_rank=0
        )
        return gathered

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Nothing: the engine has read it."""

    # The end.

    def teardown(self) -> None:
        """Let go of the engine, and bring the module home."""
        engine, self._engine = self._engine, None
        self.model = self._lightning_module
        self.optimizers = []
        if engine is not None:
            engine.destroy()
        nn.functional.linear = self._linear
        super().teardown()

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Register `deepspeed` and its stages."""
        for name, options in NAMES.items():
            about = name.removeprefix("deepspeed").replace("_", " ").strip() or "stage 2"
            strategy_registry.register(name, cls, description=f"DeepSpeed: {about}", **options)
