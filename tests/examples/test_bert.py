import sys

import pytest
from examples.bert import PACKAGES, main, paragraphs_of
from examples.run_all import result_of


def test_the_library_documents_itself():
    texts = paragraphs_of("xml")
    assert len(texts) > 50 and all(len(text.split()) >= 5 for text in texts)


@pytest.mark.extras
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_short_run_beats_the_most_common_class(precision, tmp_path, capsys):
    pytest.importorskip("transformers")
    pytest.importorskip("matplotlib")
    assert main(["--epochs", "2", "--precision", precision]) == 0
    accuracy, most_common = result_of("bert", capsys.readouterr().out)
    assert accuracy > 2 * most_common > 2 / len(PACKAGES)
    assert (tmp_path / "demo" / "bert" / "confusion.png").stat().st_size > 5_000


def test_glue_that_cannot_be_loaded_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert main(["--data", "glue"]) == 2
    assert "`--data glue` cannot be loaded here: no network" in capsys.readouterr().err


def refuse(*_, **__):
    raise OSError("no network")
