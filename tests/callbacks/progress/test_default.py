"""Which bar a run has when nobody chose one."""

import io
import sys

from pytorch_lightning.callbacks.progress import LineProgress, TQDMProgressBar
from pytorch_lightning.callbacks.progress.default import default_progress_bar


class Terminal(io.StringIO):
    """Output that a person watches."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert type(default_progress_bar()) is TQDMProgressBar


def test_a_file_has_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert type(default_progress_bar()) is LineProgress


def test_no_output_at_all_has_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert type(default_progress_bar()) is LineProgress


def test_a_notebook_has_a_bar(monkeypatch):
    class Shell:
        config = {"IPKernelApp": {}}

    class IPython:
        get_ipython = staticmethod(Shell)

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setitem(sys.modules, "IPython", IPython)
    assert type(default_progress_bar()) is TQDMProgressBar
