"""What the package says on the terminal, and how it is silenced."""

import logging
import sys

LIGHTNING_LOGO = r"""
      ____
     /   /
    /   /____
   /__     _/
     /   _/
    /  _/
   / _/     research code in a module,
  //        engineering in a trainer
"""


def cli_lightning_logo() -> None:
    """Print the logo."""
    print(LIGHTNING_LOGO)


class _LastResort(logging.Handler):
    """Writes plain lines to today's `sys.stderr`, unless the program set up logging itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers:
            return  # the record reaches those
        try:
            print(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def prepare_logger(name: str) -> logging.Logger:
    """Let a logger be heard at level INFO; a level that was set before is kept."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _LastResort) for handler in logger.handlers):
        logger.addHandler(_LastResort())
    return logger
