"""What several tests share."""

import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / 'tests' / 'golden'
