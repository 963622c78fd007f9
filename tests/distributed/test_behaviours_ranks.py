"""What a program of one process does, two processes do alike: the order of hooks."""

from pathlib import Path

from tests.distributed.ranks import run_ranks
from tests.loops.trace import OLD_SCENARIOS, SCENARIOS

GOLDEN = Path(__file__).parents[1] / "loops" / "golden"
ALL = SCENARIOS | OLD_SCENARIOS


def _traces(folder):
    return {name: run(Path(folder, name)) for name, run in ALL.items()}


def test_each_rank_calls_the_hooks_in_the_order_of_one_process(tmp_path):
    first, second = run_ranks(_traces, 2, str(tmp_path), limit=120)
    for name in ALL:
        golden = (GOLDEN / f"{name}.txt").read_text().split("\n")[:-1]
        assert first[name] == golden, name
        # data is prepared once per machine
        assert second[name] == [e for e in golden if not e.endswith(".prepare_data")], name
