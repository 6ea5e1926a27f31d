"""What `run.py` can do: one function per mode."""

import contextlib
import json
import pathlib
import sys
from typing import Any

from absl import logging
from ml_collections import config_dict

from qcrd_jax import files, processes, validation
from qcrd_jax.data import batches
from qcrd_jax.data import prepare as prepared
from qcrd_jax.data.encoding import Encoding, encode
from qcrd_jax.data.lengths import measure_lengths
from qcrd_jax.data.pairs import write_pairs
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.data.sources import builders, question_records
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import detecting, running, tabling
from qcrd_jax.experiments import plan as planning
from qcrd_jax.report import write_report
from qcrd_jax.runs import assembly, determinism, exhaustion, loop, provenance, results, sealing
from qcrd_jax.runs import position as positions
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.teacher import annotate as annotation
from qcrd_jax.teacher import judge as judgement


def run(
    mode: str,
    config: config_dict.ConfigDict,
    workdir: pathlib.Path,
    *,
    input_file: str | None = None,
    output: str | None = None,
) -> None:
    """Validates the configuration, holds the workdir, and runs one mode in it."""
    validation.validate(config)
    determinism.request(config)
    if mode == 'predict' and not input_file:
        raise InputError('--input: name the file of questions, JSON lines with "input".')
    if mode in ('evaluate', 'predict', 'export') and not workdirs.started(workdir):
        raise InputError(f'--workdir: {workdir} has no checkpoint; run --mode=train there first.')
    asks = mode in ('evaluate', 'predict')
    if processes.several() and mode not in ('train', 'evaluate', 'export'):
        raise InputError(f'--mode: {mode} is the work of one process.')
    with (
        processes.quiet(),
        contextlib.ExitStack() as held,
        exhaustion.explained(config, 'evaluation' if asks else 'loading'),
    ):

        def hold() -> None:
            held.enter_context(workdirs.locked(workdir))
            # Those that are left out are bound to no one student.
            if mode not in ('annotate', 'judge', 'pairs', 'reproduce'):
                workdirs.claim(workdir, config)

        processes.by_first(hold)
        if mode == 'predict' and input_file:
            predict(config, workdir, pathlib.Path(input_file), output)
        else:
            MODES[mode](config, workdir)


def train(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
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
        _print_result(summary)
        print(f'report: {page}')


def prepare(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
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


def annotate(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
    """Has an LLM answer every question K times, into `annotations.jsonl`."""
    dataset = builders.load(config.data, workdir / 'data')
    report = annotation.annotate(config, dataset.splits, workdir)
    path = workdir / annotation.RECORDS
    if not report['missing']:
        print(f'answers: {path}; use them by --config.data.teacher_samples={path}')


def judge(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
    """Has an LLM compare the rationales of two runs (Table 7)."""
    judgement.judge(config, workdir)


def pairs(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
    """Writes right and wrong rationales as preferences, for TRL's trainers."""
    dataset = builders.load(config.data, workdir / 'data')
    for split, path in write_pairs(config, dataset, workdir).items():
        print(f"{split}: datasets.load_dataset('json', data_files='{path}', split='train')")


def evaluate(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
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


def export(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
    """Writes the selected student of the latest checkpoint for Hugging Face transformers."""
    run = assembly.assemble(config, workdir)
    folder = results.export(run, positions.latest(run))
    print(f'student: {folder}')


def predict(
    config: config_dict.ConfigDict,
    workdir: pathlib.Path,
    input_file: pathlib.Path,
    output: str | None,
) -> None:
    """Answers questions of a file with the selected student: label and rationale, greedy."""
    questions = _read_questions(input_file, builders.answer_type(config.data))
    run = assembly.assemble(config, workdir)
    position, corpus = positions.latest(run), run.corpus
    encoded = encode(
        questions,
        corpus.tokenizer,
        Encoding(tuple(config.data.prefixes), corpus.answer_type),
    )
    lengths, truncations = measure_lengths(
        {'input': encoded},
        {'source': config.data.max_source_length, 'label': 2, 'rationale': 2},
        config.data.length_bucket,
    )
    for truncation in truncations:
        logging.warning('%s', truncation)
    asked = batches.evaluation_batches(encoded, lengths, batch_size=config.evaluation.batch_size)
    params, answering = position.best.params, run.answering
    answers = answering.answers(params, asked)
    records = [
        {'id': each.id, 'input': each.input, 'prediction': label, 'rationale': rationale.text}
        for each, label, rationale in zip(questions, *answers, strict=True)
    ]
    if output:
        files.write_jsonl(output, records)
        print(f'predictions: {output}')
    else:
        for record in records:
            sys.stdout.write(json.dumps(record, ensure_ascii=False) + '\n')


def reproduce(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
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


def _read_questions(path: pathlib.Path, answer_type: AnswerType) -> list[Example]:
    """Returns the questions of a file, with choices as those have that the student learned from."""

    def where(number: int) -> str:
        return f'{path}, line {number}'

    questions = []
    for number, record in files.read_jsonl(path):
        questions.append(question_records.unlabelled(record, number, where, answer_type))
    if not questions:
        raise InputError(f'{path}: holds no question; expected JSON lines with "input".')
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


MODES = {
    'train': train,
    'prepare': prepare,
    'annotate': annotate,
    'evaluate': evaluate,
    'predict': predict,
    'export': export,
    'judge': judge,
    'pairs': pairs,
    'reproduce': reproduce,
}
