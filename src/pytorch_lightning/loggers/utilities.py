"""What the loggers share: hyper-parameters as plain data, x values, folders of runs."""

import dataclasses
import enum
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Module

from pytorch_lightning.loggers.files import read_text, write_text
from pytorch_lightning.utilities.paths import exists, join, list_names

_MAX_LISTED = 100


class RunFolder:
    """Where the files of one run go: `save_dir/name/version_N`.

    The number is the next free one, fixed when it is first asked for; nothing is created here.
    """

    def __init__(
        self, save_dir: str | Path, name: str | None, version: int | str | None = None
    ) -> None:
        self.save_dir = os.fspath(save_dir)
        self.name = name or ""
        self._version = version
        self.is_counted = version is None  # else it was given, and stays when the run starts again

    @property
    def root_dir(self) -> str:
        """Folder of all versions."""
        return _join_given(os.path.expandvars(self.save_dir), self.name)

    @property
    def version(self) -> int | str:
        """The number or name of this run."""
        if self._version is None:
            self._version = next_version(self.root_dir)
        return self._version

    def adopt(self, version: int | str | None) -> None:
        """Take a version instead of looking for a free one."""
        self._version = version

    @property
    def log_dir(self) -> str:
        """Folder of this version."""
        version = self.version
        return _join_given(
            self.root_dir, version if isinstance(version, str) else f"version_{version}"
        )


def versions_before(logger: Any) -> list[str]:
    """Folders of the other runs that a logger's own one follows, the newest first.

    None where the version was given, or is no number.
    """
    folder = getattr(logger, "_folder", None)
    if not isinstance(folder, RunFolder) or not folder.is_counted:
        return []
    found = [re.fullmatch(r"version_(\d+)", name) for name in list_names(folder.root_dir)]
    numbers = sorted((int(match[1]) for match in found if match), reverse=True)
    own = folder.version
    return [join(folder.root_dir, f"version_{number}") for number in numbers if number != own]


def _join_given(*parts: str) -> str:
    given = [part for part in parts if part]
    return join(*given) if given else ""


def next_version(root_dir: str) -> int:
    """One more than the highest `version_N` in a folder."""
    found = (re.fullmatch(r"version_(\d+)", name) for name in list_names(root_dir))
    return max((int(match[1]) for match in found if match), default=-1) + 1


def split_x(metrics: Mapping[str, Any], step: int | None) -> tuple[dict[str, Any], int | None]:
    """Take a metric called `step` out: its value replaces the position on the x axis."""
    values = dict(metrics)
    if "step" in values:
        step = int(values.pop("step"))
    return values, step


def with_prefix(metrics: dict[str, Any], prefix: str, separator: str) -> dict[str, Any]:
    """Put the logger's prefix before every name."""
    if not prefix:
        return metrics
    return {f"{prefix}{separator}{name}": value for name, value in metrics.items()}


def as_mapping(params: Mapping[str, Any] | Namespace | None) -> dict[str, Any]:
    """Hyper-parameters as a dictionary, however they are given."""
    if params is None:
        return {}
    plain = to_plain(params)
    if not isinstance(plain, dict):
        raise TypeError(
            f"`params={params!r}`: hyper-parameters are a dictionary, a namespace or a dataclass."
        )
    return plain


def to_plain(value: Any) -> Any:
    """Data that any YAML reader loads: what has no plain form becomes a name or a text."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return to_plain(value.value) if isinstance(value, (str, int)) else value.name
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    return _unusual_to_plain(value)


def _unusual_to_plain(value: Any) -> Any:
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is not None and omegaconf.OmegaConf.is_config(value):
        return to_plain(omegaconf.OmegaConf.to_container(value, resolve=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, type) or (callable(value) and not isinstance(value, Module)):
        return _name_of(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return to_plain(value.item())
    return str(value)


def _name_of(value: Callable[..., Any]) -> str:
    inner = getattr(value, "func", value)  # a functools.partial is called by what it calls
    return str(getattr(inner, "__name__", None) or type(value).__name__)


def _tensor_to_plain(value: Tensor) -> Any:
    return value.tolist() if value.numel() <= _MAX_LISTED and not value.is_meta else str(value)


def _mapping_to_plain(value: Mapping[Any, Any]) -> dict[Any, Any]:
    return {
        key if type(key) in (bool, int, float, str) else str(key): to_plain(entry)
        for key, entry in value.items()
    }


_CONVERSIONS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (bool, bool),
    (int, int),
    (float, float),
    (str, str),
    (Mapping, _mapping_to_plain),
    (Namespace, lambda value: _mapping_to_plain(vars(value))),
    ((list, tuple), lambda value: [to_plain(entry) for entry in value]),
    ((set, frozenset), lambda value: sorted((to_plain(entry) for entry in value), key=str)),
    (Tensor, _tensor_to_plain),
    (os.PathLike, os.fspath),
)


def flatten(params: Mapping[Any, Any], separator: str = "/") -> dict[str, bool | int | float | str]:
    """Plain hyper-parameters on one level; what is no number, text or truth becomes text.

    >>> flatten({"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}})
    {'optimizer/lr': 0.1, 'optimizer/betas': '[0.9, 0.99]'}
    """
    flat: dict[str, bool | int | float | str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            inner = flatten(value, separator)
            flat.update({f"{key}{separator}{name}": entry for name, entry in inner.items()})
        else:
            flat[str(key)] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat


def write_hparams(path: str, params: Mapping[str, Any]) -> None:
    """Write plain hyper-parameters as YAML that `yaml.safe_load` reads."""
    import yaml

    write_text(path, yaml.safe_dump(dict(params), sort_keys=False, allow_unicode=True))


def read_hparams(path: str) -> dict[str, Any] | None:
    """The hyper-parameters in a file; None without a file that can be read safely."""
    import yaml

    if not exists(path):
        return None
    try:
        loaded = yaml.safe_load(read_text(path))
    except yaml.YAMLError:  # other programs write tags that would run code
        return None
    return loaded if isinstance(loaded, dict) else None


def _scan_checkpoints(
    checkpoint_callback: Any, logged_model_time: Mapping[str, float]
) -> list[tuple[float, str, float | None, str]]:
    """Find checkpoints that are new or changed: time, path, score and tag, oldest first."""
    found: dict[str, tuple[float | None, str]] = {}
    for tag, path, score in _checkpoints_of(checkpoint_callback):
        if path:
            found[path] = (score, tag)
    files = [
        (os.path.getmtime(path), path, score, tag)
        for path, (score, tag) in found.items()
        if os.path.isfile(path)
    ]
    return sorted(
        (file for file in files if logged_model_time.get(file[1], -1.0) < file[0]),
        key=lambda file: file[0],
    )


def _checkpoints_of(callback: Any) -> list[tuple[str, str, float | None]]:
    kept: Mapping[str, Any] = getattr(callback, "best_k_models", None) or {}
    return [
        (
            "latest",
            getattr(callback, "last_model_path", ""),
            getattr(callback, "current_score", None),
        ),
        (
            "best",
            getattr(callback, "best_model_path", ""),
            getattr(callback, "best_model_score", None),
        ),
        *(("best_k", path, score) for path, score in kept.items()),
    ]
