"""What a run leaves behind is of the student that validation chose, not of the last one."""

import dataclasses

import jax
import numpy as np
import pytest

from qcrd_jax import files
from qcrd_jax.models import huggingface
from qcrd_jax.runs import position as positions
from qcrd_jax.runs import results
from qcrd_jax.runs.assembly import assemble
from qcrd_jax.runs.log import Mark
from qcrd_jax.runs.position import Best
from tests.support.runs import small_config
from tests.support.toy_student import use_toy_students


@pytest.fixture
def reached(tmp_path, monkeypatch):
    """A run at a position whose chosen student and last student were drawn apart."""
    use_toy_students(monkeypatch)
    config = small_config()
    config.method = 'finetune'
    run = assemble(config, tmp_path)
    last, chosen = (run.student.init(jax.random.key(seed)) for seed in (0, 1))
    best = Best(jax.device_get(chosen), 2, 0.5)
    return run, dataclasses.replace(positions.first(run, last, Mark(0, 0, '')), best=best), last


def test_predictions(reached):
    run, position, last = reached
    results.write_predictions(run, position)
    written = [record for _, record in files.read_jsonl(run.workdir / 'predictions.jsonl')]
    asked, answering = run.evaluation_batches('test'), run.answering
    for field, ask in (('prediction', answering.labels), ('rationale', answering.rationales)):
        texts = [record[field] for record in written]
        assert texts == ask(position.best.params, asked)
        assert texts != ask(last, asked)


def test_the_case_study(reached):
    run, position, last = reached
    results.write_case_study(run, position)
    first, *_ = [record for _, record in files.read_jsonl(run.workdir / 'case_study.jsonl')]
    temperatures = [each['temperature'] for each in first['rationales']]
    assert temperatures == list(run.config.evaluation.case_temperatures)
    asked = run.evaluation_batches('test')  # the first question is the first one shown
    assert (
        first['rationales'][0]['text'] == run.answering.rationales(position.best.params, asked)[0]
    )
    assert first['rationales'][0]['text'] != run.answering.rationales(last, asked)[0]


def test_the_export(reached, monkeypatch):
    run, position, last = reached
    saved = []
    monkeypatch.setattr(huggingface, 'save_student', lambda *arguments: saved.append(arguments))
    assert results.export(run, position) == run.workdir / 'hf'
    ((folder, architecture, params, tokenizer),) = saved
    assert (folder, architecture) == (run.workdir / 'hf', run.student.config)
    assert tokenizer is run.corpus.tokenizer
    np.testing.assert_array_equal(params['embedding'], position.best.params['embedding'])
    assert np.abs(params['embedding'] - last['embedding']).max() > 0
