"""The step benchmark at a very small shape: what it writes belongs together."""

import json

import numpy as np
import pytest

from tests.support import REPOSITORY

SMALL = {
    'batch': 2,
    'source-length': 6,
    'rationale-length': 5,
    'label-length': 3,
    'positives': 2,
    'negatives': 1,
    'lag': 2,
    'steps': 3,
}
# Tokens that the student is trained on per question, by hand from the lengths above.
TOKENS = {'finetune': 6 + 3, 'dss': 2 * 6 + 3 + 5, 'qcrd': 2 * 6 + 3 + (2 + 1) * 5}
KEYS = {
    'setting',
    'machine',
    'parameters',
    'steps',
    'steps_per_call',
    'seconds_per_step',
    'seconds_per_step_p10',
    'seconds_per_step_p90',
    'compile_seconds',
    'sampling_seconds',
    'sampling_share',
    'discriminator_score_seconds',
    'discriminator_update_seconds',
    'discriminator_share',
    'tokens_per_step',
    'tokens_per_second',
    'sampled_tokens_per_second',
    'peak_memory_bytes',
    'peak_memory_of',
    'program_memory_bytes',
    'program_kernels',
    'floor',
}


@pytest.fixture
def step(monkeypatch):
    """`benchmarks` lies beside the package and is not installed."""
    monkeypatch.syspath_prepend(REPOSITORY)
    import benchmarks.step

    return benchmarks.step


def measure(step, path, *more):
    flags = [f'--{name}={value}' for name, value in SMALL.items()]
    step.main(['--size=tiny', *flags, *more, f'--json={path}'])
    return json.loads(path.read_text())


@pytest.mark.parametrize('method', TOKENS)
def test_tokens_trained_on(step, method):
    lengths = {name.replace('-', '_'): value for name, value in SMALL.items()}
    setting = step.Setting(method=method, size='tiny', **lengths)
    assert step.Subject(setting).trained_tokens == 2 * TOKENS[method]


def test_a_method_that_samples_nothing(step, tmp_path, capsys):
    result = measure(step, tmp_path / 'step.json', '--method=finetune')
    assert set(result) == KEYS
    assert (result['steps'], result['steps_per_call']) == (3, 1)
    assert result['sampling_share'] == result['discriminator_share'] == 0
    assert result['sampled_tokens_per_second'] is None
    assert result['tokens_per_step'] == 2 * TOKENS['finetune']
    assert result['setting']['method'] == 'finetune'
    assert 'sampling' not in capsys.readouterr().out


def test_qcrd_in_chunks(step, tmp_path, capsys):
    result = measure(step, tmp_path / 'new' / 'step.json', '--update-every=4')
    assert set(result) == KEYS
    # Three steps are two chunks of two; both steps of a chunk took half of its time.
    assert (result['steps'], result['steps_per_call']) == (4, 2)
    median, p10, p90 = (result[f'seconds_per_step{end}'] for end in ('', '_p10', '_p90'))
    assert 0 < p10 <= median <= p90
    assert result['compile_seconds'] > median
    assert result['tokens_per_step'] == 2 * TOKENS['qcrd']
    np.testing.assert_allclose(result['tokens_per_second'], 2 * TOKENS['qcrd'] / median)
    np.testing.assert_allclose(result['sampling_share'], result['sampling_seconds'] / median)
    np.testing.assert_allclose(
        result['sampled_tokens_per_second'], 2 * 1 * 5 / result['sampling_seconds']
    )
    score, update = (result[f'discriminator_{part}_seconds'] for part in ('score', 'update'))
    assert score > 0 < update
    np.testing.assert_allclose(result['discriminator_share'], (score + update / 4) / median)
    # Embedding, and per layer 4 or 8 projections of 128 x 128, 2 of 128 x 256, 2 or 3 norms; a
    # final norm and 32 position buckets for 4 heads per stack.
    encoder, decoder = (2 * (n * 128**2 + 2 * 128 * 256 + m * 128) for n, m in ((4, 2), (8, 3)))
    assert result['parameters'] == 32128 * 128 + encoder + decoder + 2 * (128 + 32 * 4)
    assert result['peak_memory_bytes'] > 4 * result['parameters']
    # Parameters, moments and two slots of the ring of the student, at least, whatever is planned.
    assert result['program_memory_bytes']['arguments'] > 4 * 5 * result['parameters']
    kernels = result['program_kernels']
    assert kernels['kernels'] >= kernels['fusions'] + kernels['products'] > 0 < kernels['loops']
    # Two steps and five tokens; the discriminator's update counts once a step.
    assert kernels['kernels'] < kernels['launches'] < 10 * kernels['kernels']
    parts = result['floor']['parts']
    assert [each['part'] for each in parts] == [
        'student',
        'optimizer',
        'sampling',
        'scores',
        'discriminator',
    ]
    np.testing.assert_allclose(result['floor']['seconds'], sum(each['seconds'] for each in parts))
    assert result['floor']['seconds'] > 0
    assert result['machine']['cpus'] >= 1
    assert result['machine']['jax'] in capsys.readouterr().out


def test_real_lengths(step):
    setting = step.Setting(size='tiny', method='qcrd', batch=3, lag=2, steps=3, lengths='svamp')
    subject = step.Subject(setting)
    # Three steps are four batches; what is padded is no token, and each question has a sample.
    assert len(subject.batches) == 4
    tokens = 0
    for batch in subject.batches.all:
        ids = [batch[f'{name}_ids'] for name in ('predict', 'explain', 'label', 'positive')]
        limit = int(batch['rationale_limit'].max())
        sampled = min(subject.sampled_length, limit)
        tokens += sum(np.count_nonzero(each) for each in ids) + 3 * sampled
        assert batch['predict_ids'].shape[1] <= 80 and batch['positive_ids'].shape[2] <= 144
    assert subject.trained_tokens == tokens / 4
    # The longest of six rationales is longer than most of them, and shorter than all.
    assert 47 < subject.sampled_length < 143


def test_qcrd_one_by_one_without_a_discriminator(step, tmp_path):
    result = measure(step, tmp_path / 'step.json', '--no-together', '--no-discriminator')
    assert (result['steps'], result['steps_per_call']) == (3, 1)
    assert result['sampling_share'] > 0 == result['discriminator_share']


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--batch=0'], 'argument --batch: expected a whole number of at least 1'),
        (['--steps=many'], "argument --steps: expected a whole number of at least 1, got 'many'"),
        (['--negatives=-1'], 'argument --negatives: expected a whole number of at least 0'),
        (['--size=huge'], "argument --size: invalid choice: 'huge'"),
        (['--dtype=float16'], "argument --dtype: invalid choice: 'float16'"),
        (['--json=.'], 'argument --json: . is a folder; name a file.'),
        (['--speed=9'], 'unrecognized arguments: --speed=9'),
    ],
)
def test_bad_arguments_are_named(step, flags, message, capsys):
    with pytest.raises(SystemExit) as caught:
        step.main(flags)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
