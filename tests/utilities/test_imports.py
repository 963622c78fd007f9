import operator
import subprocess
import sys
import types

import pytest

from pytorch_lightning.utilities.imports import (
    RequirementCache,
    compare_version,
    import_optional,
    module_available,
    package_available,
)


@pytest.mark.parametrize(
    ("requirement", "met", "text"),
    [
        ("torch>=2.6", True, "Requirement 'torch>=2.6' met"),
        ("torch>=99", False, "Requirement 'torch>=99' not met. HINT: Try running"),
        ("no-such-package>=1", False, "pip install -U 'no-such-package>=1'"),
    ],
)
def test_requirements_say_how_they_came_out(requirement, met, text):
    cache = RequirementCache(requirement)
    assert bool(cache) is met
    assert text in str(cache)
    assert repr(cache) == str(cache)


def test_modules_are_requirements_too():
    assert str(RequirementCache(module="torch.nn")) == "Module 'torch.nn' available"
    assert "Module not found: 'nothing'" in str(RequirementCache(module="nothing"))
    assert not RequirementCache("torch", "no_such_module")
    with pytest.raises(ValueError, match="Pass `requirement`"):
        RequirementCache()


def test_modules_are_found_without_importing_them():
    assert module_available("torch.nn")
    assert not module_available("torch.no_such_part")
    assert not module_available("nothing.at.all")
    assert package_available("torch.nn")


def test_versions_are_compared():
    assert compare_version("torch", operator.ge, "2.6")
    assert not compare_version("torch", operator.ge, "99", use_base_version=True)
    assert not compare_version("no-such-package", operator.ge, "0")


def test_a_missing_package_is_named_with_the_extra_that_brings_it():
    with pytest.raises(ModuleNotFoundError) as caught:
        import_optional("no_such_package", extra="rich", purpose="`RichProgressBar`")
    assert str(caught.value) == (
        "`RichProgressBar` needs no_such_package, which is not installed. "
        'Try `pip install "pytorch-lightning[rich]"`.'
    )
    assert import_optional("json").dumps([]) == "[]"


def test_a_package_that_fails_in_its_own_way_is_not_available(tmp_path, monkeypatch):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    from pytorch_lightning.utilities.imports import _TORCHVISION_AVAILABLE

    assert not _TORCHVISION_AVAILABLE
    with pytest.raises(ModuleNotFoundError, match="fails to import: operator does not exist"):
        import_optional("torchvision")


def test_flags_are_looked_up_at_every_import(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    from pytorch_lightning.utilities.imports import _TORCHVISION_AVAILABLE

    assert _TORCHVISION_AVAILABLE


def test_an_unknown_flag_is_an_import_error():
    with pytest.raises(ImportError):
        from pytorch_lightning.utilities.imports import _NO_SUCH_FLAG  # noqa: F401


def test_flags_do_not_import_what_has_a_version():
    program = (
        "import sys; from pytorch_lightning.utilities.imports import "
        "_RICH_AVAILABLE, _TORCHMETRICS_GREATER_EQUAL_1_0_0 as metrics; "
        "bool(_RICH_AVAILABLE), bool(metrics); "
        "assert 'rich' not in sys.modules and 'torchmetrics' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
