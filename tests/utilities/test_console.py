import logging
import subprocess
import sys

import pytorch_lightning as pl

PROGRAM = """
import logging, sys
{before}
import pytorch_lightning as pl
logging.getLogger("pytorch_lightning.part").info("hello")
"""


def stderr_of(before=""):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout == ""
    return result.stderr


def test_messages_go_to_stderr_once():
    assert stderr_of() == "hello\n"


def test_a_level_that_was_set_before_is_kept():
    assert stderr_of("logging.getLogger('pytorch_lightning').setLevel('ERROR')") == ""


def test_the_programs_own_logging_takes_over():
    before = "logging.basicConfig(format='mine: %(message)s')"
    assert stderr_of(before) == "mine: hello\n"


def test_messages_reach_handlers_that_come_later(caplog):
    with caplog.at_level(logging.INFO, "pytorch_lightning"):
        logging.getLogger("pytorch_lightning.part").info("heard")
    assert "heard" in caplog.text


def test_the_logo_is_printed_on_request(capsys):
    pl.cli_lightning_logo()
    assert pl.LIGHTNING_LOGO in capsys.readouterr().out
