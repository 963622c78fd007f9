import pytest

from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.plugins.environments import KubeflowEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

POD = {"MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456", "RANK": "2", "WORLD_SIZE": "3"}


def test_variables_are_read(launched):
    launched(**POD)
    environment = KubeflowEnvironment()
    assert environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("job-master-0", 23456)
    assert (environment.world_size(), environment.global_rank()) == (3, 2)
    assert (environment.local_rank(), environment.node_rank()) == (0, 2)


def test_the_rank_cannot_be_set_and_moves_what_is_said_once(launched):
    launched(**POD)
    environment = KubeflowEnvironment()
    environment.set_global_rank(0)
    environment.set_world_size(1)
    assert (rank_zero_only.rank, environment.global_rank(), environment.world_size()) == (2, 2, 3)


def test_it_has_to_be_given(launched):
    launched(**POD)
    with pytest.raises(NotImplementedError, match="pass `plugins=KubeflowEnvironment"):
        KubeflowEnvironment.detect()
    with pytest.raises(ValueError, match="`WORLD_SIZE=3` and `RANK=2`.*KubeflowEnvironment"):
        detect_environment()


@pytest.mark.parametrize("name", ["main_address", "main_port", "world_size", "global_rank"])
def test_a_missing_variable_is_named(launched, name):
    environment = KubeflowEnvironment()
    with pytest.raises(KeyError, match="is not in the environment"):
        found = getattr(environment, name)
        found()


def test_another_number_names_both(launched):
    launched(**POD)
    KubeflowEnvironment().validate_settings(num_devices=1, num_nodes=3)
    with pytest.raises(ValueError, match="ask for 2 processes, but Kubeflow started 3 .WORLD_SIZE"):
        KubeflowEnvironment().validate_settings(num_devices=1, num_nodes=2)
