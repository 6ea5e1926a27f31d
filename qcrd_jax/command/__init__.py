"""The command `qcrd`, which `run.py` is too: `qcrd --config=svamp --workdir=runs/svamp`."""

import os
import sys

from qcrd_jax import interruption


def main() -> None:
    """Does what the command line asks for, and exits with its status."""
    interruption.end_at_once()  # in the seconds of the imports too a signal ends us
    from qcrd_jax.command import help as helping

    if helping.asked(sys.argv[1:]):
        print(helping.text())
        return
    # Transformers serves us tokenizers; that it finds no PyTorch is no news to anyone here.
    os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')
    from qcrd_jax import modes
    from qcrd_jax.command import program

    program.start(modes.run)
