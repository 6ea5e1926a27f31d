"""The report of whole, partial, torn and hostile workdirs."""

import json
import math
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from qcrd_jax import config as configuration
from qcrd_jax import files
from qcrd_jax.errors import InputError
from qcrd_jax.report import figures, page, run_files, write_report

FILES = (
    'config.json',
    'metrics.jsonl',
    'summary.json',
    'predictions.jsonl',
    'scores.json',
    'examples.jsonl',
    'case_study.jsonl',
    'prepare.json',
)
QUESTION = 'Ava had 84 marbles and shared them among 2 friends. How many did each friend get?'


def write_run(workdir, method='qcrd', steps=600, curves=True):
    """Writes a small run as the training loop would leave it; drawing few curves is faster."""
    rng = np.random.default_rng(0)
    config = configuration.base_config().to_dict()
    config['method'], config['data']['name'], config['train']['steps'] = method, 'mwp', steps
    files.write_json(workdir / 'config.json', config)
    lines = metric_lines(rng, method, steps)
    kept = lines if curves else [line for line in lines if line['phase'] in ('validation', 'test')]
    files.write_jsonl(workdir / 'metrics.jsonl', kept)
    files.write_json(
        workdir / 'summary.json',
        {
            'method': method,
            'dataset': 'mwp',
            'student': 'tiny',
            'seed': 0,
            'steps': steps,
            'best_step': steps - 100,
            'validation_accuracy': 0.845,
            'test_accuracy': 0.8125,
            'seconds_per_step': 0.143,
            'training_hours': 12.61,
            'pretraining_seconds': 75.2,
            'negative_sampling_share': 0.384,
            'discriminator_auc': 0.9731 if method == 'qcrd' else None,
            'parameters': 1912320,
        },
    )
    predictions = [
        {
            'id': f'mwp-test-{i:04}',
            'input': QUESTION,
            'label': '( 84 / 2 )',
            'prediction': '( 84 / 2 )' if i % 16 else '( 84 * 2 )',
            'rationale': 'Ava shared 84 marbles among 2 friends, so each got 84 / 2 = 42.',
            'correct': bool(i % 16),
            'score': round(0.9 if i % 16 else 0.2, 3),
        }
        for i in range(400)
    ]
    files.write_jsonl(workdir / 'predictions.jsonl', predictions)
    files.write_json(workdir / 'prepare.json', {'train': COUNTS})
    files.write_jsonl(workdir / 'case_study.jsonl', [case(i, method == 'qcrd') for i in range(3)])
    if method != 'qcrd':
        return
    scores = {
        'teacher_positive': rng.beta(14, 1.2, 600).tolist(),
        'teacher_negative': rng.beta(1.2, 7, 250).tolist(),
        'student_t1.5': rng.beta(1.4, 1.6, 400).tolist(),
        'student_t2.0': rng.beta(1, 6, 400).tolist(),
        'auc': 0.9731,
    }
    files.write_json(workdir / 'scores.json', scores)
    files.write_jsonl(workdir / 'examples.jsonl', [example(i) for i in range(6)])


def metric_lines(rng, method, steps):
    """Curves with the shapes of a real run: falling losses, parting scores, rising accuracy."""
    lines = []
    for step in range(10, 201, 10) if method == 'qcrd' else ():
        lines.append(
            {
                'phase': 'discriminator',
                'step': step,
                'loss': 0.7 * math.exp(-step / 70) + 0.02 * rng.random(),
                'accuracy': 1 - 0.5 * math.exp(-step / 60),
                'positive_score': 1 - 0.5 * math.exp(-step / 60),
                'negative_score': 0.5 * math.exp(-step / 80),
                'learning_rate': 1e-4 * (1 - step / 200),
            }
        )
    for step in range(5, steps + 1, 5):
        fall = math.exp(-step / (0.25 * steps))
        line = {
            'phase': 'train',
            'step': step,
            'loss': 3.1 * fall + 0.2 + 0.12 * rng.normal() * fall,
            'prediction_loss': 2.8 * fall + 0.1 + 0.1 * rng.random(),
            'gradient_norm': float(np.exp(rng.normal() * 0.3)) * (30 * fall + 0.4),
            'learning_rate': 1e-3 * (1 - step / steps),
            'nonfinite': 0.0,
            'seconds_per_step': 0.143 + 0.01 * rng.random(),
        }
        if method == 'qcrd':
            line |= {
                'contrastive_loss': 3 * fall + 0.3 + 0.15 * rng.normal() * fall,
                'positive_loss': 3.2 * fall + 0.3 + 0.05 * rng.random(),
                'negative_loss': 3.4 * fall
                + 1.3 * (1 - fall) * (1 + step / steps)
                + rng.random() / 9,
                'negative_length': 24 + 8 * fall + rng.random(),
                'negative_active': 0.9 * fall + 0.05 * rng.random(),
                'positive_score': 0.93 + 0.03 * rng.random(),
                'negative_score': 0.1 + 0.4 * fall + 0.05 * rng.random(),
                'discriminator_loss': -0.9 + 0.05 * rng.normal() if step % 50 == 0 else None,
            }
        else:
            line['explanation_loss'] = 3.2 * fall + 0.3
        lines.append(line)
        if step % 100 == 0:
            correct = round(200 * 0.87 * (1 - math.exp(-step / 200)))
            validation = {'accuracy': correct / 200, 'correct': correct, 'total': 200}
            best = step == steps - 100
            lines.append({'phase': 'validation', 'step': step, 'best': best, **validation})
    test = {'accuracy': 0.8125, 'correct': 325, 'total': 400}
    return [*lines, {'phase': 'test', 'step': steps - 100, **test}]


def example(index):
    kinds = [
        ('teacher positive', None, 'Ava shared 84 marbles among 2 friends. 84 / 2 = 42.', 0.96),
        ('teacher positive', None, 'Each friend got 84 divided by 2, which is 42 marbles.', 0.91),
        ('teacher negative', None, 'Ava had 84 marbles and 2 friends. 84 - 2 = 82.', 0.07),
        ('student sample', 1.5, 'Ava had 84 marbles for 2 friends, so 84 / 2 = 41.', 0.48),
        ('student sample', 2.0, 'Friends 2 the marbles among 84 84 * 2 got = 9.', 0.02),
    ]
    keys = ('kind', 'temperature', 'text', 'score')
    rationales = [dict(zip(keys, kind, strict=True)) for kind in kinds]
    return {
        'id': f'mwp-test-{index:04}',
        'input': QUESTION,
        'label': '( 84 / 2 )',
        'rationales': rationales,
    }


COUNTS = {
    'questions': 2000,
    'samples': 10_000,
    'unreadable': 40,
    'right_per_question': 3.914,
    'sample_accuracy': 0.7828,
    'vote_accuracy': 0.9345,
    'only_positive': 0.371,
    'only_negative': 0.0125,
    'truncated': 0,
}


def case(index, scored):
    texts = [
        (0.0, 'Ava shared 84 marbles among 2 friends. 84 / 2 = 42.', 0.96),
        (0.7, 'Ava shared 84 marbles among 2 friends. 84 / 2 = 41.', 0.81),
        (1.5, 'Ava had 86 marbles for 2 friends, so 86 / 2 = 43.', 0.48),
        (2.0, 'Friends 2 the marbles among 84 84 * 2 got = 9.', 0.02),
    ]
    return {
        'id': f'mwp-test-{index:04}',
        'input': QUESTION,
        'label': '( 84 / 2 )',
        'answer_type': 'equation',
        'teacher': 'Each of 2 friends got 84 / 2 = 42 marbles.',
        'rationales': [
            {'temperature': temperature, 'text': text, 'score': score if scored else None}
            for temperature, text, score in texts
        ],
    }


class _Elements(HTMLParser):
    """Collects the elements, attributes and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], '', []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.text += ' '
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attributes]
        if tag not in ('meta', 'img', 'br', 'link'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.text += ' '
        assert self.open.pop() == tag, f'</{tag}> closes nothing'

    def handle_data(self, data):
        if not {'style', 'script', 'title'} & set(self.open):
            self.text += data


def rendered(workdir):
    """The parsed page, checked for what every page keeps: balanced, no script, no network."""
    path = write_report(workdir)
    assert path == workdir / 'report' / 'index.html'
    elements = _Elements(path.read_text(encoding='utf-8'))
    assert elements.open == []
    assert not {'script', 'link', 'iframe', 'object', 'form', 'svg'} & set(elements.tags)
    for _, name, value in elements.attributes:
        assert not name.startswith('on')
        if name == 'src':
            assert value.startswith('data:image/svg+xml;base64,')
        if name == 'href':
            assert value.startswith('#')
    elements.text = re.sub(r'\s+', ' ', elements.text)
    return elements


def figure_names(workdir):
    return {path.stem for path in (workdir / 'report').glob('*.png')}


def test_whole_run_shows_its_headlines_figures_and_examples(tmp_path):
    write_run(tmp_path)
    elements = rendered(tmp_path)
    assert 'QCRD on mwp finished' in elements.text
    # 325 of 400: Wilson's 95 % interval computed separately, centre 0.8095, half width 0.0381.
    assert 'Test accuracy 81.2 % 325 of 400; 95 % interval 77.1 to 84.8 %' in elements.text
    assert 'Validation accuracy 84.5 % best, at step 500' in elements.text
    assert 'Discriminator ROC-AUC 0.973' in elements.text
    assert 'Time per step 143 ms 38.4 % of it samples negatives' in elements.text
    assert 'Student 1.9 M parameters' in elements.text
    assert 'Training time 12.6 h and 75 s of the discriminator' in elements.text
    assert 'Of the 2,000 training questions with their 10,000 samples' in elements.text
    assert 'right samples per question, of 5 3.91 questions with only right' in elements.text
    assert 'samples without a readable answer 0.4 %' in elements.text  # 40 of 10000
    assert 'teacher 0 of 3 greedy 0 of 3 temperature 0.7 3 of 3' in elements.text
    assert ('mark', 'class', 'equation') in elements.attributes
    assert 'synthetic' in elements.text
    assert '25 wrong the first 16' in elements.text
    assert '375 right the first 6' in elements.text
    assert "score of the student's rationale: 0.90 when right, 0.20 when wrong" in elements.text
    assert 'student sample, temperature 1.5' in elements.text
    assert elements.text.count('Ava had 84 marbles and 2 friends. 84 - 2 = 82.') == 6
    assert figure_names(tmp_path) == {
        'accuracy',
        'loss',
        'rationale_losses',
        'training_scores',
        'negative_active',
        'negative_length',
        'gradient_norm',
        'learning_rate',
        'step_time',
        'discriminator_scores',
        'discriminator_accuracy',
        'discriminator_loss',
        'online_discriminator_loss',
        'score_density',
    }
    assert elements.tags.count('img') == 14
    assert 'Missing' not in elements.text


def test_same_run_gives_the_same_bytes(tmp_path):
    write_run(tmp_path, curves=False)
    first = write_report(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == first


def test_rationale_background_follows_its_score(tmp_path):
    write_run(tmp_path, curves=False)
    styles = [value for tag, name, value in rendered(tmp_path).attributes if name == 'style']
    assert styles.count('background: rgb(247, 198, 173)') == 1  # the legend's 0
    assert styles.count(f'background: {page.score_colour(0.96)}') == 6


@pytest.mark.parametrize(
    ('score', 'colour'),
    [
        (0.0, 'rgb(247, 198, 173)'),
        (0.25, 'rgb(247, 222, 206)'),  # halfway: (198 + 245) / 2 = 221.5, (173 + 240) / 2 = 206.5
        (0.5, 'rgb(247, 245, 240)'),
        (1.0, 'rgb(176, 208, 240)'),
    ],
)
def test_score_colour_is_linear_between_its_anchors(score, colour):
    assert page.score_colour(score) == colour


def test_score_table_gives_the_separation_from_teacher_positives(tmp_path):
    write_run(tmp_path, curves=False)
    scores = {
        'teacher_positive': [0.9, 0.8],
        'teacher_negative': [0.1, 0.8],  # 0.9 beats both, 0.8 beats one and ties one: 3.5 of 4
        'student_t1.5': [0.75, 0.05, 0.3, 0.2],  # all 8 pairs won; one of four above 0.7
    }
    files.write_json(tmp_path / 'scores.json', scores)
    text = rendered(tmp_path).text
    assert 'teacher positive 2 0.85 0.85 100.0 % –' in text
    assert 'teacher negative 2 0.45 0.45 50.0 % 0.875' in text
    assert 'student sample, temperature 1.5 4 0.33 0.25 25.0 % 1.000' in text


@pytest.mark.parametrize('method', ['finetune', 'dss'])
def test_method_without_discriminator_misses_nothing(tmp_path, method):
    write_run(tmp_path, method)
    text = rendered(tmp_path).text
    assert 'This method trains without a discriminator' in text
    assert 'ROC-AUC' not in text
    assert 'Missing' not in text
    assert 'score_density' not in figure_names(tmp_path)


def test_running_mean_by_hand_and_exact_on_a_line():
    values = np.array([0.0, 3.0, 6.0, 0.0, 9.0])
    assert figures.running_mean(values, 3).tolist() == [0.0, 3.0, 3.0, 5.0, 9.0]
    assert figures.running_mean(np.array([1e30, 1.0, 2.0, 3.0]), 3)[2] == 2.0  # no cancellation
    line = np.linspace(5.0, 1.0, 50)
    np.testing.assert_allclose(figures.running_mean(line, 7), line, atol=1e-12)


def test_updates_that_were_not_applied_are_named(tmp_path):
    shares = [(50, 0.0), (1100, 0.02), (1150, 0.5)]
    lines = [{'phase': 'train', 'step': step, 'nonfinite': share} for step, share in shares]
    files.write_jsonl(tmp_path / 'metrics.jsonl', lines)
    assert 'were not applied; the first are logged at step 1,100.' in rendered(tmp_path).text
    files.write_jsonl(tmp_path / 'metrics.jsonl', lines[:1])
    assert 'were not applied' not in rendered(tmp_path).text


def test_unknown_loss_terms_are_drawn(tmp_path):
    line = {'phase': 'train', 'step': 1, 'loss': 2.0, 'mutual_information_loss': 0.5}
    files.write_jsonl(tmp_path / 'metrics.jsonl', [line])
    elements = rendered(tmp_path)
    assert 'other_losses' in figure_names(tmp_path)
    assert any(
        'mutual information 0.5' in (v or '') for _, n, v in elements.attributes if n == 'alt'
    )


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
    for name in ('config.json', 'summary.json', 'scores.json', 'prepare.json'):
        content = {'method': attack, 'dataset': attack, attack: [0.5], 'seed': attack}
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
    for name in ('config.json', 'summary.json', 'scores.json', 'prepare.json'):
        fields = ('method', 'data', 'seed', 'student', 'steps', 'best_step', 'training_hours')
        content = dict.fromkeys((*fields, 'train', 'pretraining_seconds'), odd)
        files.write_json(tmp_path / name, content)
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


def test_moved_workdir_renders_again(tmp_path):
    write_run(tmp_path / 'first', curves=False)
    write_report(tmp_path / 'first')
    shutil.move(tmp_path / 'first', tmp_path / 'second')
    assert 'second' in rendered(tmp_path / 'second').text
