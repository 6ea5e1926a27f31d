"""What a run leaves behind is of the student that validation chose, not of the last one."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from qcrd_jax import files
from qcrd_jax.data.answers import canonical
from qcrd_jax.evaluation.answering import Answering
from qcrd_jax.evaluation.written import Written
from qcrd_jax.models import huggingface
from qcrd_jax.runs import exported, results
from qcrd_jax.runs import position as positions
from qcrd_jax.runs.assembly import assemble
from qcrd_jax.runs.log import Mark
from qcrd_jax.runs.position import Best
from tests.support.runs import small_config
from tests.support.toy_student import use_toy_students


@pytest.fixture
def reached(tmp_path, monkeypatch):
    """A run at a position whose exported student and last student were drawn apart."""
    use_toy_students(monkeypatch)
    config = small_config()
    config.method = 'finetune'
    run = assemble(config, tmp_path)
    last, exported = (run.student.init(jax.random.key(seed)) for seed in (0, 1))
    best = Best(jax.device_get(exported), 2, 0.5)
    return run, dataclasses.replace(positions.first(run, last, Mark(0, 0, '')), best=best), last


def test_predictions(reached):
    run, position, last = reached
    results.write_predictions(run, position)
    written = [record for _, record in files.read_jsonl(run.workdir / 'predictions.jsonl')]
    asked, answering = run.evaluation_batches('test'), run.answering

    def rationales(params, asked):
        return [each.text for each in answering.rationales(params, asked)]

    for field, ask in (('prediction', answering.labels), ('rationale', rationales)):
        texts = [record[field] for record in written]
        assert texts == ask(position.best.params, asked)
        assert texts != ask(last, asked)


def test_a_method_that_teaches_no_rationales_has_no_quality_of_them(reached):
    run, position, _ = reached
    tested = results.write_predictions(run, position)
    assert tested.rationales == {'rationale': None, 'rationale_t0.7': None}
    first, *_ = [record for _, record in files.read_jsonl(run.workdir / 'predictions.jsonl')]
    assert first.keys() == {
        'id', 'input', 'label', 'prediction', 'rationale', 'rationale_t0.7', 'correct',
    }  # fmt: skip
    (run.workdir / 'metrics.jsonl').touch()
    summary = results.summarize(run, position, tested, None)
    assert {value for name, value in summary.items() if name.startswith('rationale')} == {None}


def test_the_quality_of_rationales_is_counted_from_the_predictions(reached, monkeypatch):
    run, position, _ = reached
    run.config.unlock()
    run.config.method = 'dss'
    golds = [example.label for example in run.corpus.examples['test']]
    texts = [f'So it is {canonical(label, "equation")}.' for label in golds]
    texts[0] = 'No number.'
    greedy = [Written(text, 4, place > 1) for place, text in enumerate(texts)]
    monkeypatch.setattr(Answering, 'answers', lambda *_: (golds, greedy))
    monkeypatch.setattr(Answering, 'rationales', lambda *_: [Written('1', 1, True)] * len(golds))
    tested = results.write_predictions(run, position)
    (run.workdir / 'metrics.jsonl').touch()
    summary = results.summarize(run, position, tested, None)
    count = len(golds)
    assert summary['test_accuracy'] == 1.0
    assert summary['rationale_accuracy'] == (count - 1) / count
    assert summary['rationale_agreement'] == (count - 1) / count
    assert summary['rationale_unread'] == 1 / count
    assert summary['rationale_ended'] == (count - 2) / count
    assert summary['rationale_tokens'] == 4
    assert summary['rationale_interval'] == tested.rationales['rationale'].correct.interval
    assert summary['rationale_t0.7_tokens'] == 1
    written = [record for _, record in files.read_jsonl(run.workdir / 'predictions.jsonl')]
    assert [record['rationale_correct'] for record in written] == [False, *[True] * (count - 1)]
    assert written[0]['rationale_answer'] is None
    assert written[0]['rationale_t0.7_answer'] == '1'


def test_the_case_study(reached):
    run, position, last = reached
    results.write_case_study(run, position)
    first, *_ = [record for _, record in files.read_jsonl(run.workdir / 'case_study.jsonl')]
    temperatures = [each['temperature'] for each in first['rationales']]
    assert temperatures == list(run.config.evaluation.case_temperatures)
    asked = run.evaluation_batches('test')  # the first question is the first one shown
    shown = first['rationales'][0]['text']
    assert shown == run.answering.rationales(position.best.params, asked)[0].text
    assert shown != run.answering.rationales(last, asked)[0].text


def test_the_export(reached, monkeypatch):
    run, position, last = reached
    saved = []
    monkeypatch.setattr(huggingface, 'save_student', lambda *a, **named: saved.append((a, named)))
    assert exported.export(run, position.best.params, position.scales) == run.workdir / 'hf'
    (((folder, architecture, params, tokenizer), named),) = saved
    assert named['longest'] == (run.config.data.max_source_length, run.task.longest[1])
    assert json.loads(named['texts']['qcrd.json'])['prefixes'] == list(run.config.data.prefixes)
    assert (folder, architecture) == (run.workdir / 'hf', run.student.config)
    assert tokenizer is run.corpus.tokenizer
    np.testing.assert_array_equal(params['embedding'], position.best.params['embedding'])
    assert np.abs(params['embedding'] - last['embedding']).max() > 0
