"""`LightningDataModule`: data and how it is loaded, as one reusable object."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from typing_extensions import Self

from pytorch_lightning.core.argparse_bridge import ArgparseBridge
from pytorch_lightning.core.hooks import DataHooks, is_overridden_hook, noop
from pytorch_lightning.core.hparams import HyperparametersMixin
from pytorch_lightning.core.saving import Arguments, ClassmethodOnly, load_datamodule

if TYPE_CHECKING:
    import pytorch_lightning as pl

__all__ = ["LightningDataModule"]

_STAGES = {"train": "Train", "val": "Validation", "test": "Test", "predict": "Predict"}


class LightningDataModule(DataHooks, HyperparametersMixin, ArgparseBridge):
    """Everything about data: fetching, splitting, transforming and loading it.

    It works without a trainer, too: call `prepare_data()`, `setup("fit")` and then, for
    example, `train_dataloader()`.

    Example:
        >>> class Numbers(LightningDataModule):
        ...     def setup(self, stage):
        ...         self.train, self.val = range(8), range(2)
        ...     def train_dataloader(self):
        ...         return DataLoader(self.train, batch_size=4)
        ...     def val_dataloader(self):
        ...         return DataLoader(self.val)
    """

    CHECKPOINT_HYPER_PARAMS_KEY: ClassVar[str] = "datamodule_hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME: ClassVar[str] = "datamodule_hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE: ClassVar[str] = "datamodule_hparams_type"

    name: str | None = None
    trainer: "pl.Trainer | None" = None

    def __init__(self) -> None:
        super().__init__()
        self.prepare_data_per_node = True
        self.allow_zero_length_dataloader_with_multiple_devices = False
        self.trainer = None

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Dataset[Any] | Iterable[Dataset[Any]] | None = None,
        val_dataset: Dataset[Any] | Iterable[Dataset[Any]] | None = None,
        test_dataset: Dataset[Any] | Iterable[Dataset[Any]] | None = None,
        predict_dataset: Dataset[Any] | Iterable[Dataset[Any]] | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: Any,
    ) -> Self:
        """Make a datamodule out of datasets, or of lists or dicts of them.

        Args:
            train_dataset: Is shuffled, unless it is an `IterableDataset`.
            batch_size: Also handed to `__init__`, if it takes an argument of that name.
            num_workers: Likewise.
            datamodule_kwargs: For `__init__`.
        """
        options = {"batch_size": batch_size, "num_workers": num_workers}
        taken = Arguments.of(cls)
        forwarded = {k: v for k, v in options.items() if taken.takes_rest or k in taken.names}
        datamodule = cls(**{**forwarded, **datamodule_kwargs})
        given = {
            "train_dataloader": train_dataset,
            "val_dataloader": val_dataset,
            "test_dataloader": test_dataset,
            "predict_dataloader": predict_dataset,
        }
        for method, datasets in given.items():
            if datasets is not None:
                shuffle = method == "train_dataloader"
                setattr(datamodule, method, _Loaders(datasets, {**options, "shuffle": shuffle}))
        return datamodule

    @noop
    def state_dict(self) -> dict[str, Any]:
        """What to put into a checkpoint; called whenever one is saved."""
        return {}

    @noop
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""

    @noop
    def on_exception(self, exception: BaseException) -> None:
        """Called when a run ends with an exception."""

    @ClassmethodOnly
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | BinaryIO,
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a datamodule from a checkpoint file, with the hyperparameters that lie in it.

        Args:
            checkpoint_path: A path, a URL or a binary file.
            map_location: Where to put tensors, as `torch.load` takes it.
            hparams_file: A yaml or csv file with hyperparameters, which win over stored ones.
            weights_only: False runs code from the file, if it has any: only for files you trust.
            kwargs: Arguments of `__init__` that replace the stored ones.
        """
        datamodule: Self = load_datamodule(
            cls,
            checkpoint_path,
            map_location=map_location,
            hparams_file=hparams_file,
            weights_only=weights_only,
            **kwargs,
        )
        return datamodule

    def __str__(self) -> str:
        """One line per kind of loader; sizes where they are known without building one."""
        return "\n".join(
            f"{title} dataloader: {self._describe(kind)}" for kind, title in _STAGES.items()
        )

    def _describe(self, kind: str) -> str:
        method = getattr(self, f"{kind}_dataloader")
        if isinstance(method, _Loaders):
            return method.sizes()
        return "defined" if is_overridden_hook(self, f"{kind}_dataloader") else "None"


class _Loaders:
    """Stands in for a loader method: makes loaders for a collection of datasets.

    An object instead of a nested function, so that the datamodule can be pickled.
    """

    def __init__(self, datasets: Any, options: dict[str, Any]) -> None:
        # A generator gives its datasets once, and loaders may be asked for again.
        once = _is_collection(datasets) and not isinstance(datasets, Mapping | list | tuple)
        self.datasets = list(datasets) if once else datasets
        self.options = options

    def __call__(self) -> Any:
        return _map_datasets(self.datasets, self._loader)

    def sizes(self) -> str:
        """The sizes of the datasets, `NA` where one has none."""
        found = _map_datasets(self.datasets, _size)
        if isinstance(found, dict):
            return " ; ".join(f"{key}: {size}" for key, size in found.items())
        return " ; ".join(found) if isinstance(found, list) else str(found)

    def _loader(self, dataset: Any) -> DataLoader[Any]:
        shuffle = self.options["shuffle"] and not isinstance(dataset, IterableDataset)
        return DataLoader(
            dataset,
            batch_size=self.options["batch_size"],
            num_workers=self.options["num_workers"],
            shuffle=shuffle,
            pin_memory=_pins_memory(),
        )


def _map_datasets(datasets: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(datasets, Mapping):
        return {key: _map_datasets(value, function) for key, value in datasets.items()}
    if _is_collection(datasets):
        return [_map_datasets(value, function) for value in datasets]
    return function(datasets)


def _is_collection(datasets: Any) -> bool:
    """Whether this holds datasets, rather than being one: samples can be asked for by number."""
    if isinstance(datasets, list | tuple):
        return True
    is_dataset = isinstance(datasets, Dataset) or hasattr(datasets, "__getitem__")
    return isinstance(datasets, Iterable) and not is_dataset


def _size(dataset: Any) -> str:
    return f"size={len(dataset)}" if hasattr(dataset, "__len__") else "size=NA"


def _pins_memory() -> bool:
    """Pinned memory only serves a device; without one torch would warn."""
    return torch.cuda.is_available()
