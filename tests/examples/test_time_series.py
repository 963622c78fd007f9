import sys

import pytest
from examples.run_all import result_of
from examples.time_series import main


@pytest.mark.extras
def test_a_short_run_beats_the_year_before(tmp_path, capsys):
    pytest.importorskip("statsmodels")
    pytest.importorskip("matplotlib")
    assert main(["--epochs", "5"]) == 0
    error, year_before = result_of("time_series", capsys.readouterr().out)
    assert error < 0.8 * year_before
    assert (tmp_path / "demo" / "sea" / "forecasts.png").stat().st_size > 10_000


def test_without_the_package_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "statsmodels.datasets", None)
    assert main([]) == 2
    assert "install statsmodels" in capsys.readouterr().err
