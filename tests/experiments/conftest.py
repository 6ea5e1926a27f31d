"""Runs of grids that take seconds."""

import pytest

from tests.support.toy_student import use_toy_students


@pytest.fixture
def toys(monkeypatch):
    """Students that compile at once."""
    use_toy_students(monkeypatch)
