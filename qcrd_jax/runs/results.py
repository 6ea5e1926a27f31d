"""What a trained run leaves behind: test accuracy, predictions, scores, export, summary."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from qcrd_jax import files, interruption, processes
from qcrd_jax.data import batches
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.evaluation import rationales, scoring
from qcrd_jax.evaluation.answering import Batches, answer_accuracy
from qcrd_jax.evaluation.metrics import Ratio, roc_auc
from qcrd_jax.evaluation.rationales import Quality
from qcrd_jax.methods import compiled, programs
from qcrd_jax.methods.table import METHODS
from qcrd_jax.models import parameter_count
from qcrd_jax.models.protocol import Params
from qcrd_jax.ring import Ring
from qcrd_jax.runs import exported, sealing
from qcrd_jax.runs import log as metrics_log
from qcrd_jax.runs import position as positions
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.assembly import student_name
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.runs.exhaustion import explains
from qcrd_jax.runs.group import base_of
from qcrd_jax.runs.position import Position
from qcrd_jax.runs.run import Run
from qcrd_jax.runs.timing import total_seconds


@explains('evaluation')
def finish(run: Run, position: Position, *, timed: bool = True) -> dict[str, Any]:
    """Evaluates the selected student on the test split and writes everything but the report.

    Args:
      run: the run.
      position: at its last step.
      timed: whether the sampling of negatives is timed by itself.

    Returns:
      The summary, as `summary.json` has it; {} in all but the first of several processes.
    """
    workdir, steps = run.workdir, position.step
    with interruption.polling():
        questions = len(run.corpus.examples['test'])
        _say(f'testing on {questions} questions')
        sampling = sampling_seconds(run, position) if timed else None
        interruption.check()
        exported.export(run, run.whole(position.best.params), position.scales)
        tested = write_predictions(run, position)
        ratio = tested.labels
        counts = {'accuracy': ratio.value, 'correct': ratio.numerator, 'total': ratio.denominator}
        if processes.is_first():
            with metrics_log.reopened(workdir, steps, run.config.train.wandb) as log:
                log.write('test', position.best.step, counts)
        _say('sampling and scoring rationales for the report')
        auc = write_scores(run, position) if run.discriminator is not None else None
        write_case_study(run, position)
        summary = {}
        if processes.is_first():
            summary = summarize(run, position, tested, sampling)
            summary['discriminator_auc_test'] = auc
            sealing.seal(workdir, sealing.RESULTS[:-1])  # where the summary is, they are listed
            files.write_json(workdir / 'summary.json', summary)
            sealing.seal(workdir)
        _let_go(run, position)
    return summary


def _say(text: str) -> None:
    """Says what follows, for it may be silent for long, while programs are compiled."""
    if processes.is_first():
        print(text, flush=True)


def _let_go(run: Run, position: Position) -> None:
    """Keeps of the checkpoints of a finished run what evaluation and export need."""
    if run.config.train.keep_state:
        return
    with Checkpointer(workdirs.checkpoints(run.workdir)) as checkpointer:
        positions.save_finished(run, checkpointer, position)


class Tested(NamedTuple):
    """What the test split says of a student.

    Attributes:
      labels: the right ones.
      rationales: their quality by name (`evaluation.rationales.name_at`); None where the method
        teaches none.
    """

    labels: Ratio
    rationales: dict[str, Quality | None]


@explains('evaluation')
def write_predictions(run: Run, position: Position) -> Tested:
    """Writes `predictions.jsonl`: of every test question the greedy label and the rationales.

    `rationale` is greedy, `rationale_t0.7` sampled at 0.7, and so on. Behind each is how it was
    read (`rationales.Reading`), unless the method teaches no rationales: then a text is written all
    the same, and nothing is said of its quality.
    """
    params, asked = run.whole(position.best.params), run.evaluation_batches('test')
    examples, answer_type = run.corpus.examples['test'], run.corpus.answer_type
    texts, greedy = run.answering.answers(params, asked)
    written = {rationales.name_at(0.0): greedy}
    for temperature in run.config.evaluation.rationales:
        drawn = run.answering.rationales(params, asked, temperature)
        written[rationales.name_at(temperature)] = drawn
    readings = {
        name: [
            rationales.read(rationale, example, text, answer_type)
            for rationale, example, text in zip(each, examples, texts, strict=True)
        ]
        for name, each in written.items()
        if METHODS[run.config.method].rationales
    }
    verdicts, ratio = answer_accuracy(texts, examples, answer_type)
    records = []
    for place, example in enumerate(examples):
        record = {
            'id': example.id,
            'input': example.input,
            'label': example.label,
            'prediction': texts[place],
        }
        for name, each in written.items():
            record[name] = each[place].text
            record |= readings[name][place].fields(name) if name in readings else {}
        records.append(record | {'correct': verdicts[place]})
    _write_jsonl(run.workdir / 'predictions.jsonl', records)
    found = {
        name: rationales.quality(readings[name]) if name in readings else None for name in written
    }
    return Tested(ratio, found)


def write_scores(run: Run, position: Position) -> float | None:
    """Writes `scores.json` (Fig. 6) and `examples.jsonl`: test rationales and their scores.

    Returns:
      The ROC-AUC of the teacher's positives against its negatives; None where there are none.
    """
    assert run.discriminator is not None
    # A key of its own makes the draws of one temperature independent of another's.
    key, asked = run.key('train'), run.evaluation_batches('test')
    sampled = {
        temperature: _scored_samples(
            run, position, asked, temperature, jax.random.fold_in(key, number)
        )
        for number, temperature in enumerate(run.config.evaluation.temperatures)
    }
    positive, negative = scoring.score_groups(
        run.discriminator,
        _scorer(run, position),
        run.corpus.encoded['test'],
        run.corpus.lengths,
        batch_size=run.config.evaluation.batch_size,
        placement=run.placement,
    )
    scores = {
        'teacher_positive': np.concatenate(positive).tolist(),
        'teacher_negative': np.concatenate(negative).tolist(),
    }
    for temperature, (_, values) in sampled.items():
        scores[f'student_t{temperature}'] = values
    scores['auc'] = roc_auc(scores['teacher_positive'], scores['teacher_negative'])
    _write_json(run.workdir / 'scores.json', scores)
    _write_jsonl(
        run.workdir / 'examples.jsonl',
        (_example(run.corpus, int(i), positive[i], negative[i], sampled) for i in _shown(run)),
    )
    return scores['auc']


def write_case_study(run: Run, position: Position) -> None:
    """Writes `case_study.jsonl` (Fig. 5): of some test questions, rationales by temperature.

    A question's draws are the same at every temperature, and those of `predictions.jsonl`: what
    differs between its rationales only comes from the temperature.
    """
    config, corpus, shown = run.config, run.corpus, _shown(run)
    asked = batches.evaluation_batches(
        corpus.encoded['test'].take(shown),
        corpus.lengths,
        batch_size=config.evaluation.batch_size,
    )
    asked = [batch | {'example_index': shown[batch['example_index']]} for batch in asked]
    key, params = jax.random.key(config.seed), run.whole(position.best.params)
    written = {
        temperature: _scored_samples(run, position, asked, temperature, key)
        if run.discriminator is not None
        else ([each.text for each in run.answering.rationales(params, asked, temperature)], [])
        for temperature in config.evaluation.case_temperatures
    }
    examples = [corpus.examples['test'][int(i)] for i in shown]
    _write_jsonl(
        run.workdir / 'case_study.jsonl',
        (
            {
                'id': example.id,
                'input': example.input,
                'label': example.label,
                'answer_type': corpus.answer_type,
                'teacher': example.samples[0].rationale if example.samples else None,
                'rationales': [
                    {
                        'temperature': temperature,
                        'text': texts[row],
                        'score': scores[row] if scores else None,
                    }
                    for temperature, (texts, scores) in written.items()
                ],
            }
            for row, example in enumerate(examples)
        ),
    )


def summarize(
    run: Run, position: Position, tested: Tested, sampling: float | None
) -> dict[str, Any]:
    """The run in one flat record.

    Args:
      run: the run.
      position: at its last step.
      tested: on the test split.
      sampling: seconds that negatives take a step, measured by themselves.
    """
    config, best, separation = run.config, position.best, position.separation
    ratio, written = tested.labels, tested.rationales
    windows = metrics_log.read(run.workdir, 'train')
    # The first window holds the compilation.
    seconds = float(np.median([record['seconds_per_step'] for record in windows][1:] or [np.nan]))
    share = sampling / seconds if sampling else None
    padding, waiting = (_mean(windows, name) for name in ('padding', 'device_waiting'))
    discriminator = position.progress.state.discriminator
    training, pretraining = (
        total_seconds(
            (record['step'], record['seconds_per_step'])
            for record in metrics_log.read(run.workdir, phase)
            if 'seconds_per_step' in record
        )
        for phase in ('train', 'discriminator')
    )
    return {
        'method': config.method,
        'dataset': config.data.name,
        'student': student_name(config),
        'seed': config.seed,
        'steps': position.step,
        'best_step': best.step,
        'validation_accuracy': best.accuracy,
        'test_accuracy': ratio.value,
        'test_interval': ratio.interval,
        'test_questions': ratio.denominator,
        **{
            field: value
            for name, found in written.items()
            for field, value in rationales.summary(name, found).items()
        },
        'seconds_per_step': seconds if np.isfinite(seconds) else None,
        'training_hours': training / 3600 if training else None,
        'pretraining_seconds': pretraining,
        'negative_sampling_share': share if share is not None and np.isfinite(share) else None,
        'padding_share': padding,
        'device_waiting_share': waiting,
        'discriminator_auc': separation.auc if separation else None,
        'discriminator_auc_teacher': separation.auc_teacher if separation else None,
        'parameters': parameter_count(jax.eval_shape(run.student.init, jax.random.key(0))),
        'trained_parameters': parameter_count(best.params),
        'discriminator_parameters': (
            parameter_count(discriminator.params) if discriminator else None
        ),
    }


def _write_json(path: pathlib.Path, value: Any) -> None:
    if processes.is_first():
        files.write_json(path, value)


def _write_jsonl(path: pathlib.Path, records: Iterable[dict[str, Any]]) -> None:
    if processes.is_first():
        files.write_jsonl(path, records)


def _mean(records: Sequence[dict[str, Any]], name: str) -> float | None:
    """Mean of a value over the lines of the log that have it."""
    values = [record[name] for record in records if record.get(name) is not None]
    return float(np.mean(values)) if values else None


def sampling_seconds(run: Run, position: Position) -> float | None:
    """Seconds that sampling takes a step, measured by itself; None where nothing is sampled."""
    negatives, ring = run.method.negatives, position.progress.ring
    if negatives is None:
        return None
    count = programs.steps_together(run.method)
    place, student = run.placement, run.method.student
    if ring is None:  # that of a finished run is gone, and any parameters take the same time
        params = place.placed(position.best.params, place.parameters(position.best.params))
        ring = place.made(
            lambda params: Ring.create(student.narrowed(params, negatives.ring_dtype), count),
            lambda ring: Ring(place.parameters(ring.slots, lead=1)),
            params,
        )
    ring = place.placed(ring, Ring(place.parameters(ring.slots, lead=1)))
    generators = ring.slots if count > 1 else ring.generator(0)
    made = compiled.programs_of(run.method, place)
    batches, key, base = run.training_batches(), run.key('train'), base_of(run, place)
    return compiled.sampling_seconds(made, generators, batches, key, base=base)


def _scorer(run: Run, position: Position) -> Params:
    """The discriminator's parameters where the run lives; that of a seed was on its own device."""
    params, place = position.progress.state.discriminator.params, run.placement
    return place.placed(params, place.parameters(params))


def _shown(run: Run) -> np.ndarray:
    """The test questions that the report shows: some, evenly spaced."""
    count = len(run.corpus.examples['test'])
    number = min(run.config.evaluation.examples, count)
    return np.linspace(0, count - 1, number).astype(int)


def _scored_samples(
    run: Run, position: Position, asked: Batches, temperature: float, key: jax.Array
) -> tuple[list[str], list[float]]:
    """One rationale of the selected student per question, and its score."""
    assert run.discriminator is not None
    answering, params = run.answering, run.whole(position.best.params)
    discriminator = _scorer(run, position)
    portions, texts, scores = scoring.scored_portions(), [], []
    for batch, ids in answering.rationale_ids(params, asked, temperature, key):
        texts += answering.decode(batch, ids)
        values = scoring.score(
            run.discriminator, discriminator, batch['question_ids'], ids, portions, run.placement
        )
        scores += values[batch['example_mask'], 0].tolist()
    return texts, scores


def _example(
    corpus: Corpus,
    index: int,
    positive: np.ndarray,
    negative: np.ndarray,
    sampled: dict[float, tuple[list[str], list[float]]],
) -> dict[str, Any]:
    """A test question with its scored rationales."""
    encoded, example = corpus.encoded['test'], corpus.examples['test'][index]
    rationales = [
        {
            'kind': kind,
            'temperature': None,
            'text': corpus.tokenizer.decode(ids, skip_special_tokens=True),
            'score': score,
        }
        for kind, group, scores in (
            ('teacher positive', encoded.positives[index], positive.tolist()),
            ('teacher negative', encoded.negatives[index], negative.tolist()),
        )
        for ids, score in zip(group, scores, strict=True)
    ]
    rationales += [
        {
            'kind': 'student sample',
            'temperature': temperature,
            'text': texts[index],
            'score': scores[index],
        }
        for temperature, (texts, scores) in sampled.items()
    ]
    return {
        'id': example.id,
        'input': example.input,
        'label': example.label,
        'rationales': rationales,
    }
