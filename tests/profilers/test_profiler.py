import logging

import pytest

from pytorch_lightning.profilers import PassThroughProfiler, Profiler


class Recorder(Profiler):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = []

    def start(self, action_name):
        self.calls.append(("start", action_name))

    def stop(self, action_name):
        self.calls.append(("stop", action_name))

    def summary(self):
        return f"{len(self.calls)} calls"


def test_profile_starts_and_stops():
    profiler = Recorder()
    with profiler.profile("load") as name:
        assert profiler.calls == [("start", "load")]
    assert name == "load"
    assert profiler.calls == [("start", "load"), ("stop", "load")]


def test_profile_stops_when_the_block_raises():
    profiler = Recorder()
    with pytest.raises(KeyError), profiler.profile("load"):
        raise KeyError("x")
    assert profiler.calls[-1] == ("stop", "load")


@pytest.mark.parametrize("given", [True, False])
def test_report_goes_to_a_file_of_stage_name_and_rank(tmp_path, given):
    profiler = Recorder(dirpath=tmp_path if given else None, filename="times")
    profiler.setup("fit", local_rank=3, log_dir=str(tmp_path))
    with profiler.profile("load"):
        pass
    profiler.describe()
    profiler.teardown("fit")
    assert (tmp_path / "fit-times-3.txt").read_text() == "2 calls"


def test_report_without_a_name_goes_to_the_log_on_rank_zero(caplog):
    caplog.set_level(logging.INFO, logger="pytorch_lightning")
    logging.getLogger("pytorch_lightning").propagate = True
    for rank in (0, 1):
        profiler = Recorder()
        profiler.setup("fit", local_rank=rank)
        profiler.describe()
    assert [record.message for record in caplog.records] == ["0 calls"]


def test_the_contract_needs_start_and_stop():
    with pytest.raises(TypeError, match="abstract"):
        Profiler()


def test_pass_through_measures_nothing():
    profiler = PassThroughProfiler()
    with profiler.profile("load"):
        profiler.start("again")
        profiler.start("again")
        profiler.stop("never started")
    assert profiler.summary() == ""
    profiler.describe()
