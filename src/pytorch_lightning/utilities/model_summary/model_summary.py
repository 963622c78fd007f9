"""A whole model as a table of its layers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from pytorch_lightning.utilities.model_summary.layer import (
    UNKNOWN_SIZE,
    LayerSummary,
    count_elements,
    parse_batch_shape,
)
from pytorch_lightning.utilities.model_summary.table import (
    Column,
    format_columns,
    format_footer,
    get_formatted_model_size,
    get_human_readable_count,
    readable_size,
)
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.seed import isolate_rng
from pytorch_lightning.utilities.tree import move_data_to_device

__all__ = [
    "LEFTOVER_PARAMS_NAME",
    "NOT_APPLICABLE",
    "UNKNOWN_SIZE",
    "LayerSummary",
    "ModelSummary",
    "get_formatted_model_size",
    "get_human_readable_count",
    "parse_batch_shape",
    "summarize",
    "warning_cache",
]

LEFTOVER_PARAMS_NAME = "other params"
NOT_APPLICABLE = "n/a"
warning_cache = warnings_given


class ModelSummary:
    """The layers of a model, with their sizes, as a table.

    Where the model has an `example_input_array`, a forward pass in eval mode fills in the shapes.

    Args:
        model: Any module.
        max_depth: How deep to look; 0 shows totals only, -1 every layer.
        flops: Also count the floating-point operations of that forward pass. This loads
            torch's compiler, which takes a second.
    """

    def __init__(self, model: nn.Module, max_depth: int = 1, *, flops: bool = False) -> None:
        if not isinstance(max_depth, int) or max_depth < -1:
            raise ValueError(f"`max_depth` can be -1, 0 or > 0, got {max_depth}.")
        self._model = model
        self._max_depth = max_depth
        self._flops = _FlopCounter() if flops and self._example_input is not None else None
        self._layer_summary = self.summarize()

    def summarize(self) -> dict[str, LayerSummary]:
        """Look at the layers again, and run the example input through them."""
        summary = {name: self._summarize_layer(module) for name, module in self.named_modules}
        try:
            if self._example_input is not None:
                self._forward_example_input()
        finally:
            for layer in summary.values():
                layer.detach_hook()
        if any(layer.is_lazy for layer in summary.values()):
            warning_cache.warn(
                "Some layers are lazy: the number of their parameters is not known before their "
                "first input. Set `example_input_array` in the module to see it."
            )
        return summary

    def _summarize_layer(self, module: nn.Module) -> LayerSummary:
        return LayerSummary(module)

    @property
    def _example_input(self) -> Any:
        return getattr(self._model, "example_input_array", None)

    def _forward_example_input(self) -> None:
        model, trainer = self._model, getattr(self._model, "_trainer", None)
        inputs = self._example_input
        context: AbstractContextManager[Any] = nullcontext()
        if trainer is not None:
            precision = trainer.precision_plugin
            inputs, context = precision.convert_input(inputs), precision.forward_context()
        first = next(model.parameters(), None)
        if first is not None:
            inputs = move_data_to_device(inputs, first.device)
        counting = self._flops.counter if self._flops is not None else nullcontext()
        with isolate_rng(), torch.no_grad(), _eval_mode(model), context, counting:
            if isinstance(inputs, list | tuple):
                model(*inputs)
            elif isinstance(inputs, dict):
                model(**inputs)
            else:
                model(inputs)

    @property
    def named_modules(self) -> list[tuple[str, nn.Module]]:
        """The layers that are shown, each once."""
        if self._max_depth == 0:
            return []
        if self._max_depth == 1:
            return list(self._model.named_children())
        named = [(name, m) for name, m in self._model.named_modules() if name]
        if self._max_depth == -1:
            return named
        return [(name, m) for name, m in named if name.count(".") < self._max_depth]

    @property
    def layer_names(self) -> list[str]:
        """The names of the layers."""
        return list(self._layer_summary)

    @property
    def layer_types(self) -> list[str]:
        """The names of their classes."""
        return [layer.layer_type for layer in self._layer_summary.values()]

    @property
    def in_sizes(self) -> list[Any]:
        """The shapes of what went into them."""
        return [layer.in_size for layer in self._layer_summary.values()]

    @property
    def out_sizes(self) -> list[Any]:
        """The shapes of what came out."""
        return [layer.out_size for layer in self._layer_summary.values()]

    @property
    def param_nums(self) -> list[int]:
        """How many parameters each layer has."""
        return [layer.num_parameters for layer in self._layer_summary.values()]

    @property
    def training_modes(self) -> list[bool]:
        """Which layers are in train mode."""
        return [layer.training for layer in self._layer_summary.values()]

    @property
    def total_training_modes(self) -> dict[str, int]:
        """How many modules below the model are in train and in eval mode."""
        modes = [module.training for module in self._model.modules()][1:]
        return {"train": modes.count(True), "eval": modes.count(False)}

    @property
    def total_parameters(self) -> int:
        """How many parameters there are, shared ones counted once."""
        return count_elements(self._model.parameters())

    @property
    def trainable_parameters(self) -> int:
        """How many of them need a gradient."""
        return count_elements(p for p in self._model.parameters() if p.requires_grad)

    @property
    def total_layer_params(self) -> int:
        """How many parameters the layers shown have together, shared ones counted once."""
        shown = {id(p): p for _, module in self.named_modules for p in module.parameters()}
        return count_elements(shown.values())

    @property
    def model_size(self) -> float:
        """The size of the parameters in megabytes, each in its own type."""
        parameters = [p for p in self._model.parameters() if count_elements([p])]
        return sum(p.numel() * p.element_size() for p in parameters) / 1e6

    @property
    def flop_counts(self) -> dict[str, int]:
        """The operations of each layer; empty unless they were asked for."""
        if self._flops is None:
            return {}
        return {name: self._flops.of_layer(self._model, name) for name in self.layer_names}

    @property
    def total_flops(self) -> int:
        """The operations of one forward pass; 0 unless they were asked for."""
        return 0 if self._flops is None else self._flops.total()

    def columns(self) -> list[Column]:
        """The table, column by column, without its footer."""
        layers = list(self._layer_summary.values())
        params = [
            UNKNOWN_SIZE if layer.is_lazy else get_human_readable_count(layer.num_parameters)
            for layer in layers
        ]
        table: list[Column] = [
            (" ", [str(index) for index in range(len(layers))]),
            ("Name", self.layer_names),
            ("Type", self.layer_types),
            ("Params", params),
            ("Mode", ["train" if mode else "eval" for mode in self.training_modes]),
        ]
        if self._flops is not None:
            counts = [get_human_readable_count(n) for n in self.flop_counts.values()]
            table.append(("FLOPs", counts))
        if self._example_input is not None:
            table.append(("In sizes", [str(size) for size in self.in_sizes]))
            table.append(("Out sizes", [str(size) for size in self.out_sizes]))
        leftover = self.total_parameters - self.total_layer_params
        if leftover > 0:
            row = {" ": " ", "Name": LEFTOVER_PARAMS_NAME}
            row["Params"] = get_human_readable_count(leftover)
            for title, cells in table:
                cells.append(row.get(title, NOT_APPLICABLE))
        return table

    _get_summary_data = columns  # the name that callbacks for earlier releases call

    def totals(self) -> dict[str, str]:
        """The lines below the table: what is counted, and the count."""
        trainable, total = self.trainable_parameters, self.total_parameters
        size = f"Total estimated model params size (MB), {readable_size(self.model_size * 1e6)}"
        modes = self.total_training_modes
        lines = {
            "Trainable params": get_human_readable_count(trainable),
            "Non-trainable params": get_human_readable_count(total - trainable),
            "Total params": get_human_readable_count(total),
            size: get_formatted_model_size(self.model_size),
            "Modules in train mode": str(modes["train"]),
            "Modules in eval mode": str(modes["eval"]),
        }
        if self._flops is not None:
            lines["Total Flops"] = get_human_readable_count(self.total_flops)
        return lines

    def __str__(self) -> str:
        return f"{format_columns(self.columns())}\n{format_footer(self.totals())}"

    __repr__ = __str__


class _FlopCounter:
    """Counts while it is entered; made once, since making it loads the compiler."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import FlopCounterMode

        self.counter = FlopCounterMode(display=False)

    def total(self) -> int:
        return int(self.counter.get_total_flops())

    def of_layer(self, model: nn.Module, name: str) -> int:
        counts = self.counter.get_flop_counts()
        return sum(counts.get(f"{type(model).__name__}.{name}", {}).values())


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and each as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def summarize(
    lightning_module: nn.Module, max_depth: int = 1, *, flops: bool = False
) -> ModelSummary:
    """The summary of a model.

    Args:
        max_depth: How deep to look; 0 shows totals only, -1 every layer.
        flops: Also count the floating-point operations of a forward pass.
    """
    return ModelSummary(lightning_module, max_depth=max_depth, flops=flops)
