"""What a finished run left is what tables, pages and judges read of it: digests of its results.

They stand in the workdir's `SHA256SUMS`, beside those of other files. `summary.json` is listed
last: where it is, the run is finished and everything else is listed.
"""

import pathlib
from collections.abc import Iterable

from qcrd_jax import sums
from qcrd_jax.errors import InputError

SUMMARY = 'summary.json'
RESULTS = ('predictions.jsonl', 'scores.json', 'examples.jsonl', 'case_study.jsonl', SUMMARY)


def seal(workdir: pathlib.Path, names: Iterable[str] = RESULTS) -> None:
    """Writes the digests of those results that are there.

    Args:
      workdir: of the run.
      names: of the results that were just written.
    """
    sums.update(workdir, [name for name in names if (workdir / name).is_file()])


def faults(workdir: pathlib.Path) -> list[str] | None:
    """Returns what is not as the finished run left it, in words; [] if all is.

    None: no result has a digest. The run has not ended, or an earlier version ran it.
    """
    try:
        listed = sums.read(workdir) or {}
    except InputError as error:
        return [str(error)]
    if not any(name in listed for name in RESULTS):
        return None
    asked = {name for name in RESULTS if name in listed or (workdir / name).is_file()}
    return sums.faults(workdir, {*asked, SUMMARY})
