"""Constructor arguments as command line options."""

from argparse import ArgumentParser, Namespace
from typing import Literal

import pytest

from pytorch_lightning.core.argparse_bridge import ArgparseBridge
from pytorch_lightning.core.datamodule import LightningDataModule


class Machine(ArgparseBridge):
    def __init__(
        self,
        logger: "Union[bool, Logger, None]" = None,  # noqa: F821 - names that only type checkers know
        devices: "list[int] | str | int" = "auto",
        limit: int | float | None = None,
        max_epochs: "Optional[int]" = None,  # noqa: F821
        fast: int | bool = False,
        mode: Literal["min", "max"] = "min",
        callbacks: list[int] | None = None,
        untyped=0.5,
        **rest: int,
    ):
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}


def parse(*words):
    parser = Machine.add_argparse_args(ArgumentParser())
    return parser.parse_args(list(words))


def test_defaults():
    assert vars(parse()) == {
        "logger": None,
        "devices": "auto",
        "limit": None,
        "max_epochs": None,
        "fast": False,
        "mode": "min",
        "untyped": 0.5,
    }


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--devices 2", "devices", 2),
        ("--devices 0,1", "devices", "0,1"),
        ("--limit 10", "limit", 10),
        ("--limit 0.5", "limit", 0.5),
        ("--max_epochs=3", "max_epochs", 3),
        ("--fast", "fast", True),
        ("--fast 5", "fast", 5),
        ("--fast false", "fast", False),
        ("--logger no", "logger", False),
        ("--logger", "logger", True),
        ("--mode max", "mode", "max"),
        ("--untyped 2", "untyped", 2.0),
    ],
)
def test_words_become_values(words, name, value):
    found = getattr(parse(*words.split()), name)
    assert found == value
    assert type(found) is type(value)


def test_a_word_that_does_not_fit_is_an_error(capsys):
    with pytest.raises(SystemExit):
        parse("--max_epochs", "many")
    assert "invalid int value: 'many'" in capsys.readouterr().err


def test_from_argparse_args_leaves_foreign_options_out():
    args = Namespace(max_epochs=3, batch_size=7, mode="max")
    made = Machine.from_argparse_args(args, mode="min").made_with
    assert (made["max_epochs"], made["mode"], made["rest"]) == (3, "min", {})


def test_a_parser_of_its_own():
    parent = ArgumentParser()
    parent.add_argument("--mode")
    parser = Machine.add_argparse_args(parent, use_argument_group=False)
    assert parser is not parent
    assert vars(parser.parse_args(["--limit", "3"]))["limit"] == 3
    assert "--limit" not in parent.format_help()


def test_environment(monkeypatch):
    monkeypatch.setenv("PL_MACHINE_MAX_EPOCHS", "3")
    monkeypatch.setenv("PL_MACHINE_MODE", "max")
    monkeypatch.setenv("PL_MACHINE_UNKNOWN", "1")
    assert Machine.match_env_arguments() == Namespace(max_epochs=3, mode="max")


def test_parse_argparser_fills_defaults_in():
    found = Machine.parse_argparser(Namespace(limit=3))
    assert (found.limit, found.devices, found.callbacks) == (3, "auto", None)
    assert Machine.default_attributes()["untyped"] == 0.5


def test_arguments_and_types():
    found = {name: kinds for name, kinds, _ in Machine.get_init_arguments_and_types()}
    assert found["devices"] == (int, str)
    assert found["limit"] == (int, float)
    assert found["callbacks"] == ()
    assert found["untyped"] == (float,)


def test_a_datamodule_with_rest_arguments_offers_those_of_its_parent():
    class Base(LightningDataModule):
        def __init__(self, batch_size: int = 4):
            super().__init__()
            self.batch_size = batch_size

    class Sub(Base):
        def __init__(self, folder: str = ".", **kwargs):
            super().__init__(**kwargs)
            self.folder = folder

    args = Sub.add_argparse_args(ArgumentParser()).parse_args(["--batch_size", "8"])
    data = Sub.from_argparse_args(args)
    assert (data.batch_size, data.folder) == (8, ".")
