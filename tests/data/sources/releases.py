"""Stand-ins for what the authors of the datasets released."""

import dataclasses
import io
import json
import zipfile

from qcrd_jax.data.sources import official
from qcrd_jax.data.sources.table import DATASETS

REAL = {name: entry.download for name, entry in DATASETS.items() if entry.download}


def change(monkeypatch, name, **fields):
    """Changes what can be downloaded of a dataset until the end of the test."""
    entry = DATASETS[name]
    download = dataclasses.replace(entry.download, **fields)
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(entry, download=download))


def fetch(name, folder, release='original'):
    """The folder of a dataset of the table, in the layout of DSS."""
    return official.fetch(name, DATASETS[name].download, folder, release)


def put(folder, release='original', **files):
    """Puts files where their downloads would be; `_` in the name of a suffix is a dot."""
    folder = folder / release
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        stem, _, suffix = name.rpartition('_')
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f'{stem}.{suffix}').write_bytes(data)


def read(path):
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def archive(members):
    """A zip archive, of texts by their paths in it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', zipfile.ZIP_DEFLATED) as content:
        for name, text in members.items():
            content.writestr(name, text)
    return data.getvalue()
