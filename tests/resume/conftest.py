"""Every resume is counted before anybody knows how it goes."""

import pytest
from tests.resume import matrix


@pytest.fixture(autouse=True)
def _count_resumes(tally, monkeypatch):
    monkeypatch.setattr(matrix, "count", tally)
