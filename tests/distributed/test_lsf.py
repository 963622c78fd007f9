import socket

import pytest

from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.plugins.environments import LSFEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only


@pytest.fixture
def jsrun(launched, tmp_path):
    """What `jsrun` sets, on the second of two hosts."""
    file = tmp_path / "ranks"
    file.write_text(f"login\nhost1\nhost1\n{socket.gethostname()}\n{socket.gethostname()}\n")
    launched(
        LSB_JOBID="987654",
        LSB_DJOB_RANKFILE=file,
        JSM_NAMESPACE_SIZE="4",
        JSM_NAMESPACE_RANK="3",
        JSM_NAMESPACE_LOCAL_RANK="1",
    )
    return file


def test_variables_are_read(jsrun):
    environment = LSFEnvironment()
    assert type(detect_environment()) is LSFEnvironment
    assert environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("host1", 10654)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert (environment.local_rank(), environment.node_rank()) == (1, 1)


def test_the_rank_cannot_be_set_and_moves_what_is_said_once(jsrun):
    environment = LSFEnvironment()
    environment.set_global_rank(0)
    environment.set_world_size(1)
    assert (rank_zero_only.rank, environment.global_rank(), environment.world_size()) == (3, 3, 4)


@pytest.mark.parametrize(
    "name", ["LSB_JOBID", "LSB_DJOB_RANKFILE", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK"]
)
def test_every_variable_is_needed(jsrun, monkeypatch, name):
    monkeypatch.delenv(name)
    assert not LSFEnvironment.detect()


def test_a_missing_file_is_named(launched):
    with pytest.raises(ValueError, match="`LSB_DJOB_RANKFILE` is not in the environment"):
        LSFEnvironment()


def test_a_file_without_hosts(jsrun):
    jsrun.write_text("login\n")
    with pytest.raises(ValueError, match="names no host that computes"):
        LSFEnvironment()


def test_a_host_that_is_not_in_the_file(jsrun):
    jsrun.write_text("login\nhost1\nhost2\n")
    with pytest.raises(ValueError, match="none of the hosts .* host1, host2"):
        LSFEnvironment()


def test_a_host_with_its_domain(jsrun):
    jsrun.write_text(f"login\nhost1\n{socket.gethostname().split('.')[0]}.cluster.example\n")
    assert LSFEnvironment().node_rank() == 1


def test_another_number_names_both(jsrun, launched):
    LSFEnvironment().validate_settings(2, 2)
    with pytest.raises(ValueError, match="ask for 2 processes, but jsrun started 4 .JSM_NAMESPACE"):
        LSFEnvironment().validate_settings(2, 1)
    launched(JSM_NAMESPACE_LOCAL_SIZE="4")
    with pytest.raises(ValueError, match="asks for 2 on each machine, but jsrun started 4 here"):
        LSFEnvironment().validate_settings(2, 2)
