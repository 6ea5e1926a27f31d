"""TensorBoard's events: what its reader finds in them, and a disk that takes no more."""

import errno
import struct

import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from qcrd_jax.runs.events import Events
from qcrd_jax.runs.log import MetricsLog, read


def events_in(folder):
    """The events of the only file of a folder, by the format of TFRecord files."""
    (path,) = folder.iterdir()
    data, found = path.read_bytes(), []
    while data:
        (size,) = struct.unpack('<Q', data[:8])
        found.append(event_pb2.Event.FromString(data[12 : 12 + size]))
        data = data[12 + size + 4 :]
    return found


def test_a_file_says_its_version_what_it_purges_and_the_numbers(tmp_path):
    events = Events(tmp_path / 'train', 41)
    events.write(50, {'train/loss': 0.5, 'train/step': 3})
    version, start, *numbers = events_in(tmp_path / 'train')  # flushed, though it is not closed
    assert version.file_version == 'brain.Event:2'
    assert (start.step, start.session_log.status) == (41, event_pb2.SessionLog.START)
    values = [(event.step, event.summary.value[0]) for event in numbers]
    assert [(step, value.tag, value.simple_value) for step, value in values] == [
        (50, 'train/loss', 0.5),
        (50, 'train/step', 3.0),
    ]
    events.close()


@pytest.mark.parametrize('method', ['write_event', 'flush', '__init__'])
def test_a_disk_that_takes_no_more_ends_the_events_and_nothing_else(
    tmp_path, monkeypatch, log, method
):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with MetricsLog(tmp_path) as metrics:
        metrics.write('train', 1, {'loss': 1.0})
        monkeypatch.setattr(EventsWriter, method, full)
        for step in (2, 3):
            metrics.write('train', step, {'loss': 1.0})
            metrics.write('validation', step, {'accuracy': 1.0})
    assert [record['step'] for record in read(tmp_path, 'train')] == [1, 2, 3]
    assert [record['step'] for record in read(tmp_path, 'validation')] == [2, 3]
    messages = {record.getMessage() for record in log.records}
    phases = {'validation'} if method == '__init__' else {'train', 'validation'}
    assert messages == {
        f'{tmp_path}/tensorboard/{phase}: no more events are written for TensorBoard (No space '
        'left on device); metrics.jsonl has all numbers.'
        for phase in phases
    }
