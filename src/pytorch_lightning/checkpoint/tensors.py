"""Storages and tensors from what a checkpoint says about them, checked before they are made."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from pytorch_lightning.checkpoint.unpickle import Inert, Malformed

_STORAGE_DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "QInt8": torch.qint8,
    "QUInt8": torch.quint8,
    "QInt32": torch.qint32,
}
STORAGES: dict[str, torch.dtype] = {
    f"{module}.{name}Storage": dtype
    for name, dtype in _STORAGE_DTYPES.items()
    for module in ("torch", "torch.cuda")
} | {"torch.storage.UntypedStorage": torch.uint8, "torch.UntypedStorage": torch.uint8}
DTYPES = {
    f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)
}
_LAYOUTS = {
    str(layout): layout
    for layout in (
        torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr,
        torch.sparse_bsc,
    )
}  # fmt: skip


class Storage:
    """The bytes of tensors, and the type under which the file keeps them."""

    __slots__ = ("bytes", "dtype")

    def __init__(self, content: torch.UntypedStorage, dtype: torch.dtype) -> None:
        self.bytes = content
        self.dtype = dtype

    @property
    def nbytes(self) -> int:
        """How many bytes there are."""
        return self.bytes.nbytes()


MapLocation = Any  # None | str | torch.device | Mapping[str, str] | Callable


def place(content: torch.UntypedStorage, location: str, wanted: MapLocation) -> Any:
    """Move bytes from the CPU to where they belong.

    Args:
        location: Where the file says that they were.
        wanted: As `map_location` of `torch.load`; None is the place in the file, and the CPU
            where this machine lacks it.
    """
    if isinstance(wanted, Mapping):
        location = wanted.get(location, location)
    elif callable(wanted) and not isinstance(wanted, torch.device):
        moved = wanted(content, location)
        if moved is not None:
            return getattr(moved, "_untyped_storage", moved)
    elif wanted is not None:
        return _to(content, torch.device(wanted))
    return _to(content, _available(location))


def _available(location: str) -> torch.device:
    try:
        device = torch.device(location)
    except RuntimeError:
        return torch.device("cpu")
    if device.type in ("cpu", "meta"):
        return device
    backend = getattr(torch, device.type, None) if device.type in ("cuda", "mps", "xpu") else None
    if backend is None or not backend.is_available():
        return torch.device("cpu")
    return device if (device.index or 0) < backend.device_count() else torch.device("cpu")


def _to(content: torch.UntypedStorage, device: torch.device) -> torch.UntypedStorage:
    if device.type == "cpu":
        return content
    if device.type == "meta":
        return new_storage(content.nbytes(), device)
    moved: torch.UntypedStorage = content.to(device=device)
    return moved


def new_storage(size: int, device: torch.device | str = "cpu") -> torch.UntypedStorage:
    """Bytes that nobody has written yet."""
    made: torch.UntypedStorage = torch.empty(
        size, dtype=torch.uint8, device=device
    ).untyped_storage()
    return made


_MOST_DIMENSIONS = 64


def _rebuild(
    storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None
) -> Tensor:
    """A tensor over a storage, after making sure that it stays inside of it."""
    if not isinstance(storage, Storage):
        raise Malformed("a tensor without a storage")
    if len(size) != len(stride) or len(size) > _MOST_DIMENSIONS:
        raise Malformed("a tensor whose sizes and strides differ in number")
    _check_whole_numbers((offset, *size, *stride))
    kind = storage.dtype if dtype is None else dtype
    if 0 not in size:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if (last + 1) * kind.itemsize > storage.bytes.nbytes():
            raise Malformed("a tensor that reaches beyond its storage")
    tensor = torch.empty(0, dtype=kind, device=storage.bytes.device)
    cast(Any, tensor).set_(storage.bytes, offset, tuple(size), tuple(stride))
    return tensor


def _check_whole_numbers(values: tuple[Any, ...]) -> None:
    if not all(type(value) is int and 0 <= value < 1 << 62 for value in values):
        raise Malformed("a tensor whose sizes are no sizes")


def _with_gradient(tensor: Tensor, requires_grad: Any) -> Tensor:
    if requires_grad is True:
        tensor.requires_grad_()
    return tensor


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    return _rebuild(storage, offset, size, stride)


def _tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, *more: Any
) -> Tensor:
    metadata = more[1] if len(more) > 1 and isinstance(more[1], dict) else {}
    return _finish(_rebuild(storage, offset, size, stride), requires_grad, metadata)


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, *more: Any
) -> Tensor:
    if len(more) < 2 or not isinstance(more[1], torch.dtype):
        raise Malformed("a tensor without a type")
    metadata = more[2] if len(more) > 2 and isinstance(more[2], dict) else {}
    return _finish(_rebuild(storage, offset, size, stride, more[1]), requires_grad, metadata)


def _finish(tensor: Tensor, requires_grad: Any, metadata: dict[str, Any]) -> Tensor:
    if metadata.get("conj"):
        tensor = tensor.conj()
    if metadata.get("neg"):
        tensor = torch._neg_view(tensor)
    return _with_gradient(tensor, requires_grad)


def _parameter(data: Any, requires_grad: Any, *_: Any) -> torch.nn.Parameter:
    if not isinstance(data, Tensor):
        raise Malformed("a parameter without a tensor")
    return torch.nn.Parameter(data, requires_grad is True)


def check_dense(tensor: Any) -> Tensor:
    """Refuse a tensor that repeats its storage, and would fill the memory once it is copied."""
    if not isinstance(tensor, Tensor):
        raise Malformed("no tensor where one belongs")
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise Malformed("a tensor that repeats its storage, in a place where it is copied")
    return tensor


def _sparse(layout: Any, data: Any) -> Tensor:
    if layout is torch.sparse_coo:
        indices, values, size, *coalesced = data
        _check_whole_numbers(tuple(size))
        check_dense(indices), check_dense(values)
        tensor = torch.sparse_coo_tensor(indices, values, size, check_invariants=True)
        return tensor._coalesced_(True) if coalesced and coalesced[0] is True else tensor
    if layout in _LAYOUTS.values() and layout is not torch.strided:
        compressed, plain, values, size = data
        _check_whole_numbers(tuple(size))
        check_dense(compressed), check_dense(plain), check_dense(values)
        return torch.sparse_compressed_tensor(
            compressed, plain, values, size, layout=layout, check_invariants=True
        )
    raise Malformed("a sparse tensor of no known layout")


def _quantized(
    storage: Any, offset: Any, size: Any, stride: Any, quantizer: Any, requires_grad: Any, *_: Any
) -> Tensor:
    kind, scale, zero_point = quantizer
    if kind is not torch.per_tensor_affine:
        raise Malformed("a quantized tensor that is not affine per tensor")
    integers = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}
    plain = check_dense(_rebuild(storage, offset, size, stride, integers[storage.dtype]))
    return torch._make_per_tensor_quantized_tensor(plain, float(scale), int(zero_point))


def _meta(dtype: Any, size: Any, stride: Any, requires_grad: Any) -> Tensor:
    _check_whole_numbers((*size, *stride))
    tensor = torch.empty_strided(tuple(size), tuple(stride), dtype=dtype, device="meta")
    return _with_gradient(tensor, requires_grad)


def _from_other_device(data: Any, dtype: Any, device: Any, requires_grad: Any) -> Tensor:
    if not isinstance(data, Tensor) or not isinstance(dtype, torch.dtype):
        raise Malformed("a tensor without data")
    return _with_gradient(check_dense(data).to(dtype), requires_grad)


def _from_type(rebuild: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor that carries attributes; they are code's concern, the tensor is data."""
    if not (isinstance(rebuild, Inert) and isinstance(kind, Inert)) or kind.name not in _KINDS:
        return Inert(getattr(kind, "name", "torch._tensor._rebuild_from_type_v2"), made=True)
    maker = CALLS.get(rebuild.name)
    if maker is None or maker is _from_type:
        raise Malformed("a tensor that is made in no known way")
    tensor = maker(*args)
    is_parameter = kind.name.endswith(".Parameter")
    return _parameter(tensor, tensor.requires_grad) if is_parameter else tensor


def _size(values: Any = ()) -> torch.Size:
    _check_whole_numbers(tuple(values))
    return torch.Size(values)


def _device(kind: Any, index: Any = None) -> torch.device:
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise Malformed("a device that is no name")
    return torch.device(kind) if index is None else torch.device(kind, index)


def _layout(name: Any) -> torch.layout:
    return _LAYOUTS[name]


_KINDS = frozenset(("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"))
CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_other_device,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": _layout,
}
CONSTANTS: dict[str, Any] = DTYPES | {"torch.per_tensor_affine": torch.per_tensor_affine}
