"""Which progress bar a run has when nobody chose one."""

import sys

from pytorch_lightning.callbacks.progress.line_progress import LineProgress
from pytorch_lightning.callbacks.progress.progress_bar import ProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import TQDMProgressBar


def default_progress_bar() -> ProgressBar:
    """A bar in a terminal or a notebook, plain lines everywhere else."""
    return TQDMProgressBar() if _on_a_terminal() or _in_a_notebook() else LineProgress()


def _on_a_terminal() -> bool:
    # sys.stdout is None under pythonw, and may be anything with a `write`
    return bool(getattr(sys.stdout, "isatty", lambda: False)())


def _in_a_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
