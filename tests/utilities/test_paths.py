import os

import pytest

from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.paths import get_filesystem


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return str(tmp_path / "x") if request.param == "local" else f"memory://{tmp_path.name}"


def test_the_same_verbs_work_on_disks_and_urls(folder):
    assert not paths.exists(folder)
    assert paths.list_names(folder) == []
    paths.makedirs(paths.join(folder, "a"))
    paths.makedirs(paths.join(folder, "a"))
    with get_filesystem(folder).open(paths.join(folder, "b.txt"), "w") as file:
        file.write("hello")
    assert paths.list_names(folder) == ["a", "b.txt"]
    assert paths.is_dir(paths.join(folder, "a"))
    assert not paths.is_dir(paths.join(folder, "b.txt"))
    found = paths.glob(paths.join(folder, "*.txt"))
    assert [os.path.basename(name) for name in found] == ["b.txt"]
    assert paths.is_remote(found[0]) == paths.is_remote(folder)
    paths.remove(paths.join(folder, "b.txt"))
    paths.remove(paths.join(folder, "b.txt"))
    assert paths.list_names(folder) == ["a"]
    paths.remove(folder)
    assert not paths.exists(folder)


def test_what_is_remote():
    assert paths.is_remote("s3://bucket/key")
    assert not paths.is_remote("file:///tmp/x")
    assert not paths.is_remote("a/b")
    assert not paths.is_remote("C:\\runs")


def test_joining():
    assert paths.join("s3://bucket/", "a", "b/") == "s3://bucket/a/b"
    assert paths.join("a", "b") == os.path.join("a", "b")
    assert paths.join("file:///a", "b") == os.path.join("/a", "b")


def test_home_and_relative_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.normalize("~/runs") == str(tmp_path / "runs")
    assert paths.normalize("runs") == os.path.join(os.getcwd(), "runs")
    assert paths.normalize("s3://bucket") == "s3://bucket"


def test_removing_a_link_leaves_what_it_points_to(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    paths.remove(link)
    assert target.is_dir()
    assert not link.exists()
