"""What the command can do: one function per mode."""

import contextlib
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any, Literal

from absl import logging
from ml_collections import config_dict

from qcrd_jax import fields, files, processes, validation
from qcrd_jax.data import prepare as prepared
from qcrd_jax.data.pairs import write_pairs
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.data.sources import builders, question_records
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import detecting, running, tabling
from qcrd_jax.experiments import plan as planning
from qcrd_jax.models.publishing import publish
from qcrd_jax.report import write_comparison, write_model_card, write_report
from qcrd_jax.runs import (
    assembly,
    chosen,
    determinism,
    exhaustion,
    exported,
    loop,
    provenance,
    results,
    sealing,
)
from qcrd_jax.runs import position as positions
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.teacher import annotate as annotation
from qcrd_jax.teacher import judge as judgement


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a mode is asked for beside its configuration.

    Attributes:
      input_file: predict: of questions; None: standard input.
      output: predict: where answers are written; None: standard output.
      push: export: the Hub repository to publish in; None: not.
      compare: report: the workdir of another run; None: not.
    """

    input_file: str | None = None
    output: str | None = None
    push: str | None = None
    compare: str | None = None


def run(
    name: str,
    config: config_dict.ConfigDict,
    workdir: pathlib.Path,
    **asked_for: str | None,
) -> None:
    """Validates the configuration, holds the workdir, and runs one mode in it.

    Args:
      name: of the mode.
      config: of the run.
      workdir: of the run.
      asked_for: what the mode is asked for beside it, the fields of `Asked`.
    """
    mode, asked = MODES[name], Asked(**asked_for)
    validation.validate(config)
    if mode.claim == 'nothing':
        mode.act(config, workdir, asked)
        return
    determinism.request(config)
    if mode.needs and not any(there(workdir) for there in mode.needs):
        raise InputError(f'--workdir: {workdir} has no checkpoint; run --mode=train there first.')
    if processes.several() and not mode.several:
        raise InputError(f'--mode: {name} is the work of one process.')
    with (
        processes.quiet(),
        contextlib.ExitStack() as held,
        exhaustion.explained(config, mode.computes),
    ):

        def hold() -> None:
            held.enter_context(workdirs.locked(workdir))
            if mode.claim == 'run':
                workdirs.claim(workdir, config)
            elif mode.claim == 'student':
                workdirs.join(workdir, config)

        processes.by_first(hold)
        mode.act(config, workdir, asked)


def train(config: config_dict.ConfigDict, workdir: pathlib.Path, _: Asked) -> None:
    """Trains (or resumes), evaluates, exports and reports."""
    if processes.is_first():
        provenance.record(workdir)
    run = assembly.assemble(config, workdir)
    if processes.is_first() and not prepared.whole(workdir):
        prepared.write_counts(run.corpus, config.data.samples, workdir)
    (position,) = loop.train([run])
    summary = results.finish(run, position)
    if processes.is_first():
        page = write_report(workdir)
        write_model_card(workdir)
        _print_result(summary)
        print(f'report: {page}')


def prepare(config: config_dict.ConfigDict, workdir: pathlib.Path, _: Asked) -> None:
    """Reads and tokenises the data; prints what was read.

    Writes `prepare.json`, `votes.jsonl` with what self-consistency makes of every question, and
    `leaks.jsonl` with the questions that stand in more than one split.
    """
    corpus = assembly.read_corpus(config, workdir)
    print(prepared.write_counts(corpus, config.data.samples, workdir))
    print()
    for split, encoded in corpus.encoded.items():
        print(f'{split}: ' + ', '.join(f'{n} {name}' for name, n in encoded.counts().items()))
    print(f'batch shape: {corpus.lengths}')
    for truncation in corpus.truncations:
        print(f'cut: {truncation}')
    print(f'report: {workdir / "prepare.json"}, votes: {workdir / "votes.jsonl"}')
    print(f'questions in more than one split: {workdir / prepared.LEAKS}')


def annotate(config: config_dict.ConfigDict, workdir: pathlib.Path, _: Asked) -> None:
    """Has an LLM answer every question K times, into `annotations.jsonl`."""
    dataset = builders.load(config.data, workdir / 'data')
    report = annotation.annotate(config, dataset.splits, workdir)
    path = workdir / annotation.RECORDS
    if not report['missing']:
        print(f'answers: {path}; use them by --config.data.teacher_samples={path}')


def judge(config: config_dict.ConfigDict, workdir: pathlib.Path, _: Asked) -> None:
    """Has an LLM compare the rationales of two runs (Table 7)."""
    judgement.judge(config, workdir)


def pairs(config: config_dict.ConfigDict, workdir: pathlib.Path, _: Asked) -> None:
    """Writes right and wrong rationales as preferences, for TRL's trainers."""
    dataset = builders.load(config.data, workdir / 'data')
    for split, path in write_pairs(config, dataset, workdir).items():
        print(f"{split}: datasets.load_dataset('json', data_files='{path}', split='train')")


def evaluate(config: config_dict.ConfigDict, workdir: pathlib.Path, _: Asked) -> None:
    """Evaluates the selected student of the latest checkpoint on the test split."""
    run = assembly.assemble(config, workdir)
    tested = results.write_predictions(run, positions.latest(run))
    ratio, rationales = tested.labels, tested.rationales['rationale']
    if processes.is_first():
        sealing.seal(workdir, ['predictions.jsonl'])
    print(f'test accuracy: {ratio.value:.4f} ({ratio.numerator} of {ratio.denominator})')
    if rationales is not None:
        right = rationales.correct
        print(f'right rationales: {right.value:.4f} ({right.numerator} of {right.denominator})')
    print(f'predictions: {workdir / "predictions.jsonl"}')


def export(config: config_dict.ConfigDict, workdir: pathlib.Path, asked: Asked) -> None:
    """Writes the selected student for Hugging Face transformers; publishes it if asked to."""
    folder = chosen.export(workdir, chosen.load(config, workdir))
    if not processes.is_first():
        return
    write_model_card(workdir)
    print(f'student: {folder}')
    if asked.push:
        print(f'published: {publish(folder, asked.push)}')


def predict(config: config_dict.ConfigDict, workdir: pathlib.Path, asked: Asked) -> None:
    """Answers questions with the selected student: label and rationale, greedy."""
    # Before the weights, which may take long.
    questions = _read_questions(asked.input_file, exported.task_of(workdir).answer_type)
    answers, truncations = chosen.load(config, workdir).pipeline.answers(questions)
    for truncation in truncations:
        logging.warning('%s', truncation)
    records = [
        {'id': each.id, 'input': each.input, 'prediction': label, 'rationale': rationale}
        for each, (label, rationale) in zip(questions, answers, strict=True)
    ]
    if asked.output:
        files.write_jsonl(asked.output, records)
        print(f'predictions: {asked.output}')
    else:
        for record in records:
            sys.stdout.write(json.dumps(record, ensure_ascii=False) + '\n')


def listing(config: config_dict.ConfigDict, *_: Any) -> None:
    """Prints every field of the configuration, and what may stand in it."""
    print(fields.text(config))


def report(_: config_dict.ConfigDict, workdir: pathlib.Path, asked: Asked) -> None:
    """Writes the page of a run again, or one that compares it with another run."""
    if asked.compare:
        print(f'comparison: {write_comparison(workdir, pathlib.Path(asked.compare))}')
    else:
        print(f'report: {write_report(workdir)}')


def reproduce(config: config_dict.ConfigDict, workdir: pathlib.Path, _: Asked) -> None:
    """Runs the missing cells of a grid; writes its table after each of them and, last, the page.

    Before it runs anything it says which differences from the baseline the grid could detect.

    Tables may share a workdir: what one has run, another finds. Another setting or another version
    of the code is another identity, so that nothing is mixed.

    Raises:
      InputError: at the end, if a cell could not be run; the report says so in the cell.
    """
    plan = planning.read(config, workdir)
    if said := detecting.text(plan, tabling.write(plan)):
        print(said, flush=True)
    failures: dict[str, str] = {}
    for failures in running.run(plan):
        tabling.write(plan, failures)
    page = tabling.write_page(plan)
    print(f'report: {page}')
    if failures:
        reasons = '; '.join(f'{name}: {why}' for name, why in failures.items())
        raise InputError(f'{len(failures)} cells could not be run: {reasons}')


def _read_questions(input_file: str | None, answer_type: AnswerType) -> list[Example]:
    """Returns the questions of a file, with choices as those have that the student learned from."""
    path = input_file or sys.stdin.fileno()
    name = input_file or 'standard input'
    if not input_file and sys.stdin.isatty():
        print('questions, one {"input": ...} a line; end them by Ctrl-D', file=sys.stderr)

    def where(number: int) -> str:
        return f'{name}, line {number}'

    questions = []
    for number, record in files.read_jsonl(path, name):
        questions.append(question_records.unlabelled(record, number, where, answer_type))
    if not questions:
        raise InputError(f'{name}: holds no question; expected JSON lines with "input".')
    return questions


def _print_result(summary: dict[str, Any]) -> None:
    print(
        f'best validation accuracy: {summary["validation_accuracy"]:.4f} '
        f'at step {summary["best_step"]}'
    )
    low, high = summary['test_interval']
    print(
        f'test accuracy: {summary["test_accuracy"]:.4f} of {summary["test_questions"]} questions '
        f'(95 % interval {low:.4f} to {high:.4f})'
    )
    if summary['rationale_accuracy'] is not None:
        low, high = summary['rationale_interval']
        print(
            f'right rationales: {summary["rationale_accuracy"]:.4f} (95 % interval {low:.4f} to '
            f'{high:.4f}); {summary["rationale_agreement"]:.4f} agree with the predicted label'
        )


@dataclasses.dataclass(frozen=True)
class Mode:
    """A mode, and what it does with a workdir.

    Attributes:
      act: does it.
      claim: what of the workdir it holds: the run, which it may begin; the student of one that was
        begun; the folder alone; or nothing.
      needs: one of them has to be there, as these functions of the workdir say; (): nothing.
      several: whether it is the work of all processes of a job.
      computes: what errors call it when memory does not hold it.
    """

    act: Callable[[config_dict.ConfigDict, pathlib.Path, Asked], None]
    claim: Literal['run', 'student', 'folder', 'nothing'] = 'folder'
    needs: tuple[Callable[[pathlib.Path], bool], ...] = ()
    several: bool = False
    computes: Literal['loading', 'evaluation'] = 'loading'


_STUDENT = (workdirs.started, exported.is_exported)

MODES = {
    'train': Mode(train, 'run', several=True),
    'prepare': Mode(prepare, 'run'),
    'annotate': Mode(annotate),
    'evaluate': Mode(evaluate, 'run', (workdirs.started,), several=True, computes='evaluation'),
    'predict': Mode(predict, 'student', _STUDENT, computes='evaluation'),
    'export': Mode(export, 'student', _STUDENT, several=True),
    'report': Mode(report, needs=(workdirs.finished, *_STUDENT)),
    'judge': Mode(judge),
    'pairs': Mode(pairs),
    'reproduce': Mode(reproduce),
    'config': Mode(listing, 'nothing'),
}
