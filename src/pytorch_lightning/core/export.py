"""A module without its trainer: ONNX, TorchScript, TensorRT."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.tree import move_data_to_device

_SESSION_NAMES = ("_trainer", "_session", "_ended_session", "_fabric")


@contextmanager
def _detached(module: Any) -> Iterator[None]:
    """Hide the run from tracers, and leave train mode for the while."""
    mode = {child: child.training for child in module.modules()}
    hidden = {
        child: {name: child.__dict__.pop(name) for name in _SESSION_NAMES if name in child.__dict__}
        for child in module.modules()
    }
    for child in module.modules():
        child.__dict__["_exporting"] = True  # compilers read every property, `trainer` too
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for child, names in hidden.items():
            child.__dict__.pop("_exporting", None)
            child.__dict__.update(names)
        for child, training in mode.items():
            child.training = training


def _sample(module: Any, given: Any, argument: str) -> tuple[Any, ...]:
    sample = given if given is not None else module.example_input_array
    if sample is None:
        raise ValueError(
            f"`{argument}` is None and the module has no `example_input_array`: pass an input."
        )
    moved = move_data_to_device(sample, module.device)
    return moved if isinstance(moved, tuple) else (moved,)


def export_onnx(module: Any, file_path: Any, input_sample: Any, **kwargs: Any) -> Any:
    """Export to ONNX by `torch.onnx.export`."""
    if file_path is None and not kwargs.get("dynamo", False):
        raise ValueError("`to_onnx(file_path=None)` needs `dynamo=True`; else pass a path.")
    arguments = _sample(module, input_sample, "input_sample")
    target = str(file_path) if isinstance(file_path, Path) else file_path
    with _detached(module):
        if len(arguments) == 1 and isinstance(arguments[0], dict):
            return torch.onnx.export(module, (), target, kwargs=arguments[0], **kwargs)
        return torch.onnx.export(module, arguments, target, **kwargs)


def export_torchscript(
    module: Any, file_path: Any, method: str | None, example_inputs: Any, **kwargs: Any
) -> Any:
    """Compile to TorchScript; save it when a path is given."""
    if method not in ("script", "trace"):
        raise ValueError(f"`method={method!r}`: pass 'script' or 'trace'.")
    with _detached(module):
        if method == "script":
            compiled = torch.jit.script(module, **kwargs)
        else:
            arguments = _sample(module, example_inputs, "example_inputs")
            compiled = torch.jit.trace(module, arguments, **kwargs)  # type: ignore[no-untyped-call]
    if file_path is not None:
        buffer = io.BytesIO()
        torch.jit.save(compiled, buffer)
        _write(file_path, buffer.getvalue())
    return compiled


def _write(path: str | Path, data: bytes) -> None:
    if "://" in str(path):
        import fsspec  # type: ignore[import-untyped]  # slow to import

        with fsspec.open(str(path), "wb") as file:
            file.write(data)
    else:
        Path(path).write_bytes(data)


def export_tensorrt(module: Any, file_path: Any, input_sample: Any, **kwargs: Any) -> Any:
    """Export to TensorRT, where its package is installed."""
    try:
        import torch_tensorrt  # type: ignore[import-not-found]  # optional
    except Exception as error:  # a broken installation as well
        raise ModuleNotFoundError(
            "`to_tensorrt` needs the package torch_tensorrt: pip install torch-tensorrt."
        ) from error
    if module.device.type != "cuda":
        raise MisconfigurationException("`to_tensorrt`: move the module to a CUDA device first.")
    arguments = _sample(module, input_sample, "input_sample")
    with _detached(module):
        program = torch_tensorrt.compile(module, inputs=list(arguments), **kwargs)
        if file_path is not None:
            torch_tensorrt.save(program, str(file_path), inputs=list(arguments))
    return program
