import re
from pathlib import Path

import pytest

import pytorch_lightning
from pytorch_lightning.utilities.environ import (
    VARIABLES,
    read_flag,
    read_int,
    read_prefixed,
    read_text,
)

SOURCE = Path(pytorch_lightning.__file__).parent


def test_an_empty_variable_is_a_missing_one(monkeypatch):
    monkeypatch.setenv("RANK", "")
    assert read_text("RANK", "x") == "x"
    assert read_int("RANK", 3) == 3
    assert read_flag("RANK", default=True)


def test_numbers_and_flags(monkeypatch):
    monkeypatch.setenv("RANK", "7")
    assert read_int("RANK") == 7
    for text, value in {"0": False, "off": False, "False": False, "no": False, "1": True}.items():
        monkeypatch.setenv("PL_SEED_WORKERS", text)
        assert read_flag("PL_SEED_WORKERS") is value


def test_a_bad_number_names_its_variable(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="`WORLD_SIZE=two` in the environment"):
        read_int("WORLD_SIZE")


def test_variables_with_a_prefix(monkeypatch):
    monkeypatch.setenv("PL_TEST_MAX_EPOCHS", "3")
    assert read_prefixed("PL_TEST_") == {"max_epochs": "3"}


def test_every_variable_that_is_read_is_in_the_table():
    reads = re.compile(r"""(?:read_\w+\(|environ(?:\.get)?[\[(])\s*"([A-Z_]+)""")
    read = {
        name for file in SOURCE.rglob("*.py") for name in reads.findall(file.read_text("utf-8"))
    }
    assert "PL_GLOBAL_SEED" in read
    assert read <= set(VARIABLES)
