"""Matrix products in 8 bits by NVIDIA's Transformer Engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_lightning.precision.layers import exchange_layers
from pytorch_lightning.precision.precision import DefaultDtype, Precision
from pytorch_lightning.utilities.imports import import_optional
from pytorch_lightning.utilities.plain_mark import plain
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.tree import map_leaves

_NAMES = {torch.bfloat16: "transformer-engine", torch.float16: "transformer-engine-float16"}


class TransformerEnginePrecision(Precision):
    """Trains with 8 bits inside the layers of Transformer Engine, on a GPU that can.

    Args:
        weights_dtype: `torch.bfloat16` or `torch.float16`, for parameters and inputs.
        recipe: How to scale, as an object of the engine or as its arguments.
        replace_layers: Exchange `Linear` and `LayerNorm` for the engine's; None does it unless the
            module has some of the engine already.
        fallback_compute_dtype: For operations that have no 8 bits; as `weights_dtype` by default.
    """

    device_types = ("cuda",)

    def __init__(
        self,
        *,
        weights_dtype: torch.dtype,
        recipe: Any | None = None,
        replace_layers: bool | None = None,
        fallback_compute_dtype: torch.dtype | None = None,
    ) -> None:
        if weights_dtype not in _NAMES:
            raise ValueError(
                f"`weights_dtype={weights_dtype}`: pass torch.bfloat16 or torch.float16."
            )
        purpose = f"`precision={_NAMES[weights_dtype]!r}`"
        self._engine: Any = import_optional("transformer_engine.pytorch", purpose=purpose)
        self.precision = _NAMES[weights_dtype]
        self.weights_dtype = weights_dtype
        self.recipe = _as_recipe(recipe)
        self.replace_layers = replace_layers
        self.fallback_compute_dtype = fallback_compute_dtype or weights_dtype
        self._dtype = DefaultDtype(weights_dtype)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Exchange layers where asked for, and make the parameters 16 bits wide."""
        present = any(type(m).__module__.startswith("transformer_engine") for m in module.modules())
        if present and self.replace_layers:
            warnings_given.warn(
                "`replace_layers=True`: the module has layers of Transformer Engine already; its "
                "other layers are left as they are."
            )
        elif not present and self.replace_layers in (None, True):
            exchange_layers(module, self._engine_layer)
        return module.to(dtype=self.weights_dtype)

    def _engine_layer(self, layer: nn.Module) -> nn.Module | None:
        if type(layer) is nn.LayerNorm:
            new = self._engine.LayerNorm(layer.normalized_shape, eps=layer.eps)
        elif type(layer) is nn.Linear:
            # The kernels want multiples of 8 and 16.
            if layer.in_features % 8 or layer.out_features % 16:
                warnings_given.warn(
                    f"Linear({layer.in_features}, {layer.out_features}) stays as it is: 8 bits "
                    "need inputs in multiples of 8 and outputs in multiples of 16."
                )
                return None
            bias = layer.bias is not None
            new = self._engine.Linear(layer.in_features, layer.out_features, bias=bias)
        else:
            return None
        new.load_state_dict(layer.state_dict(), strict=False)  # theirs has a state of scales too
        made: nn.Module = new
        return made.to(next(layer.parameters()).device)

    def convert_input(self, data: Any) -> Any:
        """Make the floating point tensors of a batch 16 bits wide."""
        return _to(data, self.weights_dtype)

    @plain
    def convert_output(self, data: Any) -> Any:
        """Bring floating point results to torch's default type, in Fabric."""
        return _to(data, torch.get_default_dtype())

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """New tensors are 16 bits wide."""
        return self._dtype

    def forward_context(self) -> AbstractContextManager[Any]:
        """8 bits in the engine's layers, 16 elsewhere."""
        return self._in_8_bits()

    @contextmanager
    def _in_8_bits(self) -> Iterator[None]:
        autocast = torch.autocast("cuda", dtype=self.fallback_compute_dtype)
        eight = self._engine.fp8_autocast(enabled=True, fp8_recipe=self.recipe)
        with self._dtype, autocast, eight:
            yield


def _as_recipe(recipe: Any) -> Any:
    if recipe is None or not isinstance(recipe, Mapping):
        return recipe
    recipes: Any = import_optional("transformer_engine.common.recipe", purpose="`recipe`")
    options = dict(recipe)
    if isinstance(options.get("fp8_format"), str):
        options["fp8_format"] = getattr(recipes.Format, options["fp8_format"])
    return recipes.DelayedScaling(**options)


def _to(data: Any, dtype: torch.dtype) -> Any:
    return map_leaves(data, Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t)
