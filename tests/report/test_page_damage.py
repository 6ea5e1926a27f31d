"""The report of partial, torn and hostile workdirs: it says what is wrong, and is a page."""

import json
import math
import re

import pytest

from qcrd_jax import files, sums
from qcrd_jax.errors import InputError
from qcrd_jax.report import run_files, write_report
from qcrd_jax.report.run_files import read_run
from tests.report.pages import FILES, figure_names, rendered, write_run


def test_empty_workdir_says_what_is_missing(tmp_path):
    text = rendered(tmp_path).text
    assert f'Missing: {", ".join(FILES)}.' in text
    assert 'unfinished' in text
    assert 'No training step has been logged yet.' in text


@pytest.mark.parametrize('missing', FILES)
def test_each_file_may_be_missing(tmp_path, missing):
    write_run(tmp_path, curves=False)
    (tmp_path / missing).unlink()
    assert f'Missing: {missing}.' in rendered(tmp_path).text


@pytest.mark.parametrize('content', [b'', b'{"a": ', b'[1, 2]', b'\xff\xfe\x00', b'[' * 100_000])
def test_spoilt_files_are_named_not_fatal(tmp_path, content):
    for name in FILES:
        (tmp_path / name).write_bytes(content)
    text = rendered(tmp_path).text
    assert 'config.json is not a JSON object.' in text
    torn = 'metrics.jsonl is empty.' if not content else 'the last line (1) is torn'
    assert torn in text


def test_torn_last_line_is_left_out_and_named(tmp_path):
    write_run(tmp_path)
    whole = (tmp_path / 'metrics.jsonl').read_text()
    (tmp_path / 'metrics.jsonl').write_text(whole.rstrip()[:-9])
    (tmp_path / 'summary.json').unlink()
    text = rendered(tmp_path).text
    lines = len(whole.splitlines())
    assert f'metrics.jsonl: the last line ({lines}) is torn and was left out.' in text
    # What the summary said is taken from the metrics and the predictions where they have it.
    assert 'Validation accuracy 82.5 %' in text  # round(200 * 0.87 * (1 - e^-3)) = 165 at step 600
    assert 'Test accuracy 93.8 % 375 of 400' in text
    assert 'Time per step 1' in text


def test_bad_lines_in_the_middle_are_counted(tmp_path):
    files.write_text(tmp_path / 'metrics.jsonl', 'x\n\n{"phase": "train", "step": 1}\n3\n{}\n')
    assert '2 of 4 lines are not JSON objects and were left out (the first is line 1)' in (
        rendered(tmp_path).text
    )


def test_values_that_are_no_numbers_leave_gaps(tmp_path):
    values = [2.0, math.nan, None, 'high', True, math.inf, 10**400, 1.0]
    lines = [{'phase': 'train', 'step': s, 'loss': v} for s, v in enumerate(values)]
    files.write_jsonl(tmp_path / 'metrics.jsonl', lines)
    rendered(tmp_path)
    assert run_files.read_run(tmp_path).series('train', 'loss') == [(0.0, 2.0), (7.0, 1.0)]


@pytest.mark.parametrize('value', [0.0, -3.0, 1e-38, 3e38])
def test_constant_and_extreme_curves_are_drawn(tmp_path, value):
    keys = ('loss', 'gradient_norm', 'learning_rate', 'negative_active', 'seconds_per_step')
    train = [{'phase': 'train', 'step': s} | dict.fromkeys(keys, value) for s in range(100)]
    validation = {'phase': 'validation', 'step': 10**9, 'accuracy': 0.0}
    files.write_jsonl(tmp_path / 'metrics.jsonl', [*train, validation])
    rendered(tmp_path)
    assert {'loss', 'gradient_norm', 'accuracy'} <= figure_names(tmp_path)


def test_step_logged_twice_counts_with_its_last_value(tmp_path):
    lines = [{'phase': 'train', 'step': s, 'loss': v} for s, v in [(2, 4.0), (1, 5.0), (1, 3.0)]]
    files.write_jsonl(tmp_path / 'metrics.jsonl', lines)
    assert run_files.read_run(tmp_path).series('train', 'loss') == [(1.0, 3.0), (2.0, 4.0)]


def test_scores_outside_the_unit_interval_are_left_out_and_named(tmp_path):
    scores = {'teacher_positive': [0.9, 1.5, None, math.nan], 'teacher_negative': [], 'auc': 1.0}
    files.write_json(tmp_path / 'scores.json', scores)
    text = rendered(tmp_path).text
    assert '3 of 4 scores of "teacher_positive" are not numbers in [0, 1]' in text
    assert 'teacher positive 1 0.90' in text


ATTACKS = (
    '<script>alert(1)</script>',
    '<img src=x onerror=alert(1)>',
    '"><svg onload=alert(1)>',
    '</style></title><iframe src="https://example.org">',
    '{{ 7 * 7 }}{% for x in y %}',
    'java\x00script\x1b[31m \ud800 \u202e gnp.exe',
)


@pytest.mark.parametrize('attack', ATTACKS)
def test_output_of_models_is_text_never_markup(tmp_path, attack):
    write_run(tmp_path, curves=False)
    hostile = json.loads(json.dumps(attack))
    record = {k: hostile for k in ('id', 'input', 'label', 'prediction', 'rationale')}
    lines = {
        'predictions.jsonl': [record | {'correct': attack, 'score': attack}],
        'examples.jsonl': [
            record | {'rationales': [{'kind': attack, 'text': attack, 'temperature': attack}]}
        ],
        'case_study.jsonl': [
            record
            | {
                'answer_type': kind,
                'teacher': attack,
                'rationales': [{'text': f'{attack} 1 + 1 = 3'}],
            }
            for kind in ('equation', attack)
        ],
        'metrics.jsonl': [{'phase': attack, 'step': attack, attack: 1.0, attack + '_loss': 2.0}],
    }
    for name, records in lines.items():
        (tmp_path / name).write_text('\n'.join(map(json.dumps, records)))
    for name in ('config.json', 'summary.json', 'scores.json', 'prepare.json', 'provenance.json'):
        content = {'method': attack, 'dataset': attack, attack: [0.5], 'seed': attack}
        content |= {
            'launches': [{'command': attack, 'commit': attack, 'versions': {attack: attack}}]
        }
        content |= {'student': attack, 'train': {'questions': attack, 'samples': attack}}
        (tmp_path / name).write_text(json.dumps(content))
    elements = rendered(tmp_path)
    shown = re.sub(r'\s+', ' ', run_files.plain(attack))
    assert elements.text.count(shown) >= 10
    assert '\x00' not in elements.text


@pytest.mark.parametrize('odd', [None, 3, [1, [2]], {'a': {}}, True, 'text'])
def test_fields_of_any_type_are_shown(tmp_path, odd):
    names = (
        'id',
        'input',
        'label',
        'prediction',
        'rationale',
        'rationales',
        'kind',
        'score',
        'best',
    )
    record = dict.fromkeys((*names, 'step', 'correct', 'total', 'accuracy', 'phase'), odd)
    for name in ('predictions.jsonl', 'examples.jsonl', 'metrics.jsonl'):
        files.write_jsonl(tmp_path / name, [record])
    nested = record | {'rationales': [odd, record], 'teacher': odd, 'answer_type': 'equation'}
    for name in ('examples.jsonl', 'case_study.jsonl'):
        files.write_jsonl(tmp_path / name, [record, nested])
    for name in ('config.json', 'summary.json', 'scores.json', 'prepare.json', 'provenance.json'):
        fields = ('method', 'data', 'seed', 'student', 'steps', 'best_step', 'training_hours')
        content = dict.fromkeys((*fields, 'train', 'pretraining_seconds', 'launches'), odd)
        files.write_json(tmp_path / name, content)
    rendered(tmp_path)
    launch = dict.fromkeys(('command', 'commit', 'device', 'devices', 'versions'), odd)
    files.write_json(tmp_path / 'provenance.json', {'launches': [odd, launch, launch]})
    rendered(tmp_path)


def test_prediction_that_does_not_say_it_is_right_counts_as_wrong(tmp_path):
    records = [{'correct': True}, {'correct': 'yes'}, {}]
    files.write_jsonl(tmp_path / 'predictions.jsonl', records)
    text = rendered(tmp_path).text
    assert 'Test accuracy 33.3 % 1 of 3' in text
    assert '2 wrong' in text


def test_characters_that_no_page_may_hold_are_replaced():
    # A half surrogate pair, escape and NUL, a right-to-left override; tab and line break stay.
    assert run_files.plain('a\ud800b\x1bc\x00d\u202ee\tf\r\ng') == 'a?b\ufffdc\ufffdd\ufffde\tf\ng'


def test_very_long_text_is_cut_and_counted(tmp_path):
    write_run(tmp_path, curves=False)
    long = {'kind': 'student sample', 'text': 'abcdefghij' * 10_000, 'score': 0.1}
    many = {'id': 'many', 'rationales': [long] * 100}
    files.write_jsonl(tmp_path / 'examples.jsonl', [many])
    text = rendered(tmp_path).text
    assert '… (98,800 more characters)' in text
    assert 'and 76 more in examples.jsonl' in text
    assert text.count('abcdefghij') == 24 * 120


def test_a_workdir_that_does_not_exist_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match='no such folder'):
        write_report(tmp_path / 'nowhere')
    assert not (tmp_path / 'nowhere').exists()


def test_what_is_not_as_the_run_wrote_it_is_said(tmp_path):
    write_run(tmp_path)
    sums.write(tmp_path, ['predictions.jsonl', 'summary.json'])
    assert not [n for n in read_run(tmp_path).notices if sums.NAME in n]
    with open(tmp_path / 'predictions.jsonl', 'a') as file:
        file.write('{}\n')
    notice = "'predictions.jsonl' was changed since the run wrote it (SHA256SUMS)."
    assert notice in read_run(tmp_path).notices
    (tmp_path / sums.NAME).write_text('damaged')
    assert any('SHA256SUMS is damaged' in notice for notice in read_run(tmp_path).notices)
