"""Weights of linear layers in 4 or 8 bits by the package bitsandbytes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from pytorch_lightning.precision.layers import exchange_layers
from pytorch_lightning.precision.precision import DefaultDtype, Precision
from pytorch_lightning.utilities.imports import import_optional
from pytorch_lightning.utilities.plain_mark import plain
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.tree import map_leaves

Mode = Literal["nf4", "nf4-dq", "fp4", "fp4-dq", "int8", "int8-training"]


class BitsandbytesPrecision(Precision):
    """Keeps the weights of linear layers quantized, and computes in 16 bits.

    Weights in 4 bits and those of 'int8' are not trained; other parameters are.

    Args:
        mode: 'nf4' and 'fp4' have 4 bits, '-dq' quantizes their scales too.
        dtype: In which to compute: bfloat16 for 4 bits, float16 for 8 by default.
        ignore_modules: Beginnings of the names of submodules that are left alone.
    """

    def __init__(
        self,
        mode: Mode,
        dtype: torch.dtype | None = None,
        ignore_modules: set[str] | None = None,
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"`mode={mode!r}`: pass one of {', '.join(get_args(Mode))}.")
        eight = mode.startswith("int8")
        if eight and dtype not in (None, torch.float16):
            raise ValueError(
                f"`dtype={dtype}`: mode={mode!r} computes in torch.float16. Leave it out."
            )
        self._package: Any = import_optional("bitsandbytes", purpose="`BitsandbytesPrecision`")
        self.mode = mode
        self.dtype = dtype or (torch.float16 if eight else torch.bfloat16)
        self.precision = {torch.float16: "16-true", torch.bfloat16: "bf16-true"}.get(
            self.dtype, "32-true"
        )
        self.ignore_modules = ignore_modules or set()
        self._context = DefaultDtype(self.dtype)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Exchange linear layers; their weights are quantized as they reach the device."""
        kinds = (self._package.nn.Linear4bit, self._package.nn.Linear8bitLt)
        if not any(isinstance(layer, kinds) for layer in module.modules()) and not exchange_layers(
            module, self._quantized, self.ignore_modules
        ):
            warnings_given.warn(
                "`BitsandbytesPrecision`: the module has no `torch.nn.Linear` to quantize."
            )
        theirs = {p for m in module.modules() if isinstance(m, kinds) for p in m.parameters()}
        for parameter in module.parameters():
            if parameter not in theirs and parameter.is_floating_point():
                parameter.data = parameter.data.to(self.dtype)
        for owner in module.modules():
            for name, buffer in owner._buffers.items():
                if buffer is not None and buffer.is_floating_point():
                    owner._buffers[name] = buffer.to(self.dtype)
        return module

    def _quantized(self, layer: nn.Module) -> nn.Module | None:
        if type(layer) is not nn.Linear:
            return None
        shape, bias = (layer.in_features, layer.out_features), layer.bias is not None
        if self.mode.startswith("int8"):
            trained = self.mode == "int8-training"
            new = self._package.nn.Linear8bitLt(
                *shape, bias=bias, has_fp16_weights=trained, threshold=6.0
            )
        else:
            new = self._package.nn.Linear4bit(
                *shape,
                bias=bias,
                compute_dtype=self.dtype,
                compress_statistics=self.mode.endswith("-dq"),
                quant_type=self.mode[:3],
            )
        new.load_state_dict(layer.state_dict())
        if bias:
            new.bias.data = new.bias.data.to(self.dtype)
        made: nn.Module = new
        return made

    def _to(self, data: Any, dtype: torch.dtype) -> Any:
        return map_leaves(data, Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t)

    def convert_input(self, data: Any) -> Any:
        """Bring the floating point tensors of a batch to the type that is computed in."""
        return self._to(data, self.dtype)

    @plain
    def convert_output(self, data: Any) -> Any:
        """Bring floating point results to torch's default type, in Fabric."""
        return self._to(data, torch.get_default_dtype())

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """New tensors are of the type that is computed in."""
        return self._context

    def forward_context(self) -> AbstractContextManager[Any]:
        """Tensors that `forward` makes are of the type that is computed in."""
        return self._context
