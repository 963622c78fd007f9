"""Hyper-parameters as YAML and CSV files."""

import argparse
import ast
import csv
import io
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.files import read_text, write_text
from pytorch_lightning.loggers.utilities import to_plain, write_hparams
from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

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
    import yaml

    return yaml.load(read_text(os.fspath(config_yaml)), Loader=_plain_loader(yaml)) or {}


def _plain_loader(yaml: Any) -> Any:
    """A safe loader that also reads files with Python tags, without making what they name."""

    class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is imported on use
        pass

    def plain(loader: Any, _tag: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    def tuple_of(loader: Any, node: Any) -> tuple[Any, ...]:
        return tuple(loader.construct_sequence(node, deep=True))

    PlainLoader.add_constructor("tag:yaml.org,2002:python/tuple", tuple_of)
    PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", plain)
    return PlainLoader


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
    rows = csv.DictReader(io.StringIO(read_text(os.fspath(tags_csv))))
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
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


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
