"""Quantized or 8-bit layers by the package torchao."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from pytorch_lightning.precision.precision import Precision
from pytorch_lightning.utilities.imports import import_optional


class TorchAOPrecision(Precision):
    """Lets torchao convert the module before its optimizers are made.

    Example: `Trainer(plugins=TorchAOPrecision(Int8WeightOnlyConfig()))`.

    Args:
        config: What `torchao.quantization.quantize_` takes, `QATConfig` included, or a
            `torchao.float8.Float8LinearConfig`, which trains linear layers in 8 bits.
        filter_fn: Gets a layer and its dotted name, and says whether to convert it.
    """

    def __init__(
        self, config: Any, filter_fn: Callable[[nn.Module, str], bool] | None = None
    ) -> None:
        import_optional("torchao", purpose="`TorchAOPrecision`")
        self.config = config
        self.filter_fn = filter_fn

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Convert the layers in place."""
        if type(self.config).__module__.startswith("torchao.float8"):
            float8: Any = import_optional("torchao.float8", purpose="`TorchAOPrecision`")
            converted: nn.Module = float8.convert_to_float8_training(
                module, config=self.config, module_filter_fn=self.filter_fn
            )
            return converted
        quantization: Any = import_optional("torchao.quantization", purpose="`TorchAOPrecision`")
        quantization.quantize_(module, self.config, filter_fn=self.filter_fn)
        return module
