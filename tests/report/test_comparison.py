"""Two runs on one page: paired counts, differences and their tests, what cannot be compared."""

import json
import re

import pytest
from scipy import stats

from qcrd_jax import config as configuration
from qcrd_jax import files
from qcrd_jax.errors import InputError
from qcrd_jax.report import write_comparison
from tests.report.pages import parsed
from tests.report.test_page_damage import ATTACKS

# (label, rationale) of each question in run A and in run B, and how many questions are so.
KINDS = (
    ((True, True), (True, True), 60),
    ((True, True), (False, True), 12),  # only A has the label right
    ((False, False), (True, True), 4),  # only B has both right
    ((False, True), (False, False), 6),  # only A has the rationale right
    ((False, False), (False, False), 18),
)
OPERATIONS = '+-*/'


def lines_of(side):
    kinds = [kind[side] for kind in KINDS for _ in range(kind[2])]
    return [
        {
            'id': f'q{i:03}',
            'input': f'Question {i} of run?',
            'label': f'{i} {OPERATIONS[i % 4]} 1',
            'prediction': f'{i} + {side}',
            'rationale': f'So {i} it is.',
            'correct': label,
            'rationale_correct': rationale,
        }
        for i, (label, rationale) in enumerate(kinds)
    ]


def write_pair(folder, change=lambda lines: lines):
    """The workdirs A and B; `change` gives B's predictions."""
    for name, lines in (('a', lines_of(0)), ('b', change(lines_of(1)))):
        config = configuration.base_config().to_dict()
        config |= {'method': 'qcrd' if name == 'a' else 'dss'}
        files.write_json(folder / name / 'config.json', config)
        files.write_jsonl(folder / name / 'predictions.jsonl', lines)
    return folder / 'a', folder / 'b'


def test_the_page_has_paired_counts_and_their_tests(tmp_path):
    path = write_comparison(*write_pair(tmp_path))
    assert path == tmp_path / 'a' / 'report' / 'comparison.html'
    assert not (tmp_path / 'b' / 'report').exists()
    elements = parsed(path)
    text = elements.text
    assert 'A QCRD on svamp' in text
    assert 'B Distilling step-by-step on svamp' in text
    # 72 against 64 of 100 labels; 12 only A, 4 only B.
    assert 'right labels 72.0 % 62.5 to 79.9 72 of 100 64.0 % 54.2 to 72.7 64 of 100' in text
    assert 'Right labels: A minus B +8.0 points' in text
    assert 'A right 60 12 A wrong 4 24' in text
    sign = stats.binomtest(12, 16).pvalue  # McNemar's exact test is the sign test of 12 to 4
    assert f"of McNemar's exact test {sign:.3f}" in text
    # Rationales: A 60 + 12 + 6 = 78, B 60 + 12 + 4 = 76; 6 only A, 4 only B.
    assert 'Right greedy rationales: A minus B +2.0 points' in text
    assert 'A right 72 6 A wrong 4 18' in text
    assert f"McNemar's exact test {stats.binomtest(6, 10).pvalue:.3f}" in text
    assert text.count('within noise') == 1 + (sign >= 0.05)
    # The bootstrap of 100 questions: 8 points, give or take 1.96 standard errors.
    low, high = map(float, re.search(r'\+8\.0 points , 95 % interval \+?(\S+) to \+(\S+):',
                                     text.replace('−', '-')).groups())  # fmt: skip
    error = 1.96 * 100 * ((0.16 - 0.08**2) / 100) ** 0.5
    assert low == pytest.approx(8 - error, abs=1.0)
    assert high == pytest.approx(8 + error, abs=1.0)


def test_the_rows_are_the_questions_of_which_one_is_right(tmp_path):
    elements = parsed(write_comparison(*write_pair(tmp_path)))
    assert '22 of 100: only one of the two' in elements.text
    assert elements.values('data-answer') == ['A'] * 12 + ['B'] * 4 + [''] * 6
    assert elements.values('data-rationale') == [''] * 12 + ['B'] * 4 + ['A'] * 6
    # The groups are those of all questions: +, −, ×, ÷ in turn, from question 60 on.
    assert elements.values('data-group') == [str(i % 4) for i in range(60, 82)]


def test_settings_that_differ_are_named_and_no_secret(tmp_path):
    first, second = write_pair(tmp_path)
    config = files.read_json(second / 'config.json')
    config['teacher']['extra'] = '{"key": "sk-AbC0123456789"}'
    config['loss']['margin'] = 2.0
    files.write_json(second / 'config.json', config)
    for folder, commit in ((first, 'aaaa'), (second, 'bbbb')):
        files.write_json(folder / 'provenance.json', {'launches': [{'commit': commit}]})
    text = parsed(write_comparison(first, second)).text
    assert 'loss.margin 3 2 ' in text
    assert 'method qcrd dss' in text
    assert 'commit aaaa bbbb' in text
    assert 'loss.beta' not in text
    assert 'sk-AbC' not in text


def test_the_order_of_the_questions_does_not_matter(tmp_path):
    first, second = write_pair(tmp_path)
    before = write_comparison(first, second).read_bytes()
    files.write_jsonl(second / 'predictions.jsonl', lines_of(1)[::-1])
    assert write_comparison(first, second).read_bytes() == before


def test_a_run_is_like_itself(tmp_path):
    first, _ = write_pair(tmp_path)
    text = parsed(write_comparison(first, first, tmp_path / 'page.html')).text
    assert text.count('+0.0 points') == 2
    assert 'None: where one has a label or a rationale right, so has the other.' in text


def test_rationales_that_were_not_read_are_not_compared(tmp_path):
    def without(lines):
        return [{k: v for k, v in line.items() if k != 'rationale_correct'} for line in lines]

    elements = parsed(write_comparison(*write_pair(tmp_path, without)))
    assert 'Right labels: A minus B' in elements.text
    assert 'rationales: A minus B' not in elements.text
    assert 'rationale' not in elements.values('name')


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda lines: lines[:-2], r'98 in common; only in \S*a: 2 \(q098, q099\)'),
        (lambda lines: [{**line, 'id': f'x{i}'} for i, line in enumerate(lines)],
         r'0 in common; only in \S*a: 100 \(q000, q001, q002, \.\.\.\); only in \S*b: 100 \(x0,'),
        (lambda lines: [{**line, 'input': 'Another?'} for line in lines],
         "the input of q000 is 'Question 0 of run\\?' there and 'Another\\?' here"),
        (lambda lines: [{**line, 'label': '7'} for line in lines],
         "the label of q000 is '0 \\+ 1' there and '7' here"),
    ],
)  # fmt: skip
def test_runs_of_different_questions_are_refused(tmp_path, change, said):
    with pytest.raises(InputError, match=f'different test questions and cannot be.*{said}'):
        write_comparison(*write_pair(tmp_path, change))
    assert not (tmp_path / 'a' / 'report').exists()


def test_what_holds_no_predictions_is_refused(tmp_path):
    first, second = write_pair(tmp_path)
    with pytest.raises(InputError, match='no such folder'):
        write_comparison(first, tmp_path / 'nowhere')
    files.write_jsonl(second / 'predictions.jsonl', lines_of(1) * 2)
    with pytest.raises(InputError, match=r"b: predictions\.jsonl has the id 'q000' twice"):
        write_comparison(first, second)
    (second / 'predictions.jsonl').unlink()
    with pytest.raises(InputError, match='b: has no predictions of its test questions'):
        write_comparison(first, second)


@pytest.mark.parametrize('attack', (*ATTACKS, '</script><img onerror=alert(1) src=x>'))
def test_output_of_models_is_text_never_markup(tmp_path, attack):
    def hostile(side):
        fields = dict.fromkeys(('label', 'prediction', 'rationale', 'input'), attack)
        return [
            {**line, **fields, 'id': f'{attack}{place}'}
            for place, line in enumerate(lines_of(side))
        ]

    for side, name in enumerate('ab'):
        launch = {'command': f'{attack} {name}', 'versions': {attack: name}, 'device': attack}
        contents = {
            'predictions.jsonl': '\n'.join(map(json.dumps, hostile(side))),
            'provenance.json': json.dumps({'launches': [launch]}),
            'config.json': json.dumps({'method': attack, attack: name}),
        }
        (tmp_path / name).mkdir()
        for file, content in contents.items():
            (tmp_path / name / file).write_text(content)
    elements = parsed(write_comparison(tmp_path / 'a', tmp_path / 'b'))
    assert 'img' not in elements.tags
    assert elements.values('data-answer') == ['A'] * 12 + ['B'] * 4 + [''] * 6
