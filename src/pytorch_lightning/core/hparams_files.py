"""Hyper-parameters as YAML and CSV files."""

import argparse
import ast
import contextlib
import csv
import io
import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from pytorch_lightning.core.plain_yaml import LARGEST, read_plain_yaml
from pytorch_lightning.loggers.files import read_text, write_text
from pytorch_lightning.loggers.utilities import to_plain, write_hparams
from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

_LONGEST_LITERAL = 10_000

__all__ = [
    "load_hparams_from_tags_csv",
    "load_hparams_from_yaml",
    "read_hparams_file",
    "save_hparams_to_tags_csv",
    "save_hparams_to_yaml",
]


def read_hparams_file(path: str | Path) -> dict[str, Any]:
    """Read hyper-parameters by the ending of the file's name.

    Raises:
        ValueError: If the ending is not .csv, .yml or .yaml.
        FileNotFoundError: If there is no such file.
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in (".csv", ".yml", ".yaml"):
        raise ValueError(f"`hparams_file={str(path)!r}`: pass a .csv, .yml or .yaml file.")
    if not paths.exists(path):
        raise FileNotFoundError(f"`hparams_file={str(path)!r}`: there is no such file.")
    return load_hparams_from_tags_csv(path) if ending == ".csv" else load_hparams_from_yaml(path)


def load_hparams_from_yaml(config_yaml: str | Path, use_omegaconf: bool = True) -> Any:
    """Read hyper-parameters from a YAML file; objects in it come back as plain data.

    Args:
        use_omegaconf: Accepted for older programs; the result is a plain dict.
    """
    if not _there(config_yaml):
        return {}
    with _named_if_unreadable(config_yaml):
        return read_plain_yaml(_read_limited(config_yaml)) or {}


def save_hparams_to_yaml(
    config_yaml: str | Path,
    hparams: Mapping[str, Any] | argparse.Namespace,
    use_omegaconf: bool = True,
) -> None:
    """Write hyper-parameters to a YAML file that any safe loader reads.

    Args:
        hparams: Values that are no plain data are written as text.
        use_omegaconf: Accepted for older programs; containers are written resolved.
    """
    _refuse_missing_folder(config_yaml)
    write_hparams(os.fspath(config_yaml), to_plain(_as_dict(hparams)))


def load_hparams_from_tags_csv(tags_csv: str | Path) -> dict[str, Any]:
    """Read hyper-parameters from a CSV file with the columns `key` and `value`."""
    if not _there(tags_csv):
        return {}
    with _named_if_unreadable(tags_csv):
        rows = csv.DictReader(io.StringIO(_read_limited(tags_csv)))
        return {row["key"]: _value_of(row["value"]) for row in rows}


def save_hparams_to_tags_csv(
    tags_csv: str | Path, hparams: MutableMapping[str, Any] | argparse.Namespace
) -> None:
    """Write hyper-parameters to a CSV file with the columns `key` and `value`."""
    _refuse_missing_folder(tags_csv)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "value"])
    writer.writerows(_as_dict(hparams).items())
    write_text(os.fspath(tags_csv), text.getvalue())


def _value_of(text: str) -> Any:
    if len(text) > _LONGEST_LITERAL:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _read_limited(path: str | Path) -> str:
    place = os.fspath(path)
    if os.path.exists(place) and not os.path.isfile(place):
        raise ValueError("it is no file")
    if os.path.isfile(place) and os.path.getsize(place) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    return read_text(place)


@contextlib.contextmanager
def _named_if_unreadable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # yaml, csv and codecs have errors of their own
        raise CheckpointError(
            f"{str(path)!r} could not be read as hyper-parameters: {error}"
        ) from error


def _as_dict(hparams: Any) -> dict[str, Any]:
    if isinstance(hparams, argparse.Namespace):
        return dict(vars(hparams))
    if not isinstance(hparams, Mapping):
        raise TypeError(f"`hparams` is a {type(hparams).__name__}: pass a dict or a Namespace.")
    return dict(hparams)


def _there(path: str | Path) -> bool:
    if paths.exists(path):
        return True
    rank_zero_warn(f"There is no hyper-parameter file {str(path)!r}.", category=RuntimeWarning)
    return False


def _refuse_missing_folder(path: str | Path) -> None:
    folder = os.path.dirname(os.fspath(path)) or "."
    if not paths.is_dir(folder):
        raise RuntimeError(f"Missing folder: {folder!r}; create it first.")
