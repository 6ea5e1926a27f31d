"""SIGTERM and Ctrl-C: a run ends where it loses nothing, with a line and a status of its own.

Between `handled()` and its end the first signal is remembered. What has something to save works
inside `polling()`: its loops ask `requested()` or call `check()` where they can stop, and nothing
interrupts them in between. Anywhere else the signal raises `Interrupted` at once, as Ctrl-C does
in any Python program: files are whole or not there, so that nothing is lost.

A second Ctrl-C ends the process at once, wherever it is. A thread sees to that, for Python runs no
handler while the main thread compiles or waits for a device.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar('T')

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end.

    Attributes:
      number: of the signal.
      reached: what was saved, in words; '' where there was nothing to save.
    """

    def __init__(self, number: int, reached: str = ''):
        super().__init__(number, reached)
        self.number, self.reached = number, reached

    @property
    def status(self) -> int:
        """The exit status that shells give a process ended by this signal: 143, or 130."""
        return 128 + self.number

    def __str__(self) -> str:
        done = f'{self.reached}; ' if self.reached else ''
        name = signal.Signals(self.number).name
        return f'interrupted by {name}; {done}run the same command again to resume.'


class _Signals:
    """What was received, and how many blocks are polling. There is one, as of signals."""

    def __init__(self) -> None:
        self.received = 0  # number of the first signal; 0: none
        self.blocks = 0
        self.agreed: int | None = None  # number that all of several processes know; None: of one

    def receive(self, number: int, _: Any) -> None:
        self.received = self.received or number
        if not self.blocks:
            raise Interrupted(number)


_signals = _Signals()


def requested() -> bool:
    """Returns whether a signal asked the process to end; of several, whether all know (`agree`)."""
    return bool(_number())


def received() -> int:
    """Returns the number of the signal that this process got; 0: none."""
    return _signals.received


def agree(number: int) -> None:
    """Says which signal the processes of a job know of (0: none): others count no more."""
    _signals.agreed = number


def _number() -> int:
    return _signals.received if _signals.agreed is None else _signals.agreed


def check(reached: str = '') -> None:
    """Raises `Interrupted` if a signal asked the process to end.

    Args:
      reached: what was saved, in words.
    """
    if number := _number():
        raise Interrupted(number, reached)


def polled(items: Iterable[T]) -> Iterator[T]:
    """Yields the items; raises `Interrupted` before one if a signal asked the process to end."""
    for item in items:
        check()
        yield item


@contextlib.contextmanager
def polling() -> Iterator[None]:
    """Lets no signal interrupt the block, which asks for them by itself."""
    _signals.blocks += 1
    try:
        yield
    finally:
        _signals.blocks -= 1


def end_at_once() -> None:
    """Lets signals end the process with their status: for the time before it has begun anything."""

    def end(number: int, _: Any) -> None:
        os.write(2, f'{Interrupted(number)}\n'.encode())
        os._exit(128 + number)

    for number in _SIGNALS:
        signal.signal(number, end)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handles SIGTERM and SIGINT as this module says, until the block ends.

    Outside of the main thread, which alone receives signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # as `set_wakeup_fd` wants it
    watcher = threading.Thread(target=_watch, args=(reading,), daemon=True)
    watcher.start()
    before = {number: signal.signal(number, _signals.receive) for number in _SIGNALS}
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)  # which ends the watcher
        watcher.join()
        _signals.received, _signals.agreed = 0, None


def _watch(reading: int) -> None:
    """Says that a signal came while the main thread works on; the second Ctrl-C ends all."""
    seen = False
    while data := os.read(reading, 1):
        number = data[0]
        if number not in _SIGNALS:
            continue
        if seen and number == signal.SIGINT:
            os._exit(128 + number)
        if not seen:
            name = signal.Signals(number).name
            hint = ' (Ctrl-C again ends at once)' if number == signal.SIGINT else ''
            print(f'\n{name}: stopping where nothing is lost{hint}', file=sys.stderr, flush=True)
        seen = True
    os.close(reading)
