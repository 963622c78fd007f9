import os
import socket

import pytest

from pytorch_lightning.distributed import ClusterEnvironment, LightningEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

pytestmark = pytest.mark.usefixtures("launched")


def test_alone_on_this_machine():
    environment = LightningEnvironment()
    assert LightningEnvironment.detect()
    assert not environment.creates_processes_externally
    assert environment.main_address == "127.0.0.1"
    assert (environment.world_size(), environment.global_rank()) == (1, 0)
    assert (environment.local_rank(), environment.node_rank()) == (0, 0)


def test_the_port_is_free_and_stays():
    environment = LightningEnvironment()
    port = environment.main_port
    with socket.socket() as connection:
        connection.bind(("", port))
    assert environment.main_port == port


def test_variables_are_read(monkeypatch):
    for name, value in {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("GROUP_RANK", "3")
    environment = LightningEnvironment()
    assert (environment.main_address, environment.main_port) == ("10.0.0.1", 1234)
    assert (environment.local_rank(), environment.node_rank()) == (2, 3)
    assert environment.creates_processes_externally
    monkeypatch.setenv("NODE_RANK", "1")
    assert environment.node_rank() == 1


def test_standalone_port_serves_where_there_is_no_master_port(monkeypatch):
    monkeypatch.setenv("STANDALONE_PORT", "4321")
    assert LightningEnvironment().main_port == 4321


def test_setting_the_rank_moves_what_is_said_on_rank_zero(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    environment = LightningEnvironment()
    environment.set_global_rank(3)
    environment.set_world_size(4)
    assert rank_zero_only.rank == environment.global_rank() == 3
    assert environment.world_size() == 4


def test_teardown_forgets_the_world_size(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    LightningEnvironment().teardown()
    assert "WORLD_SIZE" not in os.environ


def test_the_contract_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        ClusterEnvironment()


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "said"),
    [
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "4"}, 2, 1, "ask for 2 processes, but somebody started"),
        ({"LOCAL_RANK": "2"}, 2, 1, "`LOCAL_RANK=2`.*`devices=2` numbers them from 0 to 1"),
        ({"WORLD_SIZE": "4"}, 1, 1, "`WORLD_SIZE=4`.* ask for one process"),
        ({"NODE_RANK": "1"}, 2, 1, "`NODE_RANK=1`.*`num_nodes=1` numbers them from 0 to 0"),
    ],
)  # fmt: skip
def test_variables_by_hand_are_compared_with_the_arguments(
    launched, variables, devices, nodes, said
):
    launched(**variables)
    with pytest.raises(ValueError, match=said):
        LightningEnvironment().validate_settings(devices, nodes)


def test_variables_by_hand_that_fit(launched):
    launched(LOCAL_RANK="1", NODE_RANK="1", WORLD_SIZE="4")
    LightningEnvironment().validate_settings(num_devices=2, num_nodes=2)
    LightningEnvironment().validate_settings(num_devices=1, num_nodes=1)
