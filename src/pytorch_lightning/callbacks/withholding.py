"""Optimizer steps that are left out because a loss or a gradient is not finite."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS

from pytorch_lightning.precision import Precision
from pytorch_lightning.utilities.signatures import accepts_parameter


class Withholding:
    """Stands around each optimizer step; keeps parameters and states of a bad one as they were.

    Fused optimizers of torch are told on the device, by `found_inf`, as a gradient scaler does.
    For others the host reads one value per step.

    Args:
        agree: Brings the verdict of one process to that of all, in place, on the device.
        precision: Of the run; a scaler's notes about a step are dropped with the step.
        in_kernels: Let fused optimizers skip by themselves; not where a scaler tells them to.

    Attributes:
        withheld: The host knows that the last step was left out.
    """

    def __init__(
        self,
        device: torch.device,
        precision: Precision,
        agree: Callable[[Tensor], Any],
        *,
        in_kernels: bool,
    ) -> None:
        self.device, self.precision, self.agree = device, precision, agree
        self.in_kernels = in_kernels
        self.withheld = False
        self._count = torch.zeros((), device=device)
        self._bad: dict[Any, Tensor] = {}  # by optimizer; None: seen since the last step
        self._fused: set[int] = set()  # optimizers whose kernels skip by themselves

    @property
    def count(self) -> int:
        """How many steps were left out; the host waits for the device."""
        return int(self._count)

    def see_loss(self, loss: Tensor, optimizer: Any) -> None:
        """Look at a loss before backward; the optimizer is None where the module steps itself."""
        finite = loss.detach().to(self.device, non_blocking=True).isfinite().all()
        self.see(finite, None if optimizer is None else id(optimizer))

    def see(self, finite: Tensor, optimizer: int | None) -> None:
        """Take in whether something that leads to the next step is finite."""
        bad = finite.logical_not().float()
        before = self._bad.get(optimizer)
        self._bad[optimizer] = bad if before is None else torch.maximum(before, bad)

    def _verdict(self, optimizer: Any) -> Tensor:
        """One where the step is bad on any rank, else zero."""
        found = [self._bad.pop(key, None) for key in (id(optimizer), None)]
        verdict = torch.zeros((), device=self.device)
        for bad in found:
            verdict = verdict if bad is None else torch.maximum(verdict, bad)
        self.agree(verdict)
        self._count += verdict
        return verdict

    def step(
        self,
        optimizer: Any,
        proceed: Callable[..., Any],
        closure: Callable[[], Any] | None = None,
        **options: Any,
    ) -> Any:
        """Compute the gradients, and step unless they are bad."""
        if isinstance(optimizer, LBFGS):
            return self._step_or_undo(optimizer, proceed, closure, options)
        result = None if closure is None else closure()
        asked_before = False

        def again() -> Any:  # some optimizers ask for another evaluation
            nonlocal asked_before
            first, asked_before = not asked_before, True
            return result if first or closure is None else closure()

        verdict = self._verdict(optimizer)
        if id(optimizer) in self._fused:
            self.withheld = False
            optimizer.found_inf, optimizer.grad_scale = verdict, None
            try:
                return proceed(again, **options)
            finally:
                del optimizer.found_inf, optimizer.grad_scale
        self.withheld = bool(verdict)
        if self.withheld:
            optimizer.zero_grad(set_to_none=True)
            self.precision.forget_step(optimizer)
            return result
        if self.in_kernels and _skips_by_itself(optimizer):
            # not before it has a state, which a kernel that skips would leave unwritten
            self._fused.add(id(optimizer))
        return proceed(again, **options)

    def _step_or_undo(
        self,
        optimizer: LBFGS,
        proceed: Callable[..., Any],
        closure: Callable[[], Any] | None,
        options: dict[str, Any],
    ) -> Any:
        """Take back a step whose closure, of which there are many calls, gave something bad."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in parameters]
        state = copy.deepcopy(optimizer.state_dict())
        result = proceed(closure, **options)
        self.withheld = bool(self._verdict(optimizer))
        if self.withheld:
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            optimizer.load_state_dict(state)
            optimizer.zero_grad(set_to_none=True)
        return result


def _skips_by_itself(optimizer: Any) -> bool:
    """Whether an optimizer looks at `found_inf`; those with a `grad_scaler` are not torch's."""
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    return bool(fused) and not accepts_parameter(optimizer.step, "grad_scaler")
