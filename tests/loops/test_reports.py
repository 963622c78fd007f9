"""What `validate` and `test` print."""

import pytest
from tests.loops.logging_runs import Plain, numbers, trainer


class Scored(Plain):
    """Logs two values per loader."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("score", batch.mean())
        self.log("hidden", 1.0, logger=False)

    test_step = validation_step


@pytest.mark.parametrize(
    ("entry", "title"), [("validate", "Validate metric"), ("test", "Test metric")]
)
def test_a_table_of_one_loader(capsys, entry, title):
    getattr(trainer(), entry)(Scored(), numbers(4))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [*title.split(), "DataLoader", "0"] in lines
    assert ["score", "1.5"] in lines
    assert not any("hidden" in line for line in lines)


def test_a_column_for_each_loader(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    trainer().test(Scored(), [numbers(4), numbers(3)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Test", "metric", "DataLoader", "0", "DataLoader", "1"] in lines
    assert ["score", "1.5", "1.0"] in lines


def test_a_narrow_terminal_gets_blocks_one_below_the_other(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    trainer().test(Scored(), [numbers(4), numbers(3)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["score", "1.5"] in lines
    assert ["score", "1.0"] in lines


def test_long_names_are_whole(capsys):
    class Long(Plain):
        def test_step(self, batch, batch_idx):
            self.log("a" * 40, 1.0)

    trainer().test(Long(), numbers(4))
    assert "a" * 40 in capsys.readouterr().out


def test_verbose_false_prints_nothing(capsys):
    trainer().validate(Scored(), numbers(4), verbose=False)
    assert capsys.readouterr().out == ""


def test_nothing_logged_prints_nothing(capsys):
    class Silent(Plain):
        def test_step(self, batch, batch_idx):
            return None

    trainer().test(Silent(), numbers(4))
    assert capsys.readouterr().out == ""


def test_validation_inside_fit_prints_no_table(capsys):
    trainer().fit(Scored(), numbers(4), numbers(4))
    assert "metric" not in capsys.readouterr().out
