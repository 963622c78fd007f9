"""What `LearningRateMonitor` promises."""

import pytest

from pytorch_lightning.callbacks.lr_monitor import LearningRateMonitor
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def test_rate_monitor_refuses_unknown_intervals():
    with pytest.raises(MisconfigurationException, match="logging_interval='batch'"):
        LearningRateMonitor(logging_interval="batch")
