"""Optional packages: asked for when needed, never at import."""

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.version import Version

_FLAGS = {
    "_COMET_AVAILABLE": ("comet_ml", None),
    "_DEEPSPEED_AVAILABLE": ("deepspeed", None),
    "_HYDRA_AVAILABLE": ("hydra", "hydra-core"),
    "_JSONARGPARSE_AVAILABLE": ("jsonargparse", "jsonargparse"),
    "_JSONARGPARSE_SIGNATURES_AVAILABLE": ("jsonargparse", "jsonargparse"),
    "_MLFLOW_AVAILABLE": ("mlflow", None),
    "_NEPTUNE_AVAILABLE": ("neptune", None),
    "_OMEGACONF_AVAILABLE": ("omegaconf", "omegaconf"),
    "_ONNX_AVAILABLE": ("onnx", "onnx"),
    "_PSUTIL_AVAILABLE": ("psutil", "psutil"),
    "_RICH_AVAILABLE": ("rich", "rich>=10.2.2"),
    "_TENSORBOARD_AVAILABLE": ("tensorboard", "tensorboard"),
    "_TENSORBOARDX_AVAILABLE": ("tensorboardX", "tensorboardX"),
    "_TORCHMETRICS_GREATER_EQUAL_0_11": ("torchmetrics", "torchmetrics>=0.11.0"),
    "_TORCHMETRICS_GREATER_EQUAL_0_8_0": ("torchmetrics", "torchmetrics>=0.8.0"),
    "_TORCHMETRICS_GREATER_EQUAL_0_9_1": ("torchmetrics", "torchmetrics>=0.9.1"),
    "_TORCHMETRICS_GREATER_EQUAL_1_0_0": ("torchmetrics", "torchmetrics>=1.0.0"),
    "_TORCHVISION_AVAILABLE": ("torchvision", None),
    "_TORCH_GREATER_EQUAL_2_6": ("torch", "torch>=2.6.0"),
    "_TORCH_GREATER_EQUAL_2_8": ("torch", "torch>=2.8.0"),
    "_WANDB_AVAILABLE": ("wandb", None),
}
_PYTHON_GREATER_EQUAL_3_11_0 = sys.version_info >= (3, 11)


def module_available(module_path: str) -> bool:
    """Whether a module could be found; its parents are imported, it is not."""
    if module_path in sys.modules:
        return sys.modules[module_path] is not None
    try:
        return find_spec(module_path) is not None
    except Exception:  # a broken parent package may raise anything
        return False


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except Exception:  # torchvision beside another torch raises RuntimeError, for one
        return False
    return True


def package_available(package_name: str) -> bool:
    """Whether a top-level package is installed."""
    return module_available(package_name.partition(".")[0])


def compare_version(
    package: str,
    op: Callable[[Any, Any], bool],
    version: str,
    use_base_version: bool = False,
) -> bool:
    """Compare an installed version by an operator such as `operator.ge`."""
    from packaging.version import Version  # lazy, with what uses it: 10 ms at import

    installed = _installed_version(package)
    if installed is None:
        return False
    if use_base_version:
        installed = Version(installed.base_version)
    return bool(op(installed, Version(version)))


def _installed_version(distribution: str) -> "Version | None":
    from packaging.version import InvalidVersion, Version

    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        version = getattr(sys.modules.get(distribution), "__version__", "")
    try:
        return Version(str(version))
    except InvalidVersion:
        return None


class RequirementCache:
    """A requirement that is checked when it is first asked for; its text says the outcome.

    Args:
        requirement: As pip takes it, such as `rich>=13`.
        module: A module to look for where the requirement has no metadata, or alone.

    >>> bool(RequirementCache("torch>=2.6"))
    True
    """

    def __init__(self, requirement: str | None = None, module: str | None = None) -> None:
        if not requirement and not module:
            raise ValueError("Pass `requirement`, such as 'rich>=13', or `module`.")
        self.requirement = requirement
        self.module = module
        self.available: bool | None = None
        self.message: str = ""

    def _check(self) -> bool:
        if self.available is None:
            self.available = self._met() if self.requirement else module_available(self._name)
            self.message = self._outcome(self.available)
        return self.available

    @property
    def _name(self) -> str:
        return self.module or str(self.requirement)

    def _met(self) -> bool:
        from packaging.requirements import Requirement

        requirement = Requirement(str(self.requirement))
        installed = _installed_version(requirement.name)
        if installed is None:  # a folder on the path has no metadata
            module = self.module or requirement.name.replace("-", "_")
            return not requirement.specifier and module_available(module)
        return requirement.specifier.contains(installed, prereleases=True) and (
            self.module is None or module_available(self.module)
        )

    def _outcome(self, available: bool) -> str:
        if self.requirement:
            if available:
                return f"Requirement {self.requirement!r} met"
            hint = f"Try running `pip install -U {self.requirement!r}`"
            return f"Requirement {self.requirement!r} not met. HINT: {hint}"
        if available:
            return f"Module {self.module!r} available"
        return (
            f"Module not found: {self.module!r}. HINT: Try running `pip install -U {self.module}`"
        )

    def __bool__(self) -> bool:
        return self._check()

    def __str__(self) -> str:
        self._check()
        return self.message

    __repr__ = __str__


def import_optional(name: str, *, extra: str | None = None, purpose: str = "This") -> ModuleType:
    """Import a package that users need not have, or say in one sentence how to get it.

    Args:
        name: The module.
        extra: The extra of this distribution that brings it.
        purpose: What needs it; the subject of the sentence.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken package may raise anything
        package = name.partition(".")[0]
        wanted = f'"pytorch-lightning[{extra}]"' if extra else package
        state = "is not installed" if not module_available(package) else f"fails to import: {error}"
        raise ModuleNotFoundError(
            f"{purpose} needs {package}, which {state}. Try `pip install {wanted}`.", name=name
        ) from error


def __getattr__(name: str) -> object:
    """Serve the availability flags, each checked at its first use."""
    if name not in _FLAGS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, requirement = _FLAGS[name]
    # without a version to compare only an import tells whether a package works
    return _imports(module) if requirement is None else RequirementCache(requirement)
