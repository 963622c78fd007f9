import importlib.util
import socket
import sys
from types import ModuleType

import pytest

from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.plugins.environments import LightningEnvironment, MPIEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class World:
    """What `mpi4py.MPI.COMM_WORLD` answers to one of its processes."""

    def __init__(self, rank, hosts):
        self.rank, self.hosts, self.exchanges = rank, hosts, 0

    def Get_size(self):  # noqa: N802
        return len(self.hosts)

    def Get_rank(self):  # noqa: N802
        return self.rank

    def allgather(self, own):
        self.exchanges += 1
        port = own[1]
        return [(host, port + index) for index, host in enumerate(self.hosts)]


@pytest.fixture
def mpirun(launched, monkeypatch):
    def start(rank, hosts):
        world = World(rank, hosts)
        package, module = ModuleType("mpi4py"), ModuleType("mpi4py.MPI")
        package.MPI, module.COMM_WORLD = module, world
        monkeypatch.setitem(sys.modules, "mpi4py", package)
        monkeypatch.setitem(sys.modules, "mpi4py.MPI", module)
        return world

    return start


def test_who_sits_where_is_exchanged_once(mpirun, launched):
    launched(MASTER_PORT="5000")
    world = mpirun(3, ["b", "a", "b", "a"])
    environment = MPIEnvironment()
    assert type(detect_environment()) is MPIEnvironment
    assert environment.creates_processes_externally
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert (environment.local_rank(), environment.node_rank()) == (1, 1)
    assert (environment.main_address, environment.main_port) == ("b", 5000)
    assert world.exchanges == 1


def test_the_port_is_free(mpirun):
    mpirun(0, ["here"])
    with socket.socket() as connection:
        connection.bind(("", MPIEnvironment().main_port))


def test_the_rank_cannot_be_set_and_moves_what_is_said_once(mpirun):
    mpirun(1, ["a", "a"])
    environment = MPIEnvironment()
    environment.set_global_rank(0)
    environment.set_world_size(7)
    assert (rank_zero_only.rank, environment.global_rank(), environment.world_size()) == (1, 1, 2)


def test_one_process_is_not_mpi(mpirun):
    mpirun(0, ["a"])
    assert not MPIEnvironment.detect()
    assert type(detect_environment()) is LightningEnvironment


def test_another_number_names_both(mpirun):
    mpirun(2, ["a", "a", "b"])
    environment = MPIEnvironment()
    with pytest.raises(ValueError, match="ask for 2 processes, but mpirun started 3 .COMM_WORLD"):
        environment.validate_settings(2, 1)
    with pytest.raises(ValueError, match=r"but mpirun started 1 here \(2 on a, 1 on b\)"):
        environment.validate_settings(3, 1)


@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is not None, reason="mpi4py is installed")
def test_without_the_package(launched):
    assert not MPIEnvironment.detect()
    with pytest.raises(ModuleNotFoundError, match="pip install mpi4py"):
        MPIEnvironment()


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"])
def test_several_processes_that_nobody_tells_apart(mpirun, launched, name):
    mpirun(0, ["a"])
    launched(**{name: "2"})
    with pytest.raises(ValueError, match=f"`{name}=2`.*pip install mpi4py"):
        detect_environment()
