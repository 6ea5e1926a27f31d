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


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    """Says on a terminal what takes a while, as long as it does."""
    seen = sys.stderr.isatty()
    if seen:
        print(what, end='', file=sys.stderr, flush=True)
    yield
    if seen:
        print('\r\x1b[K', end='', file=sys.stderr, flush=True)


def _main() -> None:
    from qcrd_jax.command import help as helping

    if helping.asked(sys.argv[1:]):
        print(helping.text())
        return
    # Transformers serves us tokenizers; that it finds no PyTorch is no news to anyone here.
    os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')
    with _said('starting'):  # imports take seconds
        from qcrd_jax import modes
        from qcrd_jax.command import program

    program.start(modes.run)
