"""What is missing of a grid is made: runs are trained, students judged, datasets counted.

Only what the asked cells need is made. A run resumes from its checkpoint after a kill, like any
run; so do verdicts, whose ledger is kept beside them.
"""

import contextlib
import datetime
import gc
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
from absl import logging
from ml_collections import config_dict

from qcrd_jax import files, grid, sums
from qcrd_jax.data.sources import builders
from qcrd_jax.data.summary import SplitCounts
from qcrd_jax.errors import InputError, OutOfMemory
from qcrd_jax.experiments import identity
from qcrd_jax.experiments import plan as planning
from qcrd_jax.experiments.plan import Plan
from qcrd_jax.grid import Cell
from qcrd_jax.report import write_model_card, write_report
from qcrd_jax.runs import assembly, exhaustion, loop, memory, provenance, results
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.run import Run
from qcrd_jax.teacher import judge as judgement


def run(plan: Plan) -> Iterator[dict[str, str]]:
    """Makes what is missing of the asked cells, each after what it needs.

    Args:
      plan: of the grid; with `reproduce.dry_run` what is missing is only said.

    Yields:
      After every asked cell for which something was tried, and at the end: why cells could not be
      made so far, by their names.
    """
    failures: dict[str, str] = {}
    failed: dict[pathlib.Path, str] = {}  # what could not be made, which other cells may share
    for cell in plan.asked:
        tried = False
        for each in planning.in_order(plan, cell):
            if each.name in failures:
                continue
            target = None
            try:
                target = _target(plan, each)
                if target in failed:
                    raise InputError(failed[target])
                tried |= target is not None and _make(plan, each, target)
            except InputError as error:
                tried = True
                logging.error('%s: %s', each.name, error)
                failures[each.name] = str(error)
                if target is not None:
                    failed[target] = str(error)
        if tried:
            yield dict(failures)
    yield dict(failures)


def _target(plan: Plan, cell: Cell) -> pathlib.Path | None:
    """What holds a cell's number; None where a dry run cannot say."""
    if cell.measure in grid.RUN_MEASURES:
        return planning.folder(plan, cell)
    if cell.measure in grid.DATA_MEASURES:
        return planning.count_file(plan, cell)
    students = [plan.at(row, cell.column) for _, row in cell.needed]
    first = plan.settings.seeds[0]
    if plan.settings.dry_run and any(
        not planning.is_done(planning.run_folder(plan, student, first)) for student in students
    ):
        print(f'{cell.name}: verdicts on students that are not trained yet', flush=True)
        return None
    return planning.judge_folder(plan, cell)


def _make(plan: Plan, cell: Cell, target: pathlib.Path) -> bool:
    """Makes what is missing of a cell, and says whether anything was."""
    if cell.measure in grid.RUN_MEASURES:
        what = _missing_text(plan, cell, target)
    elif cell.measure in grid.DATA_MEASURES:
        what = '' if planning.is_counted(target) else f'figures of {target}'
    else:
        what = '' if (target / judgement.REPORT).is_file() else f'verdicts of {target}'
    if not what:
        return False
    print(f'{cell.name}: {what}', flush=True)
    if plan.settings.dry_run:
        return False
    if cell.measure in grid.RUN_MEASURES:
        _train_missing(plan, cell)
    elif cell.measure in grid.DATA_MEASURES:
        _count(plan, cell, target)
    else:
        target.mkdir(parents=True, exist_ok=True)
        judgement.judge(planning.judge_config(plan, cell), target)
    return True


def _missing_text(plan: Plan, cell: Cell, target: pathlib.Path) -> str:
    """Says which runs of a cell are missing; '' where all are done."""
    missing: dict[str, list[str]] = {}  # folds by the seeds that they miss
    for fold in planning.folds(plan, cell):
        if seeds := planning.missing_seeds(plan, cell, fold):
            missing.setdefault(', '.join(map(str, seeds)), []).append(str(fold))
    if plan.configs[cell.place].data.folds:
        parts = [f'seeds {seeds} in folds {", ".join(its)}' for seeds, its in missing.items()]
    else:
        parts = [f'seeds {seeds}' for seeds in missing]
    return f'{" and ".join(parts)} of {target}' if parts else ''


def _count(plan: Plan, cell: Cell, path: pathlib.Path) -> None:
    """Writes the figures of a split, which for e-SNLI takes minutes."""
    config = plan.configs[cell.place]
    dataset = builders.load(config.data, plan.workdir / 'data')
    counts = SplitCounts()
    for example in dataset.splits[cell.split]:
        counts.add(example, dataset.answer_type, config.data.samples)
    files.write_json(path, counts.report(truncated=0))
    sums.update(path.parent, [path.name])


# --- Training -------------------------------------------------------------------------------------


def _train_missing(plan: Plan, cell: Cell) -> None:
    """Trains the missing seeds, fold by fold; a fold that fails does not keep others from it."""
    _describe(plan, cell)
    failed: list[str] = []
    for fold in planning.folds(plan, cell):
        where = f' in fold {fold}' if plan.configs[cell.place].data.folds else ''
        of_fold = _train_fold(plan, cell, fold)
        failed += [f'seed {seed}{where}: {why}' for seed, why in of_fold.items()]
    if failed:
        raise InputError('; '.join(failed))


def _train_fold(plan: Plan, cell: Cell, fold: int) -> dict[int, str]:
    """Trains the missing seeds of a fold, which share its data, as many together as fit.

    Where a group turns out not to fit, half as many at once continue from its checkpoints; one by
    one where it fails for another reason.

    Returns:
      by seed, why it could not be trained.
    """
    missing: list[config_dict.ConfigDict] = []
    failed: dict[int, str] = {}
    for seed in planning.missing_seeds(plan, cell, fold):
        try:
            missing.append(_config_of_run(plan, cell, seed, fold))
        except InputError as error:
            failed[seed] = str(error)
    most = plan.settings.together  # seeds in one program; 0: not known yet
    alone: set[int] = set()  # seeds of a group that failed for another reason than memory
    try:
        while missing:
            try:
                first = _build(plan, cell, missing[:1])
            except InputError as error:
                failed[missing[0].seed] = str(error)
                missing = missing[1:]
                continue
            most = most or memory.seeds_that_fit(first[0], len(missing))
            group = missing[: 1 if missing[0].seed in alone else most]
            failure = _attempt(plan, cell, group, first)
            if failure is None or len(group) == 1:
                failed |= {group[0].seed: failure.why} if failure else {}
                missing = missing[len(group) :]
                continue
            if failure.exhausted:
                most = -(-len(group) // 2)
                logging.error('%s: %s Now %d at once.', cell.name, failure.why, most)
            else:
                alone |= {config.seed for config in group}
                logging.error('%s: %s Its seeds continue one by one.', cell.name, failure.why)
            # Some may be finished all the same.
            left = set(planning.missing_seeds(plan, cell, fold))
            missing = [config for config in missing if config.seed in left]
    finally:
        jax.clear_caches()  # the next cell or fold has programs of its own
    return failed


class _Failure(NamedTuple):
    """Why runs could not be trained; the exception itself would keep what they hold in memory."""

    why: str
    exhausted: bool


def _attempt(
    plan: Plan, cell: Cell, configs: Sequence[config_dict.ConfigDict], first: Sequence[Run]
) -> _Failure | None:
    """Trains seeds in one program; `first` is the run of the first of them."""
    try:
        with exhaustion.explained(configs[0], 'training'):
            _finish(plan, _spread([*first, *_build(plan, cell, configs[1:], twin=first[0])]))
        return None
    except InputError as error:
        failure = _Failure(str(error), isinstance(error, OutOfMemory))
    if failure.exhausted:
        # Programs, and what is only held by frames of the attempt that refer to each other.
        jax.clear_caches()
        gc.collect()
    return failure


def _spread(runs: Sequence[Run]) -> Sequence[Run]:
    """A run by itself whose batch does not divide over all devices is trained on one of them."""
    if len(runs) > 1:
        return runs
    try:
        runs[0].check_batches()
    except InputError as error:
        logging.warning('%s: on one device. %s', runs[0].workdir, error)
        return [replace(runs[0], placement=runs[0].placement.of_seed(0, 1))]
    return runs


def _build(
    plan: Plan,
    cell: Cell,
    configs: Sequence[config_dict.ConfigDict],
    twin: Run | None = None,
) -> list[Run]:
    """Claims the workdirs of runs and builds the runs."""
    runs: list[Run] = []
    for config in configs:
        workdir = planning.run_folder(plan, cell, config.seed, config.data.fold)
        workdir.mkdir(parents=True, exist_ok=True)
        workdirs.claim(workdir, config)
        runs.append(assembly.assemble(config, workdir, twin=twin))
        twin = twin or runs[0]
    return runs


def _finish(plan: Plan, runs: Sequence[Run]) -> None:
    """Trains and evaluates runs, and removes what is not to be kept of them."""
    with contextlib.ExitStack() as stack:
        for each in runs:
            stack.enter_context(workdirs.locked(each.workdir))
            provenance.record(each.workdir)
        positions = loop.train(runs)
        for each in runs:
            position = positions.pop(0)  # which is freed before the next one
            summary = results.finish(each, position, timed=len(runs) == 1)
            del position
            print(f'{each.workdir}: {summary["test_accuracy"]:.4f}', flush=True)
            write_report(each.workdir)
            write_model_card(each.workdir)
            _tidy(each.workdir, plan.settings.keep)


def _config_of_run(plan: Plan, cell: Cell, seed: int, fold: int = 0) -> config_dict.ConfigDict:
    """The configuration of one run, with the students that it needs.

    A run that was begun keeps the fields that change none of its numbers as they were then: its
    identity allows others here, but its workdir belongs to one configuration.
    """
    config = config_dict.ConfigDict(plan.configs[cell.place].to_dict())
    config.seed = seed
    config.data.fold = fold
    for field, row in cell.needed:
        student = planning.run_folder(plan, plan.at(row, cell.column), seed, fold) / 'hf'
        if not planning.is_done(student.parent):
            raise InputError(f'the student of {row!r}, which it needs, is not trained: {student}.')
        if not student.is_dir():
            raise InputError(
                f'{student}: is gone, and {cell.name} needs it; remove its run '
                f'({student.parent}) to have it trained again, and set '
                '--config.reproduce.keep=students.'
            )
        config.update_from_flattened_dict({field: str(student)})
    workdir = planning.run_folder(plan, cell, seed, fold)
    planning.check_repeatable(workdir)
    if workdirs.started(workdir):
        begun = files.flatten(files.read_json(workdir / 'config.json'))
        config.update_from_flattened_dict(
            {
                name: tuple(begun[name]) if isinstance(begun[name], list) else begun[name]
                for name in identity.fields_ignored(config) & begun.keys()
            }
        )
    return config.lock()


def _tidy(workdir: pathlib.Path, keep: str) -> None:
    """Removes what is not to be kept of a finished run, which can be gigabytes."""
    if keep != 'everything':
        shutil.rmtree(workdirs.checkpoints(workdir), ignore_errors=True)
    if keep == 'results':
        shutil.rmtree(workdir / 'hf', ignore_errors=True)


def _describe(plan: Plan, cell: Cell) -> None:
    """Writes what the runs of a cell are."""
    files.write_json(
        planning.folder(plan, cell) / 'setting.json',
        {
            'config': workdirs.to_json(plan.configs[cell.place]),
            'needs': dict(cell.needs),
            'code': identity.code_version(),
            'jax': jax.__version__,
            'device': jax.devices()[0].device_kind,
            'started': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
        },
    )
