"""The process from which the victims of these tests are forked, one for each worker of pytest."""

import pytest
from tests.faults import trained
from tests.faults.victims import Breeder


@pytest.fixture(scope="session")
def breeder(tmp_path_factory):
    breeder = Breeder(trained.warm_up, str(tmp_path_factory.mktemp("warm")))
    yield breeder
    breeder.end()
