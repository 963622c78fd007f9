"""The summary of a model whose parameters DeepSpeed has cut into shards."""

from collections.abc import Iterable
from typing import cast

from torch import nn
from torch.nn import Parameter

from pytorch_lightning.utilities.model_summary.layer import LayerSummary
from pytorch_lightning.utilities.model_summary.model_summary import NOT_APPLICABLE, ModelSummary
from pytorch_lightning.utilities.model_summary.table import Column, get_human_readable_count


def deepspeed_param_size(parameters: Iterable[Parameter]) -> int:
    """How many numbers the parameters hold on all devices together."""
    return sum(int(getattr(p, "ds_numel", None) or p.numel()) for p in parameters)


def shard_size(parameters: Iterable[Parameter]) -> int:
    """How many numbers the parameters hold on this device."""
    total = 0
    for parameter in parameters:
        shard = getattr(parameter, "ds_tensor", None)
        total += parameter.numel() if shard is None else shard.numel()
    return total


class DeepSpeedLayerSummary(LayerSummary):
    """One layer, counted over all devices and on this one."""

    @property
    def num_parameters(self) -> int:
        """How many numbers its parameters hold on all devices together."""
        return deepspeed_param_size(self._module.parameters())

    @property
    def average_shard_parameters(self) -> int:
        """How many of them lie on this device."""
        return shard_size(self._module.parameters())


class DeepSpeedSummary(ModelSummary):
    """The summary of a model that DeepSpeed has cut into shards."""

    def _summarize_layer(self, module: nn.Module) -> LayerSummary:
        return DeepSpeedLayerSummary(module)

    @property
    def total_parameters(self) -> int:
        """How many parameters there are on all devices together."""
        return deepspeed_param_size(self._model.parameters())

    @property
    def trainable_parameters(self) -> int:
        """How many of them need a gradient."""
        return deepspeed_param_size(p for p in self._model.parameters() if p.requires_grad)

    @property
    def total_layer_params(self) -> int:
        """How many parameters the layers shown have together, shared ones counted once."""
        shown = {id(p): p for _, module in self.named_modules for p in module.parameters()}
        return deepspeed_param_size(shown.values())

    @property
    def parameters_per_layer(self) -> list[int]:
        """How many numbers of each layer lie on this device."""
        layers = cast(list[DeepSpeedLayerSummary], list(self._layer_summary.values()))
        return [layer.average_shard_parameters for layer in layers]

    def columns(self) -> list[Column]:
        """The table, with a column for what lies on this device."""
        table = super().columns()
        counts = [get_human_readable_count(number) for number in self.parameters_per_layer]
        counts += [NOT_APPLICABLE] * (len(table[0][1]) - len(counts))
        position = [title for title, _ in table].index("Params") + 1
        table.insert(position, ("Params per Device", counts))
        return table
