"""The paper's analyses in the report, from hand-made run files."""

import html
import re

import pytest

from qcrd_jax import files
from qcrd_jax.report import analyses, formats, write_report
from qcrd_jax.report.run_files import read_run

QUESTION = 'Ava had 84 marbles and shared them among 2 friends. How many did each friend get?'


def case(texts, answer_type='equation', **fields):
    rationales = [{'temperature': t, 'text': text, 'score': None} for t, text in texts]
    record = {'id': 'q', 'input': QUESTION, 'label': '( 84 / 2 )', 'answer_type': answer_type}
    return record | {'teacher': '84 / 2 = 42.', 'rationales': rationales} | fields


def html_of(workdir):
    return re.sub(r'\s+', ' ', write_report(workdir).read_text(encoding='utf-8'))


def visible(page):
    text = re.sub(r'<[^>]*>', ' ', page.partition('<body>')[2])
    return html.unescape(re.sub(r'\s+', ' ', text))


# --- Case study -----------------------------------------------------------------------------------


def test_incorrect_details_are_marked_on_the_page_and_counted(tmp_path):
    texts = [(0.0, '84 / 2 = 42.'), (0.7, 'She had 85. 84 / 2 = 41.'), (1.5, '84 / 2 = 41.')]
    files.write_jsonl(tmp_path / 'case_study.jsonl', [case(texts), case(texts[:2])])
    page = html_of(tmp_path)
    equation = '<mark class="equation" title="this equation does not hold">84 / 2 = 41</mark>.'
    assert page.count(equation) == 3
    assert (
        page.count(
            'title="neither in the question nor the result of an equation before">85</mark>. <mark'
        )
        == 2
    )
    text = visible(page)
    assert 'teacher 0 of 2 greedy 0 of 2 temperature 0.7 2 of 2 temperature 1.5 1 of 1' in text
    assert "the teacher's first rationale 84 / 2 = 42." in text


def test_data_that_is_not_arithmetic_is_not_marked_and_says_so(tmp_path):
    lines = [case([(0.0, 'It is 1 + 1 = 3.')], answer_type='choice')]
    files.write_jsonl(tmp_path / 'case_study.jsonl', lines)
    page = html_of(tmp_path)
    assert '<mark' not in page
    assert 'nothing is marked in this data' in page
    assert 'with a marked detail' not in page
    assert 'It is 1 + 1 = 3.' in page


def test_scores_stand_beside_the_rationales_where_there_are_any(tmp_path):
    line = case([(0.0, 'a'), (2.0, 'b')])
    line['rationales'][0]['score'] = 0.874
    files.write_jsonl(tmp_path / 'case_study.jsonl', [line])
    cases = analyses.case_study(read_run(tmp_path))['cases']
    assert [each['score'] for each in cases[0]['rationales']] == ['0.87', '']
    assert [each['kind'] for each in cases[0]['rationales']] == ['greedy', 'temperature 2']


def test_a_long_rationale_is_cut_counted_and_its_count_is_no_number_from_nowhere(tmp_path):
    line = case([(0.0, 'abcdefghij' * 200)], teacher=None)
    files.write_jsonl(tmp_path / 'case_study.jsonl', [line] * 50)
    page = html_of(tmp_path)
    assert page.count('… (800 more characters)') == 40
    assert 'And 10 more questions in case_study.jsonl.' in page
    assert '<mark class="number" ' not in page
    assert "the teacher's first rationale" not in page


def test_texts_of_models_are_escaped_marked_or_not(tmp_path):
    attack = '<script>; 1 + 1 = 3; </script>"><img src=x onerror=alert(7)>'
    files.write_jsonl(tmp_path / 'case_study.jsonl', [case([(0.0, attack)], teacher=attack)])
    page = html_of(tmp_path)
    assert page.count('<script') == 1  # our own
    assert '<script>;' not in page
    assert '<img src=x' not in page
    assert '&lt;script&gt;; <mark class="equation"' in page
    assert re.search('onerror=alert\\(<mark class="number" title="[a-z ]*">7</mark>\\)', page)


# --- Table A2 -------------------------------------------------------------------------------------

COUNTS = {
    'questions': 720,
    'samples': 3600,
    'unreadable': 36,
    'right_per_question': 3.5,
    'sample_accuracy': 0.7,
    'vote_accuracy': 0.8,
    'only_positive': 0.5,
    'only_negative': 0.1,
}


def test_teacher_statistics_stand_beside_the_papers_row(tmp_path):
    files.write_json(tmp_path / 'prepare.json', {'train': COUNTS, 'test': {}})
    files.write_json(tmp_path / 'summary.json', {'dataset': 'svamp', 'method': 'qcrd'})
    files.write_json(tmp_path / 'config.json', {'data': {'samples': 5}})
    text = visible(html_of(tmp_path))
    assert 'right samples per question, of 5 3.50 3.87' in text
    assert 'only right samples 50.0 % 55.0 %' in text
    assert 'only wrong samples 10.0 % 8.0 %' in text
    assert 'votes that are right 80.0 % –' in text
    assert 'without a readable answer 1.0 % –' in text


def test_a_dataset_that_the_paper_lacks_has_no_column_of_it(tmp_path):
    files.write_json(tmp_path / 'prepare.json', {'train': COUNTS})
    files.write_json(tmp_path / 'summary.json', {'dataset': 'mwp'})
    text = visible(html_of(tmp_path))
    assert 'The paper has no row for this dataset.' in text
    assert 'right samples per question 3.50 questions with only right' in text


@pytest.mark.parametrize(
    'counts',
    [{}, {'train': None}, {'train': {'questions': 0, 'samples': 0}}, {'train': {'questions': 'x'}}],
)
def test_what_was_not_counted_is_said(tmp_path, counts):
    files.write_json(tmp_path / 'prepare.json', counts)
    assert 'has not been counted yet (prepare.json)' in html_of(tmp_path)


def test_questions_without_samples_have_no_shares(tmp_path):
    nothing = dict.fromkeys(COUNTS) | {'questions': 24, 'samples': 0, 'unreadable': 0}
    files.write_json(tmp_path / 'prepare.json', {'train': nothing})
    statistics = analyses.teacher_statistics(read_run(tmp_path), 'cqa')
    assert {row['value'] for row in statistics['rows']} == {'–'}
    assert [row['paper'] for row in statistics['rows']][:3] == ['3.89', '68.0 %', '13.0 %']


# --- Scores ---------------------------------------------------------------------------------------


def test_what_the_paper_reads_off_the_densities(tmp_path):
    scores = {
        'teacher_positive': [0.9, 1.0, 0.98],
        'teacher_negative': [0.9],
        'student_t1.5': [0.71, 0.7, 0.1, 0.2],  # one of four above 0.7
        'student_t2.0': [0.1],
    }
    files.write_json(tmp_path / 'scores.json', scores)
    text = visible(html_of(tmp_path))
    assert "teacher's positives, mean score 0.96 around 0.95" in text
    assert 'student sample, temperature 1.5, scored above 0.7 25.0 % sometimes' in text
    assert 'student sample, temperature 2.0, scored above 0.7 0.0 % –' in text


# --- Training time --------------------------------------------------------------------------------


def time_of(workdir, summary, config=None, lines=()):
    files.write_json(workdir / 'summary.json', summary)
    files.write_json(workdir / 'config.json', config or {})
    files.write_jsonl(workdir / 'metrics.jsonl', lines)
    return analyses.training_time(read_run(workdir))


@pytest.mark.parametrize(
    ('summary', 'config', 'hours'),
    [
        ({'method': 'qcrd', 'student': 't5-base'}, {}, '13 h'),
        ({'method': 'qcrd', 'student': '/models/t5-small/'}, {}, '8.5 h'),
        ({'method': 'dss', 'student': 'google-t5/t5-base'}, {}, '4 h'),
        ({'method': 'finetune', 'student': 't5-small'}, {}, '1.25 h'),
        (
            {'method': 'qcrd', 'student': 't5-base'},
            {'discriminator': {'weigh': False}},
            '12 h',
        ),
        ({'method': 'qcrd', 'student': 't5-large'}, {}, None),
        ({'method': 'qcrd', 'student': 't5-v1.0-base (random)'}, {}, None),
        ({'method': 'single_task', 'student': 't5-base'}, {}, None),
    ],
)
def test_the_papers_time_is_shown_for_its_students_and_methods_alone(
    tmp_path, summary, config, hours
):
    summary |= {'training_hours': 2.0}
    note = time_of(tmp_path, summary, config)['note']
    assert note == (f'paper: {hours} (SVAMP, 10,000 steps, one A100)' if hours else 'of all steps')


def test_the_time_of_a_run_that_goes_on_is_that_of_its_windows(tmp_path):
    lines = [
        {'phase': 'discriminator', 'step': 10, 'seconds_per_step': 0.5},
        {'phase': 'train', 'step': 100, 'seconds_per_step': 2.0},
        {'phase': 'train', 'step': 150, 'seconds_per_step': 1.0},
    ]
    assert time_of(tmp_path, {}, lines=lines) == {
        'value': '4 min',  # 250 s
        'note': 'and 5.0 s of the discriminator',
    }
    assert time_of(tmp_path, {}) == {'value': '–', 'note': 'of all steps'}


@pytest.mark.parametrize(
    ('time', 'shown'),
    [
        (None, '–'),
        (0.04, '0.0 s'),
        (9.94, '9.9 s'),
        (42.4, '42 s'),
        (99.4, '99 s'),
        (100.0, '2 min'),
        (5399.0, '90 min'),
        (5400.0, '1.5 h'),
        (46_800.0, '13.0 h'),
    ],
)
def test_durations(time, shown):
    assert formats.duration(time) == shown
