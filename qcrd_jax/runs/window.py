"""What the steps since the last line of the log add up to, and when too many were passed over.

A window is part of a checkpoint: a run that was interrupted within one logs the line that it would
have logged.
"""

import dataclasses
from typing import Any

import numpy as np
from absl import logging
from ml_collections import config_dict

from qcrd_jax.errors import InputError
from qcrd_jax.methods import metrics
from qcrd_jax.methods.metrics import Metrics, Totals

_WHOSE = {'nonfinite': '', 'discriminator_nonfinite': ' of the discriminator'}


@dataclasses.dataclass(frozen=True)
class Window:
    """Steps since the last line of the log.

    Attributes:
      steps: how many.
      seconds: that they took.
      waited: of these, those in which the device had nothing to do, for its batch was not made yet.
      totals: of their metrics.
      in_a_row: the last steps, also of windows before, whose gradient was not finite.
    """

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    totals: Totals = dataclasses.field(default_factory=dict)
    in_a_row: int = 0

    def added(self, taken: Metrics) -> 'Window':
        """Returns the window after one step, or after several with a leading axis."""
        return dataclasses.replace(
            self,
            steps=self.steps + np.size(taken['nonfinite'][0]),
            totals=metrics.add(self.totals, taken),
            in_a_row=_in_a_row(self.in_a_row, taken),
        )

    def lasted(self, seconds: float, share_waited: float = 0.0) -> 'Window':
        """Returns the window after that much more time, in a share of which the device waited."""
        waited = self.waited + seconds * share_waited
        return dataclasses.replace(self, seconds=self.seconds + seconds, waited=waited)

    def closed(self) -> 'Window':
        """Returns the window that follows."""
        return Window(in_a_row=self.in_a_row)

    def skipped(self, name: str = 'nonfinite') -> int:
        """Returns how many updates were not applied, of 'nonfinite' the student's."""
        return int(self.totals.get(name, (0.0, 0.0))[0])

    def values(self) -> dict[str, Any]:
        """Returns what the log says of the window: means, and how many steps were passed over."""
        return metrics.divide(self.totals) | {
            'nonfinite': self.skipped(),
            'seconds_per_step': self.seconds / self.steps,
            'device_waiting': self.waited / self.seconds if self.seconds else None,
        }

    def to_json(self) -> dict[str, Any]:
        """Returns the window as JSON values, to the last bit."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> 'Window':
        """The inverse of `to_json`."""
        totals = {name: (total, count) for name, (total, count) in value['totals'].items()}
        return cls(**{**value, 'totals': totals})


def refuse(
    window: Window,
    taken: Metrics,
    before: int,
    train: config_dict.ConfigDict,
    remedy: str,
    where: str = '',
) -> None:
    """Refuses steps whose gradient is not finite, or too many of them.

    Args:
      window: with the steps.
      taken: metrics of the steps that were added last; those of one step, or a leading axis.
      before: steps that were taken before these.
      train: the field `train` of the configuration.
      remedy: field to lower.
      where: said before the step.

    Raises:
      InputError: if one is not finite and `train.on_nonfinite` is 'stop'; else if
        `train.nonfinite_limit` of them follow one another.
    """
    for name, whose in _WHOSE.items():
        flags = np.atleast_1d(taken[name][0]) if name in taken else np.zeros(0)
        if train.on_nonfinite == 'stop' and np.any(flags > 0):
            raise InputError(
                f'{where}step {before + int(np.argmax(flags > 0))}: the gradient{whose} is not '
                f'finite. The last checkpoint is before it; lower {remedy}, or pass over such '
                'steps by --config.train.on_nonfinite=skip, in another --workdir.'
            )
    if window.in_a_row >= train.nonfinite_limit:
        last = before + np.size(taken['nonfinite'][0]) - 1
        raise InputError(
            f'{where}step {last}: the gradient was not finite in {window.in_a_row} steps in a row '
            f'(train.nonfinite_limit is {train.nonfinite_limit}), and nothing is learned any more. '
            f'The last checkpoint is kept; lower {remedy} in another --workdir.'
        )


def close(window: Window, last: int, remedy: str, where: str = '') -> Window:
    """Says how many steps of a window were passed over, and returns the one that follows.

    Args:
      window: whose line was logged.
      last: steps that were taken up to its end.
      remedy: field to lower.
      where: said before the steps.

    Raises:
      InputError: if they are more than half of several steps.
    """
    for name, whose in _WHOSE.items():
        if skipped := window.skipped(name):
            logging.warning(
                '%ssteps %d to %d: %d of %d updates%s were not applied, because their gradient was '
                'not finite.', where, last - window.steps, last - 1, skipped,
                int(window.totals[name][1]), whose,
            )  # fmt: skip
    skipped, steps = window.skipped(), window.steps
    if steps > 1 and 2 * skipped > steps:
        raise InputError(
            f'{where}step {last - 1}: the gradient was not finite in {skipped} of the last {steps} '
            f'steps, which is more than half. The last checkpoint is kept; lower {remedy} in '
            'another --workdir.'
        )
    return window.closed()


def _in_a_row(before: int, taken: Metrics) -> int:
    for flag in np.atleast_1d(taken['nonfinite'][0]):
        before = before + 1 if flag > 0 else 0
    return before
