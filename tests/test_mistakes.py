"""Every mistake gets one clear error, as early as it can be known."""

import pytest
from tests.mistakes import arguments, callbacks, entries, modules
from tests.mistakes.case import seen

MISTAKES = [
    *arguments.MISTAKES,
    *callbacks.MISTAKES,
    *modules.MISTAKES,
    *entries.MISTAKES,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_one_clear_error(mistake, monkeypatch):
    for name, value in mistake.environment.items():
        monkeypatch.setenv(name, value)
    seen.samples = seen.steps = 0
    with pytest.raises(mistake.error) as caught:
        mistake.program()
    message = str(caught.value)
    assert [word for word in mistake.says if word.lower() not in message.lower()] == [], message
    assert seen.steps <= mistake.steps
    assert mistake.steps or seen.samples == 0
