"""Plain attributes of what takes part in a run: nobody keeps them but their owner."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.data.combined import CombinedLoader, flatten, is_collection
from pytorch_lightning.data.generators import is_generator
from pytorch_lightning.testing.digests import Texts, texts_of

if TYPE_CHECKING:
    import pytorch_lightning as pl

_LIBRARIES = ("pytorch_lightning.", "torch.", "torchmetrics.", "torchdata.", "builtins", "typing")
_OF_RUNS = {"_trainer", "trainer", "_session", "_hparams", "_log_hyperparams", "log", "log_dict"}

_BARE = {*LightningModule.__mro__, *LightningDataModule.__mro__, *Callback.__mro__}

_DATA = ("training data", "validation data")


class Owner(NamedTuple):
    """Whose attributes these are, and what would keep them."""

    kind: str
    name: str
    cure: str


_MODULE_CURE = "keep it in a buffer, or in `on_save_checkpoint` and `on_load_checkpoint`"
_STATE_CURE = "keep it in `state_dict` and `load_state_dict`"
_DATA_CURE = (
    "let it follow from the index and the generators of torch, NumPy and Python, or give the "
    "loader `state_dict` and `load_state_dict`"
)


def attributes(trainer: "pl.Trainer") -> dict[Owner, Texts]:
    """What all that takes part holds in plain attributes now."""
    found: dict[Owner, Texts] = {}
    for owner, thing, plain in _owners(trainer):
        texts: Texts = {}
        for name, value in vars(thing).items():
            if name in plain or name in _OF_RUNS:
                continue
            if owner.kind in _DATA or _is_users(thing, name):
                texts.update(texts_of(value, name))
        if texts:
            found[owner] = texts
    return found


def _owners(trainer: "pl.Trainer") -> Iterator[tuple[Owner, Any, set[str]]]:
    module = trainer.lightning_module
    assert module is not None
    empty = set(vars(LightningModule()))
    for path, child in module.named_modules():
        if not type(child).__module__.startswith(_LIBRARIES):
            name = type(module).__name__ + (f".{path}" if path else "")
            yield Owner("module", name, _MODULE_CURE), child, empty
    for callback in trainer.callbacks:
        if not type(callback).__module__.startswith(_LIBRARIES):
            owner = Owner("callback", type(callback).__name__, _STATE_CURE)
            yield owner, callback, set()
    datamodule = trainer.datamodule
    if datamodule is not None:
        owner = Owner("datamodule", type(datamodule).__name__, _STATE_CURE)
        yield owner, datamodule, set(vars(LightningDataModule()))
    for what, dataset, _ in data_sets(trainer):
        if hasattr(dataset, "__dict__"):
            owner = Owner(what, type(dataset).__name__, _DATA_CURE)
            yield owner, dataset, set()


def data_sets(trainer: "pl.Trainer") -> Iterator[tuple[str, Any, int]]:
    """Each data set of a run, what it is for, and how many workers read it."""
    for what, loaders in (
        (_DATA[0], trainer.train_dataloader),
        (_DATA[1], trainer.val_dataloaders),
    ):
        for loader in _each(loaders):
            yield what, getattr(loader, "dataset", loader), getattr(loader, "num_workers", 0)


def _each(loaders: Any) -> list[Any]:
    if loaders is None:
        return []
    if isinstance(loaders, CombinedLoader):
        return list(loaders.flattened)
    return list(flatten(loaders)[0]) if is_collection(loaders) else [loaders]


def own_generators(trainer: "pl.Trainer") -> list[str]:
    """Random generators of data sets that workers read: their states stay in the workers."""
    return [
        f"`{name}` of the {what} {type(dataset).__name__}"
        for what, dataset, workers in data_sets(trainer)
        if workers > 0
        for name, value in getattr(dataset, "__dict__", {}).items()
        if is_generator(value) or type(value).__name__ == "RandomState"
    ]


def _is_users(thing: Any, name: str) -> bool:
    """Whether an attribute is one of the user's classes, where these build on a library's."""
    classes = type(thing).__mro__
    libraries = [cls for cls in classes if cls.__module__.startswith(_LIBRARIES)]
    if not any("__init__" in vars(cls) for cls in libraries if cls not in _BARE):
        return True
    return any(
        name in getattr(getattr(value, "__code__", None), "co_names", ())
        for cls in classes
        if cls not in libraries
        for value in vars(cls).values()
    )
