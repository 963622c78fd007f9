"""Which temporary names are of the dead."""

import os
import time

from pytorch_lightning.utilities.leftovers import (
    is_abandoned,
    remove_leftovers,
    reserved_name,
    reserved_name_aside,
)


def parts_of(name):
    host, writer, rest = name.removeprefix(".saving-").split("-")
    return host, writer, rest


def test_a_name_in_use_is_not_abandoned_and_one_of_before_is():
    with reserved_name() as name:
        assert not is_abandoned(name, time.time)
    assert is_abandoned(name, time.time)
    assert not is_abandoned("a.ckpt", lambda: 0.0)
    assert not is_abandoned(".saving-odd.part", lambda: 0.0)


def test_a_process_that_has_the_number_of_a_dead_one_is_told_from_it():
    with reserved_name() as name:
        host, _, rest = parts_of(name)
    parent = os.getppid()
    with open(f"/proc/{parent}/stat") as file:
        start = file.read().rpartition(")")[2].split()[19]
    assert not is_abandoned(f".saving-{host}-{parent}.{start}-{rest}", time.time)
    assert is_abandoned(f".saving-{host}-{parent}.1{start}-{rest}", time.time)


def test_what_another_host_began_is_abandoned_after_a_day():
    with reserved_name() as name:
        host, writer, rest = parts_of(name)
    foreign = f".saving-not{host}-{writer}-{rest}"
    assert not is_abandoned(foreign, lambda: time.time() - 3600)
    assert is_abandoned(foreign, lambda: time.time() - 25 * 3600)


def test_what_made_way_gets_its_name_back_unless_that_is_taken(tmp_path):
    with reserved_name_aside("my-own.ckpt") as name:
        pass
    (tmp_path / name).mkdir()
    assert remove_leftovers(str(tmp_path)) == [name]
    assert os.listdir(tmp_path) == ["my-own.ckpt"]
    (tmp_path / name).mkdir()
    assert remove_leftovers(str(tmp_path)) == [name]
    assert os.listdir(tmp_path) == ["my-own.ckpt"]
