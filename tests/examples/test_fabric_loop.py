from importlib import import_module
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_weights_are_those_of_the_trainer(monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(EXAMPLES)
    assert import_module("fabric_loop").main(["--epochs", "2"]) == 0
    assert "weights as with the Trainer  equal, bit for bit" in capsys.readouterr().out
