"""Hostile files: none runs anything, each is one clear error, soon and in little memory."""

import json
import subprocess
import sys
import textwrap

import pytest
from tests.checkpoint import hostile

pytestmark = pytest.mark.faults

WATCHER = textwrap.dedent(
    """
    import json, os, resource, sys, time, warnings
    import numpy, torch
    from pytorch_lightning.checkpoint.reader import read_checkpoint
    from pytorch_lightning.utilities.exceptions import CheckpointError

    try:
        import omegaconf  # one fixed name that may be tried, installed or not
    except ImportError:
        pass
    folder, events, current = sys.argv[1], [], [""]
    HARMLESS = ("object.", "builtins.id", "sys._getframe", "ctypes.", "array.", "code.__new__")

    def watch(event, args):
        if event == "open" and str(args[0]) == current[0] and args[1] in ("rb", "r", None):
            return
        if event == "import" and args[0].partition(".")[0] in ("omegaconf", "encodings"):
            return
        if event.startswith(HARMLESS) or event in ("os.listdir", "compile") and not current[0]:
            return
        events.append((event, repr(args)[:200]))

    read_checkpoint(sys.argv[2])  # what is loaded on first use
    sys.addaudithook(watch)
    results = {}
    for file in sorted(os.listdir(folder)):
        current[0] = os.path.join(folder, file)
        del events[:]
        memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            outcome = repr(read_checkpoint(current[0]))[:500]
            kind = "loaded"
        except CheckpointError as error:
            kind, outcome = "refused", str(error)
        except BaseException as error:
            kind, outcome = type(error).__name__, str(error)
        seconds = time.process_time() - start
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        results[file] = [kind, outcome, list(events), seconds, grown / 1024]
    current[0] = ""
    print(json.dumps(results))
    """
)


def watched(folder, warm):
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, str(folder), str(warm)],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder, marker = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("m") / "marker"
    hostile.make(folder, marker)
    warm = tmp_path_factory.mktemp("warm") / "a.ckpt"
    hostile.archive(warm, hostile.pickled(b"K\x01"))
    outcome = watched(folder, warm)
    assert not marker.exists()
    return outcome


def test_there_are_enough_of_them(results, tally):
    tally("hostile file", len(results))
    assert len(results) >= 110


def test_each_is_refused_with_its_name(results):
    other = {file: r[:2] for file, r in results.items() if r[0] != "refused" or file not in r[1]}
    assert other == {}, "\n".join(f"{file}: {outcome}" for file, outcome in other.items())


def test_none_runs_imports_opens_or_writes_anything(results):
    assert {file: r[2] for file, r in results.items() if r[2]} == {}


def test_each_is_refused_soon_and_in_little_memory(results):
    slow = {file: r[3:] for file, r in results.items() if r[3] > 5 or r[4] > 500}
    assert slow == {}


@pytest.mark.long
def test_large_ones_too(tmp_path, tally):
    hostile.archive(tmp_path / "warm.ckpt", hostile.pickled(b"K\x01"))
    (tmp_path / "files").mkdir()
    hostile.make(tmp_path / "files", tmp_path / "marker", large=True)
    outcome = watched(tmp_path / "files", tmp_path / "warm.ckpt")
    tally("hostile file", len(outcome))
    for file, (kind, text, events, seconds, grown) in outcome.items():
        assert kind == "refused" and file in text and events == [], (file, text)
        assert seconds < 5 and grown < 500, (file, seconds, grown)


def test_the_error_names_what_would_have_run(results):
    assert "`posix.system`" in results["reduce.ckpt"][1]
    assert "checkpoint['hyper_parameters']" in results["reduce.ckpt"][1]
    assert "`builtins.eval`" in results["reduce eval of python 2.ckpt"][1]
    assert "`torch.optim.adam.Adam`" in results["a class in hyperparameters.ckpt"][1]
    assert (
        "checkpoint['hyper_parameters']['optimizer']"
        in results["a class in hyperparameters.ckpt"][1]
    )


def test_the_watcher_sees_what_it_should(tmp_path):
    # the same files, read by their word, do run: so silence above means something
    marker = tmp_path / "marker"
    folder = tmp_path / "files"
    folder.mkdir()
    value = hostile.call(hostile.name("posix", "system"), hostile.text(f"touch {marker}"))
    hostile.archive(folder / "a.ckpt", hostile.pickled(value))
    hostile.archive(tmp_path / "warm.ckpt", hostile.pickled(b"K\x01"))
    trusting = WATCHER.replace(
        "read_checkpoint(current[0])", "read_checkpoint(current[0], None, False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", trusting, str(folder), str(tmp_path / "warm.ckpt")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    events = {event for event, _ in json.loads(done.stdout)["a.ckpt"][2]}
    assert "os.system" in events
    assert marker.exists()


def test_names_of_code_that_are_only_text_load_as_text(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    hostile.make_harmless(folder)
    hostile.archive(tmp_path / "warm.ckpt", hostile.pickled(b"K\x01"))
    outcome = watched(folder, tmp_path / "warm.ckpt")
    assert {file: (r[0], r[2]) for file, r in outcome.items()} == {
        file: ("loaded", []) for file in ("spec.ckpt", "scheduler.ckpt", "callback.ckpt")
    }
    assert "'_instantiator': 'antigravity.instantiate'" in outcome["spec.ckpt"][1]
    assert outcome["scheduler.ckpt"][1] == "{'lr_schedulers': [{}]}"
    assert outcome["callback.ckpt"][1] == "{'callbacks': {'os.system': {}}}"
