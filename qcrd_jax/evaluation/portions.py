"""A batch in smaller portions where memory does not hold it whole."""

from collections.abc import Callable

import numpy as np
from absl import logging

from qcrd_jax.errors import asked_for, is_exhaustion


class Portions:
    """Computes the rows of batches, at first all at once; half as many whenever memory runs out.

    The size that was found to fit stays for the batches that follow. A row's result must not depend
    on the rows beside it; a smaller matrix product may still round otherwise in its last bits, as
    with a smaller `evaluation.batch_size`.
    """

    def __init__(self, what: str):
        """Args: what: how the log calls the rows."""
        self._what = what
        self._most: int | None = None

    @property
    def most(self) -> int | None:
        """Rows at once; None as long as every batch fitted whole."""
        return self._most

    def compute(
        self,
        rows: int,
        whole: Callable[[], np.ndarray],
        some: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Returns what is computed of every row.

        Args:
          rows: of the batch, at least one.
          whole: computes all rows. It waits for its result, as `some` does: that is when an
            accelerator says that its memory ran out.
          some: computes the rows of some indices. Their number is the same for all portions of a
            batch, so that one program serves them: the last portion is filled by its last row.

        Raises:
          Exception: what `some` raised for a single row, or what has nothing to do with memory.
        """
        while True:
            size = min(rows, self._most or rows)
            try:
                return whole() if size == rows else self._in_parts(rows, size, some)
            except Exception as error:  # the runtimes have no class for it
                if size == 1 or not is_exhaustion(error):
                    raise
                asked = asked_for(error)
            # Past the handler: the error holds the frames, and these what the device is to free.
            self._most = -(-size // 2)
            logging.warning(
                'memory ran out%s for %d %s at once; %d at once from here on.',
                f' ({asked} asked for)' if asked else '', size, self._what, self._most,
            )  # fmt: skip

    @staticmethod
    def _in_parts(rows: int, size: int, some: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        parts = [
            some(np.minimum(np.arange(start, start + size), rows - 1))
            for start in range(0, rows, size)
        ]
        return np.concatenate(parts)[:rows]
