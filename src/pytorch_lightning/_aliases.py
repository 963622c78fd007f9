"""Old and alternative import paths: one table, and a finder that answers with today's module."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType

from pytorch_lightning._old_names import OLD_NAMES
from pytorch_lightning._unbuilt import UNBUILT_MODULES, UNBUILT_NAMES, sentence

ROOT = "pytorch_lightning"

# old path -> the module that is answered; both without "pytorch_lightning."
MODULES = {
    "accelerators.tpu": "accelerators.xla",
    "callbacks.base": "callbacks.callback",
    "callbacks.callback": "core.callback",
    "callbacks.progress.base": "callbacks.progress.progress_bar",
    "core.lightning": "core.module",
    "core.mixins.hparams_mixin": "core.hparams",
    "fabric.utilities": "utilities",
    "loggers.base": "loggers.logger",
    "overrides": "strategies",
    "overrides.base": "strategies.strategy",
    "overrides.distributed": "strategies.strategy",
    "plugins.checkpoint_io": "plugins.io",
    "plugins.environments.cluster_environment": "distributed.environments",
    "plugins.environments.kubeflow_environment": "distributed.kubeflow",
    "plugins.environments.lightning_environment": "distributed.environments",
    "plugins.environments.lsf_environment": "distributed.lsf",
    "plugins.environments.mpi_environment": "distributed.mpi",
    "plugins.environments.slurm_environment": "distributed.slurm",
    "plugins.environments.torchelastic_environment": "distributed.torchelastic",
    "plugins.environments.xla_environment": "distributed.xla",
    "plugins.io.checkpoint_plugin": "checkpoint.io",
    "plugins.io.torch_plugin": "checkpoint.io",
    "plugins.io.xla_plugin": "checkpoint.xla",
    "plugins.precision.amp": "precision.mixed",
    "plugins.precision.deepspeed": "precision.deepspeed",
    "plugins.precision.double": "precision.double",
    "plugins.precision.fsdp": "precision.fsdp",
    "plugins.precision.half": "precision.half",
    "plugins.precision.native_amp": "precision.mixed",
    "plugins.precision.precision": "precision.precision",
    "plugins.precision.precision_plugin": "precision.precision",
    "plugins.precision.tpu": "precision.xla",
    "plugins.precision.xla": "precision.xla",
    "plugins.training_type": "strategies",
    "plugins.training_type.single_device": "strategies.single_device",
    "plugins.training_type.training_type_plugin": "strategies.strategy",
    "profiler": "profilers",
    "profiler.base": "profilers.profiler",
    "profilers.base": "profilers.profiler",
    "strategies.launchers": "distributed.launchers",
    "strategies.launchers.launcher": "distributed.launchers",
    "strategies.launchers.multiprocessing": "distributed.launchers",
    "strategies.launchers.subprocess_script": "distributed.launchers",
    "strategies.single_tpu": "strategies.single_xla",
    "strategies.strategy_registry": "strategies.registry",
    "strategies.tpu_spawn": "strategies.xla",
    "trainer.supporters": "data.combined",
    "utilities.apply_func": "utilities.tree",
    "utilities.argparse": "core.argparse_bridge",
    "utilities.cli": "cli",
    "utilities.cloud_io": "utilities.paths",
    "utilities.combined_loader": "data.combined",
    "utilities.consolidate_checkpoint": "checkpoint.consolidate",
    "utilities.deepspeed": "checkpoint.deepspeed",
    "utilities.distributed": "utilities.rank_zero",
    "utilities.migration": "checkpoint.migrate",
    "utilities.migration.utils": "checkpoint.migrate",
    "utilities.signature_utils": "utilities.signatures",
    "utilities.upgrade_checkpoint": "checkpoint.upgrade",
}


def _current_path(name: str) -> str | None:
    """Today's path of a dotted name without its first part, if it or a parent has moved."""
    parent, rest = name, ""
    while parent:
        if parent in MODULES:
            moved = MODULES[parent] + rest
            return _current_path(moved) or moved
        parent, _, last = parent.rpartition(".")
        rest = f".{last}{rest}"
    return None


_PARENTS = frozenset(old.rpartition(".")[0] for old in MODULES)


class _Answer(Loader):
    """Answers with a module that exists under another name."""

    def __init__(self, target: str) -> None:
        self.target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.target)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        alias = module.__spec__
        if alias is not None:
            module.__spec__ = alias.loader_state  # importlib had put the alias in its place

    def get_code(self, _: str) -> CodeType | None:
        """The code that `python -m <old path>` runs."""
        spec = importlib.util.find_spec(self.target)
        loader = spec.loader if spec is not None else None
        return loader.get_code(self.target) if isinstance(loader, InspectLoader) else None


class _Finder(MetaPathFinder):
    """Finds moved modules, and gives others the old names of what they hold."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == self.prefix and self.prefix != ROOT:
            return ModuleSpec(fullname, _Answer(ROOT), is_package=True)
        if not fullname.startswith(self.prefix + "."):
            return None
        name = fullname.removeprefix(self.prefix + ".")
        moved = _current_path(name)
        if moved is not None or self.prefix != ROOT:
            answer = _Answer(f"{ROOT}.{moved or name}")
            return ModuleSpec(fullname, answer, is_package=name in _PARENTS)
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            return _with_old_names(spec, spec.loader, name)
        if name in UNBUILT_MODULES:
            raise ImportError(sentence(f"{ROOT}.{name}", UNBUILT_MODULES[name]), name=fullname)
        return None


def _with_old_names(spec: ModuleSpec, loader: Loader, name: str) -> ModuleSpec:
    has_names = name in OLD_NAMES or name in UNBUILT_NAMES
    has_children = name in _PARENTS
    if has_names or has_children:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            # before the module runs, since it may have a `__getattr__` of its own
            module.__dict__["__getattr__"] = late_names(name)
            if has_children:
                module.__dict__.setdefault("__path__", [])  # importlib asks a parent for it
            execute(module)

        loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader
    return spec


def late_names(module: str) -> Callable[[str], object]:
    """A `__getattr__` that serves the names which a module is asked for but does not hold.

    Args:
        module: Its path without `pytorch_lightning.`; empty for the package itself.
    """
    path = f"{ROOT}.{module}" if module else ROOT
    old, unbuilt = OLD_NAMES.get(module, {}), UNBUILT_NAMES.get(module, {})

    def __getattr__(name: str) -> object:
        if name in old:
            home, _, new_name = old[name].partition(":")
            return getattr(importlib.import_module(f"{ROOT}.{home}" if home else ROOT), new_name)
        if name in unbuilt:
            raise ImportError(sentence(name, unbuilt[name]), name=path)
        raise AttributeError(f"module {path!r} has no attribute {name!r}")

    return __getattr__


def install(spelling: str = ROOT) -> None:
    """Answer imports of old paths.

    Args:
        spelling: Another name under which everything shall be importable: with "lightning" so
            is `lightning.pytorch`, as the same objects.
    """
    if spelling != ROOT and spelling in sys.modules:
        raise ImportError(f"`{spelling}` is imported already; install its alias before.")
    for prefix in ("lightning", "lightning.pytorch") if spelling == "lightning" else (spelling,):
        if not any(isinstance(f, _Finder) and f.prefix == prefix for f in sys.meta_path):
            sys.meta_path.insert(0, _Finder(prefix))  # the longer prefix comes first


install()  # before any other module of the package is imported
