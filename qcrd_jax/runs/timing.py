"""How long a run took, from what it logged."""

from collections.abc import Iterable

TIMES = (
    'seconds_per_step',
    'device_waiting',
    'device_waiting_share',
    'training_hours',
    'pretraining_seconds',
    'negative_sampling_share',
)
"""What a log or a summary has of measured times: runs that are equal in all else differ in it."""


def total_seconds(windows: Iterable[tuple[int | float, float]]) -> float | None:
    """The time of all steps, over any number of resumes; None if none was logged.

    Args:
      windows: (step, seconds per step) at the end of each window, by rising step. A window whose
        line was lost counts with the time per step of the next.

    Examples:
      >>> total_seconds([(2, 1.0), (6, 0.5)])  # two steps of one second, four of half a second
      4.0
    """
    total, start = 0.0, 0.0
    for step, seconds in windows:
        total, start = total + seconds * (step - start), step
    return total if start else None
