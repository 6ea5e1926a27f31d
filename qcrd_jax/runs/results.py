"""What a trained run leaves behind: test accuracy, predictions, scores, export, summary, report."""

import pathlib
from typing import Any

import jax
import numpy as np

from qcrd_jax.runs import (assembly, log as metrics_log, pretraining)
from qcrd_jax import files
from qcrd_jax.data import batches
from qcrd_jax.evaluation import answering as prediction
from qcrd_jax.evaluation.metrics import (Ratio, roc_auc)
from qcrd_jax.models import (huggingface, parameter_count)
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs.train import (Trained, Trainer)


def finish(trainer: Trainer, trained: Trained) -> dict[str, Any]:
    """Evaluates the selected student on the test split and writes everything but the report.

    Returns:
      The summary, as `summary.json` has it.
    """
    workdir, steps = trainer.workdir, trainer.config.train.steps
    ratio = write_predictions(trainer, trained)
    counts = {'accuracy': ratio.value, 'correct': ratio.numerator, 'total': ratio.denominator}
    with metrics_log.MetricsLog(workdir, resume_step=steps) as log:
        log.write('test', trained.best.step, counts)
    if trained.discriminator is not None:
        write_scores(trainer, trained)
    write_case_study(trainer, trained)
    export(trainer, trained)
    summary = summarize(trainer, trained, ratio)
    files.write_json(workdir / 'summary.json', summary)
    return summary


def write_predictions(trainer: Trainer, trained: Trained) -> Ratio:
    """Writes `predictions.jsonl`: of every test question the greedy label and the rationales.

    `rationale` is greedy, `rationale_t0.7` sampled at 0.7, and so on.
    """
    params, corpus = trained.best.params, trained.corpus
    texts, ratio = trainer.predict('test', params)
    temperatures = (0.0, *trainer.config.evaluation.rationales)
    rationales = {
        f'rationale_t{temperature}' if temperature else 'rationale': trainer.rationales(
            trainer.evaluation_batches('test'), params, temperature
        )
        for temperature in temperatures
    }
    examples = corpus.examples['test']
    verdicts, _ = prediction.answer_accuracy(texts, examples, corpus.answer_type)
    files.write_jsonl(
        trainer.workdir / 'predictions.jsonl',
        (
            {
                'id': example.id,
                'input': example.input,
                'label': example.label,
                'prediction': text,
                **{name: written[place] for name, written in rationales.items()},
                'correct': correct,
            }
            for place, (example, text, correct) in enumerate(
                zip(examples, texts, verdicts, strict=True)
            )
        ),
    )
    return ratio


def write_scores(trainer: Trainer, trained: Trained) -> None:
    """Writes `scores.json` (Fig. 6) and `examples.jsonl`: test rationales and their scores."""
    judge = trained.progress.state.discriminator.params
    corpus = trained.corpus
    # A key of its own makes the draws of one temperature independent of another's.
    key = assembly.key_of(trainer.config, 'train')
    sampled = {
        temperature: _sample(
            trained,
            trainer.evaluation_batches('test'),
            temperature,
            jax.random.fold_in(key, number),
        )
        for number, temperature in enumerate(trainer.config.evaluation.temperatures)
    }
    positive, negative = _teacher_scores(trainer, trained, judge)
    scores = {
        'teacher_positive': [score for group in positive for score in group],
        'teacher_negative': [score for group in negative for score in group],
    }
    for temperature, (_, values) in sampled.items():
        scores[f'student_t{temperature}'] = values
    scores['auc'] = roc_auc(scores['teacher_positive'], scores['teacher_negative'])
    files.write_json(trainer.workdir / 'scores.json', scores)

    files.write_jsonl(
        trainer.workdir / 'examples.jsonl',
        (_example(corpus, int(i), positive, negative, sampled) for i in _shown(trainer)),
    )


def write_case_study(trainer: Trainer, trained: Trained) -> None:
    """Writes `case_study.jsonl` (Fig. 5): of some test questions, rationales by temperature.

    A question's draws are the same at every temperature, and those of `predictions.jsonl`: what
    differs between its rationales comes from the temperature alone.
    """
    config, corpus, shown = trainer.config, trained.corpus, _shown(trainer)
    asked = batches.evaluation_batches(
        corpus.encoded['test'].take(shown),
        corpus.lengths,
        batch_size=config.evaluation.batch_size,
    )
    asked = [batch | {'example_index': shown[batch['example_index']]} for batch in asked]
    key = jax.random.key(config.seed)
    judged = trained.progress.state.discriminator is not None
    written = {
        temperature: _sample(trained, asked, temperature, key)
        if judged
        else (trainer.rationales(asked, trained.best.params, temperature), [])
        for temperature in config.evaluation.case_temperatures
    }
    files.write_jsonl(
        trainer.workdir / 'case_study.jsonl',
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
            for row, example in enumerate(corpus.examples['test'][int(i)] for i in shown)
        ),
    )


def _shown(trainer: Trainer) -> np.ndarray:
    """The test questions that the report shows: some that are evenly spread."""
    count = len(trainer.corpus.examples['test'])
    number = min(trainer.config.evaluation.examples, count)
    return np.linspace(0, count - 1, number).astype(int)


def export(trainer: Trainer, trained: Trained) -> pathlib.Path:
    """Writes the selected student to `hf/`, as Hugging Face transformers loads it."""
    folder = trainer.workdir / 'hf'
    huggingface.save_student(
        folder, trained.student.config, trained.best.params, trained.corpus.tokenizer
    )
    return folder


def summarize(trainer: Trainer, trained: Trained, ratio: Ratio) -> dict[str, Any]:
    """The run in one flat record."""
    config, best = trainer.config, trained.best
    windows = metrics_log.read(trainer.workdir, 'train')
    # The first window holds the compilation.
    seconds = float(np.median([record['seconds_per_step'] for record in windows][1:] or [np.nan]))
    share = trained.sampling_seconds / seconds if trained.sampling_seconds else None
    judge = trained.progress.state.discriminator
    separation = trained.separation
    training, judging = (
        metrics_log.total_seconds(
            (record['step'], record['seconds_per_step'])
            for record in metrics_log.read(trainer.workdir, phase)
            if 'seconds_per_step' in record
        )
        for phase in ('train', 'discriminator')
    )
    return {
        'method': config.method,
        'dataset': config.data.name,
        'student': assembly.student_name(config),
        'seed': config.seed,
        'steps': config.train.steps,
        'best_step': best.step,
        'validation_accuracy': best.accuracy,
        'test_accuracy': ratio.value,
        'test_interval': ratio.interval,
        'test_questions': ratio.denominator,
        'seconds_per_step': seconds if np.isfinite(seconds) else None,
        'training_hours': training / 3600 if training else None,
        'pretraining_seconds': judging,
        'negative_sampling_share': share if share is not None and np.isfinite(share) else None,
        'discriminator_auc': separation.auc if separation else None,
        'discriminator_auc_teacher': separation.auc_teacher if separation else None,
        'parameters': parameter_count(best.params),
        'discriminator_parameters': parameter_count(judge.params) if judge else None,
    }


def _sample(
    trained: Trained, asked: prediction.Batches, temperature: float, key: jax.Array
) -> tuple[list[str], list[float]]:
    """One rationale of the selected student per question, and its score."""
    judge = trained.progress.state.discriminator.params
    texts, scores = [], []
    for batch in asked:
        ids = prediction.generate_ids(
            trained.student,
            trained.best.params,
            batch['explain_ids'],
            batch['example_index'],
            key,
            max_length=trained.corpus.lengths.rationale,
            temperature=temperature,
        )
        real = batch['example_mask']
        texts += trained.corpus.tokenizer.batch_decode(
            np.asarray(ids)[real, 0], skip_special_tokens=True
        )
        values = pretraining.score(trained.discriminator, judge, batch['question_ids'], ids)
        scores += values[real, 0].tolist()
    return texts, scores


def _teacher_scores(
    trainer: Trainer, trained: Trained, judge: Params
) -> tuple[list[list[float]], list[list[float]]]:
    """The scores of the teacher's positives and negatives, by test question."""
    groups: tuple[list[list[float]], list[list[float]]] = ([], [])
    for batch in trainer.evaluation_batches('test'):
        for kind, group in zip(('positive', 'negative'), groups, strict=True):
            values = pretraining.score(
                trained.discriminator, judge, batch['question_ids'], batch[f'{kind}_ids']
            )
            for row in np.flatnonzero(batch['example_mask']):
                group.append(values[row][batch[f'{kind}_mask'][row]].tolist())
    return groups


def _example(
    corpus: assembly.Corpus,
    index: int,
    positive: list[list[float]],
    negative: list[list[float]],
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
            ('teacher positive', encoded.positives[index], positive[index]),
            ('teacher negative', encoded.negatives[index], negative[index]),
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
