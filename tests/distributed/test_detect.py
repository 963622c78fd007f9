import pytest

from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

SLURM = {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, LightningEnvironment),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, LightningEnvironment),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "2", "RANK": "0"}, LightningEnvironment),
        ({"WORLD_SIZE": "1", "RANK": "0"}, LightningEnvironment),
        (SLURM, SLURMEnvironment),
        ({**SLURM, "TORCHELASTIC_RUN_ID": "none"}, TorchElasticEnvironment),
    ],
)
def test_the_first_that_fits(launched, variables, expected):
    launched(**variables)
    assert type(detect_environment()) is expected
