"""The environment in which a teacher is asked."""

import pytest

from tests.support.annotation import SECRET


@pytest.fixture
def teacher_environment(monkeypatch):
    """A key, and nothing else of what the environment could say about a teacher."""
    monkeypatch.setenv('TEACHER_KEY', SECRET)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    for name in ('OPENAI_BASE_URL', 'OPENAI_MODEL', 'OPENAI_API_KEY'):
        monkeypatch.delenv(name, raising=False)
