"""Batches that are made and placed while the device works on those before them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from qcrd_jax.methods.compiled import Prepared

_AHEAD = 2  # batches, or groups of them, that wait at most


class Prefetched:
    """The batches of steps and chunks, one after another, made by a thread of its own.

    Leave through `close` (or a `with` block), which ends the thread.
    """

    def __init__(self, prepare: Callable[[int, int], Prepared], taken: Iterable[tuple[int, int]]):
        """Starts the thread.

        Args:
          prepare: makes what a number of steps, from one on, reads, and places it.
          taken: the first step of every step or chunk, and the number of its steps.
        """
        self._queue: queue.Queue[tuple[Any, Any]] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        work = (prepare, iter(taken))
        self._thread = threading.Thread(target=self._work, args=work, daemon=True, name='batches')
        self._thread.start()

    def __enter__(self) -> 'Prefetched':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def next(self) -> Prepared:
        """Returns what the next step or chunk reads, placed; waits until it is there.

        Raises:
          Exception: what the making of it raised.
        """
        ready, error = self._queue.get()
        if error is not None:
            raise error
        return ready

    def close(self) -> None:
        """Ends the thread; what it made is let go."""
        self._closed.set()
        while self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.05)

    def _work(
        self, prepare: Callable[[int, int], Prepared], taken: Iterator[tuple[int, int]]
    ) -> None:
        try:
            for step, count in taken:
                if not self._put((prepare(step, count), None)):
                    return
        except BaseException as error:
            self._put((None, error))

    def _put(self, item: tuple[Any, Any]) -> bool:
        """Whether there was room for it before everything was closed."""
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
