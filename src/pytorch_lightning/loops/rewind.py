"""What a batch changes before its optimizer step, kept so that it can run again."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pytorch_lightning.loops.metric_objects import capture_metrics
from pytorch_lightning.loops.parameter_groups import Groups, groups_of
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.seed import capture_rng
from pytorch_lightning.utilities.tree import map_leaves


class BatchStart(NamedTuple):
    """A run as it was before the batch that is running was asked for."""

    state: dict[str, Any]
    rng: dict[str, Any]
    results: list[Any]
    metrics: dict[str, Any]
    buffers: dict[str, Tensor]
    gradients: dict[str, Tensor]
    groups: list[Groups]


def batch_start(run: Run) -> BatchStart:
    """Copy what is not changed by optimizers alone."""
    return BatchStart(
        state=run.state.state_dict(),
        rng=capture_rng(),
        results=run.publish.train.state_dict(run.module),
        metrics=map_leaves(capture_metrics(run.module), Tensor, torch.clone),
        buffers={name: buffer.detach().clone() for name, buffer in run.module.named_buffers()},
        gradients={name: grad.clone() for name, grad in open_gradients(run).items()},
        groups=groups_of(run.module, run.raw_optimizers),
    )


def open_gradients(run: Run) -> dict[str, Tensor]:
    """Gradients of an accumulation window that is still open."""
    if not any(run.state.held):
        return {}
    return {
        name: parameter.grad.detach()
        for name, parameter in run.module.named_parameters()
        if parameter.grad is not None
    }
