"""TensorBoard's events, written where the caller is: no thread and no queue that could stand still.

They only repeat `metrics.jsonl`, so that a disk which takes no more of them ends no run: a line
says so, and the events end. (The writer with a thread waits for ever once its thread has died.)
"""

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from absl import logging
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

_proto: Any = event_pb2  # its classes are made as it is imported


class Events:
    """The events of one phase, in a folder of their own."""

    def __init__(self, folder: pathlib.Path, purge_step: int):
        """Opens a file of events.

        Args:
          folder: of the phase; created.
          purge_step: what files before this one say of this step and later is not shown.
        """
        self._folder = folder
        self._writer: EventsWriter | None = None
        start = _proto.SessionLog(status=_proto.SessionLog.START)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(os.fspath(folder / 'events'))
            self._add(_proto.Event(step=purge_step, session_log=start))
        except OSError as error:
            self._give_up(error)

    def write(self, step: int, values: Mapping[str, int | float]) -> None:
        """Writes numbers of a step, by their tags."""
        try:
            for tag, value in values.items():
                self._add(_proto.Event(step=step, summary=summary.scalar(tag, value)))
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Closes the file."""
        try:
            if self._writer is not None:
                self._writer.close()
        except OSError as error:
            self._give_up(error)

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        if self._writer is not None:
            self._writer.write_event(event)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        logging.warning(
            '%s: no more events are written for TensorBoard (%s); metrics.jsonl has all numbers.',
            self._folder, error.strerror,
        )  # fmt: skip
