"""Bars for what takes long; short work passes in silence. Each item is a place to stop at."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

import tqdm

from qcrd_jax import interruption

T = TypeVar('T')

_DELAY = 5.0  # seconds


def shown(items: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Yields the items, and shows on standard error how far it got once that takes a while.

    Args:
      items: what is worked through.
      what: said before the bar.
      unit: of an item.
      total: how many there are, where `items` cannot say.

    Raises:
      Interrupted: before an item, if a signal asked the process to end.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    options: dict[str, Any] = {'mininterval': 1.0, 'delay': _DELAY, 'leave': False}
    # In a generator: the bar is there, and its clock runs, from the first item on.
    bar = tqdm.tqdm(items, desc=what, unit=f' {unit}', total=total, **options)
    yield from interruption.polled(bar)
