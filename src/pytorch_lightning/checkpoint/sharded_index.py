"""The index of a sharded checkpoint, read as data: which file holds which part of which tensor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from pytorch_lightning.checkpoint.names import CALLS, CONSTANTS, only
from pytorch_lightning.checkpoint.unpickle import Inert, Machine, Malformed
from pytorch_lightning.utilities.exceptions import CheckpointError

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import Metadata

FILE = ".metadata"
_LARGEST = 256 << 20
_METADATA = "torch.distributed.checkpoint.metadata."
_STORAGE_INFO = "torch.distributed.checkpoint.filesystem._StorageInfo"
_ALLOWED_CALLS = {
    name: maker
    for name, maker in CALLS.items()
    if name in ("torch.Size", "torch.serialization._get_layout", "collections.OrderedDict")
    or name.startswith("pathlib")
}


def read_index(folder: str) -> Metadata:
    """Read the index that torch writes as a pickle, without running anything from it.

    Raises:
        CheckpointError: It is damaged, or holds anything but an index of tensors in this folder.
    """
    path = os.path.join(folder, FILE)
    try:
        if os.path.getsize(path) > _LARGEST:
            raise Malformed(f"more than {_LARGEST} bytes")
        with open(path, "rb") as file:
            machine = Machine(_ALLOWED_CALLS, CONSTANTS, _no_reference, _size_of(folder))
            left = machine.run(file.read())
        return _Index(folder).metadata(left)
    except OSError as error:
        raise CheckpointError(f"{path!r} could not be opened: {error}") from error
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path!r} is no index of a sharded checkpoint, or is damaged: it holds {error}. "
            "Nothing was loaded."
        ) from error


def _size_of(folder: str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())


def _no_reference(_: Any) -> Any:
    raise Malformed("a reference to what lies outside")


class _Index:
    """Makes the records of torch out of what a pickle left inert, each of the type it has to be."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def metadata(self, value: Any) -> Metadata:
        from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

        state = _state(value, "Metadata")
        version = state.get("version")
        _refuse_calls(state.get("planner_data"))
        if (about := state.get("storage_meta")) is not None:
            _refuse_calls(_state(about, "StorageMeta"))
        return Metadata(
            state_dict_metadata={
                only(str, key): self._tensor(item)
                for key, item in only(dict, state.get("state_dict_metadata")).items()
            },
            planner_data={},
            storage_data={
                self._place(key): self._file(item)
                for key, item in only(dict, state.get("storage_data")).items()
            },
            storage_meta=StorageMeta(),
            version=None if version is None else only(str, version),
        )

    def _tensor(self, value: Any) -> Any:
        from torch.distributed.checkpoint.metadata import (
            ChunkStorageMetadata,
            TensorProperties,
            TensorStorageMetadata,
        )

        if isinstance(value, Inert) and value.name == f"{_METADATA}BytesStorageMetadata":
            raise Malformed("a value that is no tensor, which torch would run as a program")
        state = _state(value, "TensorStorageMetadata")
        properties = _made(state["properties"], f"{_METADATA}TensorProperties").state
        chunks = [_state(chunk, "ChunkStorageMetadata") for chunk in only(list, state["chunks"])]
        return TensorStorageMetadata(
            properties=TensorProperties(dtype=only(torch.dtype, only(tuple, properties)[0])),
            size=only(torch.Size, state["size"]),
            chunks=[
                ChunkStorageMetadata(
                    offsets=only(torch.Size, chunk["offsets"]),
                    sizes=only(torch.Size, chunk["sizes"]),
                )
                for chunk in chunks
            ],
        )

    def _place(self, value: Any) -> Any:
        from torch.distributed.checkpoint.metadata import MetadataIndex

        state = _state(value, "MetadataIndex")
        offset, index = state.get("offset"), state.get("index")
        return MetadataIndex(
            only(str, state["fqn"]),
            None if offset is None else only(torch.Size, offset),
            None if index is None else only(int, index),
        )

    def _file(self, value: Any) -> Any:
        from torch.distributed.checkpoint.filesystem import _StorageInfo

        state = _made(value, _STORAGE_INFO).state
        name = only(str, only(dict, state)["relative_path"])
        if os.path.basename(name) != name or not name.endswith(".distcp"):
            raise Malformed(f"the file name {name!r:.80}, which is none of this folder's parts")
        if state.get("transform_descriptors"):
            raise Malformed("parts that are packed in a way this release does not know")
        return _StorageInfo(name, only(int, state["offset"]), only(int, state["length"]))


def _refuse_calls(value: Any) -> None:
    """Refuse what is more than data in a part of the index that nobody needs."""
    if isinstance(value, Inert):
        raise Malformed(f"a `{value.name}`, and making one would run code")
    if isinstance(value, dict):
        _refuse_calls(list(value))
        value = list(value.values())
    for item in value if isinstance(value, list | tuple | set) else ():
        _refuse_calls(item)


def _made(value: Any, name: str) -> Inert:
    if not isinstance(value, Inert) or not value.made or value.name != name:
        found = value.name if isinstance(value, Inert) else type(value).__name__
        raise Malformed(f"a `{found}` where a `{name}` belongs")
    return value


def _state(value: Any, name: str) -> dict[str, Any]:
    state: dict[str, Any] = only(dict, _made(value, _METADATA + name).state)
    return state
