"""The command `qcrd` from a checkout: `python run.py --config=configs/svamp.py`."""

from qcrd_jax.command import main

if __name__ == '__main__':
    main()
