"""The examples in the docstrings do what they say."""

import doctest
import importlib
import pkgutil

import pytest

import pytorch_lightning


def modules():
    found = pkgutil.walk_packages(pytorch_lightning.__path__, "pytorch_lightning.")
    return [module.name for module in found if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples in {name} fail"
