"""Every test starts in an empty folder and leaves the process as it found it."""

import logging
import os
import signal
import threading
import warnings

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from tests.tally import (  # noqa: F401 - hooks and a fixture of pytest
    pytest_addoption,
    pytest_configure,
    pytest_terminal_summary,
    tally,
)

from pytorch_lightning.utilities.rank_zero import rank_zero_only, warnings_given
from pytorch_lightning.utilities.seed import isolate_rng

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)

_LOGGERS = ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _environment_as_found():
    found = dict(os.environ)
    yield
    for name in set(os.environ) - set(found):
        if name != "PYTEST_CURRENT_TEST":
            del os.environ[name]
    os.environ.update(found)


@pytest.fixture(autouse=True)
def _random_state_as_found():
    with isolate_rng():
        yield


@pytest.fixture(autouse=True)
def _torch_as_found():
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    anomaly, precision = torch.is_anomaly_enabled(), torch.get_float32_matmul_precision()
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, cudnn
    torch.autograd.set_detect_anomaly(anomaly)
    torch.set_float32_matmul_precision(precision)
    torch.set_grad_enabled(True)


@pytest.fixture(autouse=True)
def _logging_as_found():
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    found = [(log.level, log.propagate, log.disabled, list(log.handlers)) for log in loggers]
    yield
    for log, (level, propagate, disabled, handlers) in zip(loggers, found, strict=True):
        log.setLevel(level)
        log.propagate, log.disabled, log.handlers[:] = propagate, disabled, handlers


@pytest.fixture(autouse=True)
def _process_as_found():
    rank, format_warning = rank_zero_only.rank, warnings.formatwarning
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = [(number, signal.getsignal(number)) for number in _SIGNALS]
    warnings_given.clear()
    yield
    warnings_given.clear()
    rank_zero_only.rank, warnings.formatwarning = rank, format_warning
    if in_main_thread:
        for number, handler in handlers:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name in ("faults", "resume"):
            item.add_marker("faults")
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
