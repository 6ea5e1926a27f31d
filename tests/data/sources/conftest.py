"""Downloads in the tests come from this machine, or from nowhere."""

import threading

import pytest

from qcrd_jax.data.sources import download as downloads
from qcrd_jax.data.sources import official
from tests.data.sources.releases import REAL, change
from tests.support.download_server import Server


@pytest.fixture
def server():
    """A server of one file, see `Server`."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def offline(monkeypatch):
    """No test reaches a real server: every address is one at which nobody listens."""
    monkeypatch.setattr(downloads, 'PAUSES', ())
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    nowhere = official.Remote('http://127.0.0.1:9/datasets.zip')
    monkeypatch.setattr(official, 'ARCHIVE', nowhere)
    for name, download in REAL.items():
        elsewhere = (official.Remote(f'http://127.0.0.1:9/{file.name}') for file in download.files)
        change(monkeypatch, name, files=tuple(elsewhere))


@pytest.fixture
def sizes(monkeypatch):
    """Sets how many questions a dataset is expected to have."""
    return lambda name, **splits: change(monkeypatch, name, sizes=splits)
