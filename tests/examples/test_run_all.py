"""The programs in full: each one reaches, with its seed, what the table says."""

from importlib.util import find_spec

import pytest
from examples.run_all import HERE, SYSTEMS, number_after, result_of, run


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_full_run_reaches_its_result(name):
    system = SYSTEMS[name]
    for package in system.needs:
        if find_spec(package) is None:
            pytest.skip(f"no {package}")
    done = run(name)
    assert done.code == 0
    own, trivial = result_of(name, done.printed)
    assert system.holds(own), done.printed
    if system.trivial:
        assert system.is_error == (own < trivial), done.printed


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.name)
def test_a_program_is_one_file_of_at_most_200_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 200


def test_every_program_is_in_the_table():
    programs = {system.program or name for name, system in SYSTEMS.items()}
    others = {"run_all", "compare"}
    assert programs == {path.stem for path in HERE.glob("*.py")} - others


@pytest.mark.parametrize(
    ("printed", "number"),
    [("  GPT                 2.244\n", 2.244), ("samples 10 digits, confidence 0.93", 0.93)],
)
def test_numbers_are_read_after_words(printed, number):
    assert number_after("GPT|samples 10 digits", printed) == number


def test_a_number_that_was_not_printed_is_not_a_result():
    assert not SYSTEMS["dqn"].holds(number_after("learned", "nothing"))
    assert not SYSTEMS["language_model"].holds(number_after("GPT", "nothing"))
