"""The report of a whole run: what it shows, and how."""

import shutil

import numpy as np
import pytest

from qcrd_jax import files
from qcrd_jax.report import figures, page, write_report
from tests.report.pages import figure_names, rendered, write_run


def test_whole_run_shows_its_headlines_figures_and_examples(tmp_path):
    write_run(tmp_path)
    elements = rendered(tmp_path)
    assert 'QCRD on mwp finished' in elements.text
    # 325 of 400: Wilson's 95 % interval computed separately, centre 0.8095, half width 0.0381.
    assert 'Test accuracy 81.2 % 325 of 400; 95 % interval 77.1 to 84.8 %' in elements.text
    assert 'Validation accuracy 84.5 % best, at step 500' in elements.text
    assert 'Discriminator ROC-AUC 0.973' in elements.text
    assert (
        'Time per step 143 ms 38.4 % of it samples negatives; 21.7 % of the tokens are padding'
        in elements.text
    )
    assert 'Student 1.9 M parameters' in elements.text
    assert 'Training time 12.6 h and 75 s of the discriminator' in elements.text
    assert 'Of the 2,000 training questions with their 10,000 samples' in elements.text
    assert 'right samples per question, of 5 3.91 questions with only right' in elements.text
    assert 'samples without a readable answer 0.4 %' in elements.text  # 40 of 10000
    assert 'teacher 0 of 3 greedy 0 of 3 temperature 0.7 3 of 3' in elements.text
    assert ('mark', 'class', 'equation') in elements.attributes
    assert 'synthetic' in elements.text
    assert '375 right , 25 wrong .' in elements.text
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


def test_the_quality_of_rationales_stands_beside_the_labels(tmp_path):
    write_run(tmp_path, curves=False)
    text = rendered(tmp_path).text
    # Of 400, the labels of every 16th (25) and the rationales of every fourth (100) are wrong.
    assert 'Right rationales 75.0 % 300 of 400; 95 % interval 70.5 to 79.0 %' in text
    assert 'greedy 400 75.0 % 70.5 to 79.0 81.2 % 77.1 to 84.8 2.0 % 1.0 to 3.9' in text
    assert 'temperature 0.7 400 50.0 % 45.1 to 54.9' in text
    assert 'label right 300 75.0 % 75 18.8 % 375 93.8 %' in text
    assert 'label wrong 0 0.0 % 25 6.2 % 25 6.2 %' in text
    assert 'Label right, rationale wrong 8 of 75' in text
    assert 'arrives at 41' in text
    assert '84 / 2 = 42. wrong : arrives at 41' in text


@pytest.mark.parametrize('method', ['dss', 'finetune'])
def test_a_run_whose_rationales_were_not_read_shows_so(tmp_path, method):
    write_run(tmp_path, method=method, curves=False)
    records = [record for _, record in files.read_jsonl(tmp_path / 'predictions.jsonl')]
    kept = [
        {name: value for name, value in record.items() if not name.startswith('rationale_')}
        for record in records
    ]
    files.write_jsonl(tmp_path / 'predictions.jsonl', kept)
    summary = files.read_json(tmp_path / 'summary.json')
    files.write_json(
        tmp_path / 'summary.json',
        {name: value for name, value in summary.items() if not name.startswith('rationale')},
    )
    text = rendered(tmp_path).text
    assert 'Right rationales' not in text
    expected = 'do not say whether its rationales are right' if method == 'dss' else ''
    assert (expected or 'This method teaches no rationales') in text


def test_damaged_verdicts_of_rationales_are_left_out(tmp_path):
    write_run(tmp_path, curves=False)
    records = [record for _, record in files.read_jsonl(tmp_path / 'predictions.jsonl')]
    for place, value in enumerate(('yes', None, 1, [], {})):
        records[place] |= {'rationale_correct': value, 'rationale_tokens': 'many'}
    records[5] |= {'rationale_tokens': float('1e400'), 'rationale_<b>_correct': True}
    files.write_jsonl(tmp_path / 'predictions.jsonl', records)
    text = rendered(tmp_path).text
    assert 'greedy 395 ' in text
    assert '<b>' not in text  # no name of rationales


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


def test_moved_workdir_renders_again(tmp_path):
    write_run(tmp_path / 'first', curves=False)
    write_report(tmp_path / 'first')
    shutil.move(tmp_path / 'first', tmp_path / 'second')
    assert 'second' in rendered(tmp_path / 'second').text


def test_what_ran_it_is_shown_and_what_continued_it(tmp_path):
    write_run(tmp_path, curves=False)
    assert 'What ran it was not recorded (provenance.json)' in rendered(tmp_path).text
    first = {
        'command': "python run.py --config=configs/svamp.py --config.data.source 'my data'",
        'commit': 'ab' * 20,
        'changed': False,
        'device': 'NVIDIA H100',
        'platform': 'gpu',
        'devices': 8,
        'versions': {'python': '3.12.1', 'jax': '0.10.2', 'flax': None, 'qcrd_jax': '0.1.0'},
    }
    files.write_json(tmp_path / 'provenance.json', {'launches': [first]})
    text = rendered(tmp_path).text
    command = "python run.py \\ --config=configs/svamp.py \\ --config.data.source 'my data'"
    assert f'command {command} commit {"ab" * 20} device 8 × NVIDIA H100 (gpu)' in text
    assert 'python 3.12.1 jax 0.10.2 flax – qcrd_jax 0.1.0' in text
    assert 'Begun' not in text
    second = first | {'commit': None, 'device': 'cpu', 'platform': 'cpu', 'devices': 1}
    third = second | {'commit': 'cd' * 20, 'changed': True}
    files.write_json(tmp_path / 'provenance.json', {'launches': [first, second, third]})
    text = rendered(tmp_path).text
    assert 'Begun command' in text
    assert 'Resumed (1) command' in text
    assert 'commit not a checkout device cpu python' in text
    assert f'commit {"cd" * 20}, with changes device cpu python' in text


def test_fields_that_may_hold_a_secret_are_not_shown(tmp_path):
    write_run(tmp_path, curves=False)
    config = files.read_json(tmp_path / 'config.json')
    config['teacher'] |= {'extra': '{"key": "sk-AbC0123"}', 'base_url': '', 'model': 'a-model'}
    config['api_key'] = 'sk-AbC0123'
    files.write_json(tmp_path / 'config.json', config)
    text = rendered(tmp_path).text
    assert 'sk-AbC0123' not in text
    assert 'extra not shown' in text
    assert 'api_key not shown' in text
    assert 'base_url – ' in text
    assert 'model a-model' in text
    assert 'OPENAI_API_KEY' not in text


def test_every_prediction_is_a_row_with_what_it_is_filtered_by(tmp_path):
    write_run(tmp_path, curves=False)
    elements = rendered(tmp_path)
    # Every 16th label and every fourth rationale is wrong; all labels are a division.
    assert elements.values('data-answer').count('wrong') == 25
    assert elements.values('data-rationale').count('wrong') == 100
    assert elements.values('data-group') == ['0'] * 400
    assert elements.values('name')[-2:] == ['answer', 'rationale']  # and none for a single group
    assert 'Accuracy by operation' in elements.text
    # The intervals are those of the headlines.
    assert '÷ 400 375: 93.8 % 90.9 to 95.7 300: 75.0 % 70.5 to 79.0' in elements.text
