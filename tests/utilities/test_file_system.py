from types import SimpleNamespace

import pytest

from pytorch_lightning.utilities import is_shared_filesystem


class Ranks(SimpleNamespace):
    def broadcast(self, obj, src=0):
        return obj

    def barrier(self, name=None):
        self.waited = True

    def reduce_boolean_decision(self, decision, all=True):
        return decision


def test_one_process_and_urls_share_by_nature(tmp_path):
    assert is_shared_filesystem(Ranks(world_size=1), tmp_path)
    assert is_shared_filesystem(Ranks(world_size=2), "s3://bucket/key")


def test_a_marker_is_looked_for_and_removed(tmp_path):
    ranks = Ranks(world_size=2, is_global_zero=True)
    assert is_shared_filesystem(ranks, tmp_path)
    assert ranks.waited
    assert list(tmp_path.iterdir()) == []
    assert not is_shared_filesystem(Ranks(world_size=2, is_global_zero=False), tmp_path, timeout=0)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        is_shared_filesystem(Ranks(world_size=1), tmp_path / "no-such-folder")
