"""What strategies have in common under which each process holds a part of the parameters."""

from __future__ import annotations

import os
from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from pytorch_lightning.checkpoint import schema
from pytorch_lightning.checkpoint.atomic import local_path, remove_path
from pytorch_lightning.checkpoint.parts import EachRank
from pytorch_lightning.checkpoint.sharded import Party, is_sharded, load_sharded, save_sharded
from pytorch_lightning.checkpoint.sharded_save import Plans, stage_sharded
from pytorch_lightning.strategies.gathering import NoExchange, call, is_unit, passage
from pytorch_lightning.strategies.parallel import ParallelStrategy
from pytorch_lightning.strategies.placement import load_optimizer_states
from pytorch_lightning.strategies.strategy import NOTHING
from pytorch_lightning.utilities.dtensor import divided, gathered, is_dtensor
from pytorch_lightning.utilities.exceptions import CheckpointError, MisconfigurationException
from pytorch_lightning.utilities.tree import map_leaves


class ShardedStrategy(ParallelStrategy, ABC):
    """Parameters, gradients and optimizer states are divided among the processes.

    After a run the module stays divided, since one process may have no room for all of it. The
    next run of the same processes goes on with it; a checkpoint brings it elsewhere.
    """

    forward_communicates = True
    allows_inference_mode = False  # what is gathered under it can never be trained again
    saves_in_parts = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._through: Callable[..., Any] = call
        self._root: Any | None = None
        self._passages: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
        self._manual = False
        self._plans = Plans()

    @property
    def is_distributed(self) -> bool:
        """It is."""
        return True

    # Set-up.

    def setup_optimizers(self, trainer: Any) -> None:
        """Make optimizers and schedulers; the parameters are divided by then."""
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            self.setup_optimizer(optimizer)

    def setup_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Prepare an optimizer for parameters of which this process holds a part."""
        if isinstance(optimizer, LBFGS):
            raise MisconfigurationException(
                "`configure_optimizers` returned LBFGS, which makes one vector of all parameters "
                "and cannot do so where each process holds a part. Pass strategy='ddp', or return "
                "another optimizer."
            )
        meshes = {mesh_of(parameter) for parameter in parameters_of(optimizer)}
        if len(meshes) > 1 and getattr(self.precision_plugin, "scaler", None) is not None:
            raise MisconfigurationException(
                "`precision='16-mixed'`: torch's gradient scaler takes parameters that are all "
                "divided alike, and some of these stay whole or are divided otherwise, such as "
                "those without a dimension. Pass precision='bf16-mixed', or give each kind an "
                "optimizer."
            )
        for group in optimizer.param_groups:
            if len({mesh_of(p) for p in group["params"]}) > 1 and group.get("foreach", 0) is None:
                group["foreach"] = False  # torch's loops over lists take tensors of one mesh
        return optimizer

    # One batch.

    def gather_in_steps(self) -> None:
        """Let the steps of the module run with the parameters of its root gathered."""
        module = self._lightning_module
        assert module is not None, "connect() comes first"
        self._manual = not module.automatic_optimization
        if is_unit(module):
            self._root, self._through = module, passage(module)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `training_step` with the parameters of the root gathered."""
        module: Any = self._lightning_module
        with self.precision_plugin.train_step_context():
            output = self._through(module.training_step, *args, **kwargs)
        if self._manual or output is None:  # no backward follows that would let them go
            self._let_go()
        return output

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `validation_step` with the parameters of the root gathered."""
        module: Any = self._lightning_module
        with self.precision_plugin.val_step_context():
            output = self._through(module.validation_step, *args, **kwargs)
        self._let_go()
        return output

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `test_step` with the parameters of the root gathered."""
        module: Any = self._lightning_module
        with self.precision_plugin.test_step_context():
            output = self._through(module.test_step, *args, **kwargs)
        self._let_go()
        return output

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `predict_step` with the parameters of the root gathered."""
        module: Any = self._lightning_module
        with self.precision_plugin.predict_step_context():
            output = self._through(module.predict_step, *args, **kwargs)
        self._let_go()
        return output

    def _let_go(self) -> None:
        if self._root is not None:
            self._root.reshard()

    def backward(
        self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Compute the gradients; each process gets its part of their mean.

        Returns:
            The loss as the precision leaves it.
        """
        if self._manual:  # the step is still running, and has not handed its loss out
            self._through(lambda: closure_loss)
        loss = super().backward(closure_loss, optimizer, *args, **kwargs)
        if self._manual and self._root is not None:
            self._root.unshard()  # the rest of the step may use them
        return loss

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any] | None,
        model: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        """Step one optimizer.

        Returns:
            What the closure returned.
        """
        result = super().optimizer_step(optimizer, closure, model, **kwargs)
        if self._manual and self._root is not None:
            self._root.reshard()  # what the rest of the step uses is gathered anew
            self._root.unshard()
        return result

    def call_method(
        self, wrapped: nn.Module, method: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Call another method than `forward` with the parameters of a module gathered."""
        inside = getattr(wrapped, "_orig_mod", wrapped)
        if inside not in self._passages:
            self._passages[inside] = passage(inside) if is_unit(inside) else call
        return self._passages[inside](method, *args, **kwargs)

    def no_backward_sync(self, wrapped: nn.Module) -> AbstractContextManager[Any]:
        """A context in which a module accumulates its whole gradients unexchanged, for Fabric."""
        return NoExchange(getattr(wrapped, "_orig_mod", wrapped))

    def block_backward_sync(self) -> AbstractContextManager[Any]:
        """Each backward of a run exchanges all the same.

        Whole gradients that wait would take the memory that dividing them saves, and could not be
        exchanged any more where a window ends early.
        """
        return NOTHING

    def scale_gradients(self, optimizer: Optimizer, factor: float) -> None:
        """Multiply the gradients of one optimizer: of each this process's part."""
        for parameter in parameters_of(optimizer):
            if parameter.grad is not None:
                part: Any = parameter.grad
                (part.to_local() if is_dtensor(part) else part).mul_(factor)

    def average_gradients(self, parameters: Iterable[nn.Parameter], share: float) -> None:
        """Nothing is left to do: each backward exchanges its gradients."""

    def run_alone(self) -> AbstractContextManager[Any]:
        """No process can step alone: the others hold its parameters."""
        return NOTHING

    # State.

    @property
    def party(self) -> Party:
        """Who writes and reads checkpoints together."""
        if self.world_size == 1:
            return Party()
        return Party(self.global_rank, self.world_size, self.gather_objects, self.control_group)

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """A checkpoint is read when it is known who holds which part."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The weights for a checkpoint: in parts, or whole on rank 0 and without values elsewhere.

        Every process has to call this.
        """
        state = super().lightning_module_state_dict()
        return state if self.saves_in_parts else self.whole(state)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of one optimizer: in parts, or whole on rank 0 and without values elsewhere.

        Every process has to call this.
        """
        state = optimizer.state_dict()
        return state if self.saves_in_parts else self.whole(state)

    def whole(self, tree: Any) -> Any:
        """The same with whole tensors, on the CPU of rank 0; others get shapes alone."""
        first = self.is_global_zero

        def bring(tensor: Tensor) -> Tensor:
            if not is_dtensor(tensor):
                return tensor
            found = gathered(tensor.detach())
            return found.cpu() if first else torch.empty_like(found, device="meta")

        return map_leaves(tree, Tensor, bring)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take the weights of a checkpoint; each process keeps its part."""
        assert self._lightning_module is not None, "connect() comes first"
        self.restore_module(self._lightning_module, checkpoint["state_dict"], strict)

    def restore_module(self, module: nn.Module, state: Mapping[str, Any], strict: bool) -> Any:
        """Take weights into any module; each process keeps its part."""
        targets = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        parts = {name: _part(value, targets.get(name)) for name, value in state.items()}
        return module.load_state_dict(parts, strict=strict)

    def restore_optimizer(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Take the state of any optimizer; each process keeps its part."""
        optimizer.load_state_dict(divided_optimizer_state(optimizer, state))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the states of the optimizers of a checkpoint; each process keeps its part."""
        states = checkpoint["optimizer_states"]
        pairs = zip(self.optimizers, states, strict=False)
        divided_states = [divided_optimizer_state(o, s) for o, s in pairs]
        load_optimizer_states(self.optimizers, [*divided_states, *states[len(divided_states) :]])
        module = self._lightning_module
        own = (checkpoint.get("loops") or {}).get(schema.OWN)
        if module is not None and own:
            own["gradients"] = _divided_gradients(own, module)

    def of_all_ranks(self, value: Any) -> Any:
        """What all processes have of something; parts bring it along with their first message."""
        return EachRank(value) if self.saves_in_parts else super().of_all_ranks(value)

    @property
    def copies_in_all_ranks(self) -> bool:
        """Whether a save that came now would be one in parts in the background."""
        background = self.background
        return self.saves_in_parts and background is not None and background.saves_in_background

    @property
    def writes_plain_files(self) -> bool:
        """Folders of parts are of our own kind, whatever writes single files."""
        return self.saves_in_parts or super().writes_plain_files

    @property
    def saves_alone(self) -> bool:
        """Several processes hold parts of one state."""
        return self.world_size == 1

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint: a folder of parts, or one file. Every process has to call this."""
        if not self.saves_in_parts:
            self._save_whole(checkpoint, filepath, storage_options)
            return
        if storage_options is not None:
            raise TypeError(
                f"`storage_options={storage_options!r}`: a checkpoint in parts takes none."
            )
        background = self.background
        if background is None or not self.copies_in_all_ranks:
            save_sharded(checkpoint, filepath, self.party)
            return
        self._unsettled = True
        part = stage_sharded(checkpoint, filepath, self.party, background.stage, self._plans)
        part.is_abandoned = background.is_abandoned
        background.hand_over(part.write_apart)

    def _save_whole(self, checkpoint: dict[str, Any], filepath: str | Path, options: Any) -> None:
        checkpoint = self.whole(checkpoint)  # what hooks added may be divided too
        name = os.fspath(filepath)
        if self.is_global_zero and is_sharded(name):
            remove_path(local_path(name))
        super().save_checkpoint(checkpoint, filepath, storage_options=options)

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of one file, or one in parts, of which each process reads its own."""
        self.finish_saves()
        if not is_sharded(checkpoint_path):
            return super().load_checkpoint(checkpoint_path, weights_only=weights_only)
        return load_sharded(
            checkpoint_path,
            self._target(),
            self.party,
            map_location="cpu",
            weights_only=weights_only,
        )

    def _target(self) -> Any:
        """Where the values of a checkpoint in parts go, by their keys."""
        module = self._lightning_module
        likes: dict[str, Any] = {}
        if module is not None:
            likes = {f"state_dict.{name}": value for name, value in module.named_parameters()}
            likes.update((f"state_dict.{name}", value) for name, value in module.named_buffers())
        states = {
            f"optimizer_states.{index}.state.{place}": parameter
            for index, optimizer in enumerate(self.optimizers)
            for place, parameter in enumerate(parameters_of(optimizer))
        }

        def target(key: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
            like: Any = likes.get(key)
            if key.startswith("optimizer_states."):
                if not self.optimizers:  # nobody trains
                    return torch.empty(size, dtype=dtype, device="meta")
                like = states.get(key.rpartition(".")[0])
            if is_dtensor(like) and like.shape == size:
                return torch.empty_like(like, dtype=dtype, requires_grad=False)
            return torch.empty(size, dtype=dtype)

        return target

    # The end.

    def teardown(self) -> None:
        """End the parts; the module and its optimizers stay where they are, divided."""
        self._through, self._root, self._manual = call, None, False
        self._plans = Plans()  # they hold meshes
        module, self._lightning_module = self._lightning_module, None
        optimizers, self._optimizers = self._optimizers, []
        try:
            super().teardown()
        finally:
            self._lightning_module, self._optimizers = module, optimizers


def mesh_of(tensor: Any) -> Any | None:
    """The processes among which a tensor is divided; None where it is whole."""
    return tensor.device_mesh if is_dtensor(tensor) else None


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """The parameters in the order in which the state of the optimizer counts them."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _part(value: Any, like: Any) -> Any:
    """This process's part of a value, divided as the tensor is that takes it."""
    wanted = is_dtensor(like) and isinstance(value, Tensor) and not is_dtensor(value)
    if not wanted or value.shape != like.shape:
        return value
    if value.is_meta:
        raise CheckpointError("The checkpoint holds shapes without values: read it from a file.")
    return divided(value, like)


def _divided_gradients(own: dict[str, Any], module: nn.Module) -> dict[str, Any]:
    """The gradients of an open window, divided as the parameters are.

    Where each process kept its own ones they become their mean, as backward would make it here.
    """
    apart = [part.pop("gradients", {}) for part in own.get("ranks", ())]
    gradients = dict(own.get("gradients", {}))
    for name in {name for part in apart for name in part}:
        gradients[name] = sum(part[name] for part in apart if name in part) / len(apart)
    targets = dict(module.named_parameters())
    return {name: _part(value, targets.get(name)) for name, value in gradients.items()}


def divided_optimizer_state(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer with its tensors divided as the parameters they belong to are."""
    parameters = parameters_of(optimizer)
    entries = {}
    for place, values in state.get("state", {}).items():
        known = isinstance(place, int) and place < len(parameters)
        like = parameters[place] if known else None
        entries[place] = {name: _part(value, like) for name, value in values.items()}
    return {**state, "state": entries}
