import os

import pytest

from pytorch_lightning.utilities.rank_zero import rank_zero_only, warnings_given

_PREFIXES = ("SLURM_", "LSB_", "JSM_", "OMPI_", "PMI_", "MV2_", "MASTER_", "TORCHELASTIC_")
_NAMES = {
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("STANDALONE_PORT", "ENVIRONMENT"),
}


@pytest.fixture
def launched(monkeypatch):
    """Sets exactly the variables that a launcher would; all others of that kind are gone."""
    for name in list(os.environ):
        if name in _NAMES or name.startswith(_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    said = set(warnings_given)
    warnings_given.clear()

    def set_variables(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    yield set_variables
    warnings_given.update(said)
