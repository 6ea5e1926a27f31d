"""The command `qcrd`, which `run.py` is too: `qcrd --config=svamp --workdir=runs/svamp`."""

import contextlib
import os
import sys
from collections.abc import Iterator

from qcrd_jax import interruption


def main() -> None:
    """Does what the command line asks for, and exits with its status."""
    interruption.end_at_once()  # in the seconds of the imports too a signal ends us
    with _written():
        _main()


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Writes all that was printed; where nobody reads on (`| head`), it ends without a word."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _main() -> None:
    from qcrd_jax.command import help as helping

    if helping.asked(sys.argv[1:]):
        print(helping.text())
        return
    # Transformers serves us tokenizers; that it finds no PyTorch is no news to anyone here.
    os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')
    from qcrd_jax import modes
    from qcrd_jax.command import program

    program.start(modes.run)
