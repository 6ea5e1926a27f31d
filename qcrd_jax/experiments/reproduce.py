"""`--mode=reproduce`: runs what is missing of a table or figure, and writes it beside the paper's.

Tables may share a workdir: what one has run, another finds. Another setting or another version of
the code is another identity, so that nothing is mixed.
"""

import pathlib

from ml_collections import config_dict

from qcrd_jax.errors import InputError
from qcrd_jax.experiments import plan as planning
from qcrd_jax.experiments import running, tabling


def reproduce(config: config_dict.ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
    """Runs the missing cells of a grid; writes its table after each of them and, last, the page.

    Args:
      config: with a grid, one of `configs/paper/`.
      workdir: where the runs and the report are.

    Returns:
      The page of the report.

    Raises:
      InputError: at the end, if a cell could not be run; the report says so in the cell.
    """
    plan = planning.read(config, workdir)
    tabling.write(plan)
    failures: dict[str, str] = {}
    for failures in running.run(plan):
        tabling.write(plan, failures)
    page = tabling.write_page(plan)
    print(f'report: {page}')
    if failures:
        reasons = '; '.join(f'{name}: {why}' for name, why in failures.items())
        raise InputError(f'{len(failures)} cells could not be run: {reasons}')
    return page
