"""Decoder-only students in training: QCRD with a student and its discriminator, and a whole run."""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qcrd_jax import files
from qcrd_jax.config import base_config
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.errors import InputError
from qcrd_jax.methods import compiled, programs
from qcrd_jax.methods.compiled import Prepared
from qcrd_jax.methods.objectives import Contrast
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.qcrd import Qcrd
from qcrd_jax.methods.rationales import NegativeSampling
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.models import DecoderStudent, Discriminator
from qcrd_jax.ring import Ring
from qcrd_jax.validation import validate
from tests.support import REPOSITORY, parity, small

CONFIG = small.decoder(
    vocab_size=23, d_model=8, d_ff=12, num_heads=2, num_kv_heads=1, num_layers=1, tied_head=True
)
B, J = 3, 2


def random_batches():
    """J batches, stacked; every sequence ends in EOS."""
    rng = np.random.default_rng(0)

    def sequences(*shape):
        ids = rng.integers(3, CONFIG.vocab_size, (J, B, *shape))
        ends = rng.integers(2, shape[-1] + 1, ids.shape[:-1])[..., None] - 1
        places = np.arange(shape[-1])
        ids = np.where(places == ends, CONFIG.eos_id, ids)
        return jnp.asarray(np.where(places <= ends, ids, CONFIG.pad_id), jnp.int32)

    return {
        'predict_ids': sequences(6),
        'explain_ids': sequences(6),
        'question_ids': sequences(6),
        'label_ids': sequences(3),
        'positive_ids': sequences(1, 5),
        'positive_mask': jnp.ones((J, B, 1), bool),
        'negative_ids': sequences(1, 5),
        'negative_mask': jnp.ones((J, B, 1), bool),
        'example_mask': jnp.ones((J, B), bool),
        'rationale_limit': jnp.full((J, B), 5),
    }


def test_a_chunk_is_its_steps():
    student = DecoderStudent(CONFIG)
    discriminator = Discriminator(student.encoder)
    method = Qcrd(
        student,
        optax.sgd(0.5),
        Contrast(update_every=2),
        NegativeSampling(count=1, max_length=5, temperature=1.5, lag=J),
        discriminator,
        optax.sgd(0.5),
    )
    key = jax.random.key(3)
    theta = parity.random_params(student)
    slots = jax.tree.map(lambda leaf: jnp.stack([leaf * 0.5, leaf * 0.8]), theta)
    discriminator_params = parity.random_params(discriminator, 1)
    state = TrainState.create(
        theta,
        method.optimizer,
        DiscriminatorState.create(discriminator_params, method.discriminator_optimizer),
    )
    beginning, batches = Progress(state, Ring(slots)), random_batches()

    apart = tuple(jax.tree.map(lambda leaf, j=j: np.asarray(leaf[j]), batches) for j in range(J))
    largest = Lengths(source=6, label=3, rationale=5, positives=1, negatives=1)
    questions = programs.questions_of(apart, largest, CONFIG.pad_id)
    chunked, metrics = compiled.programs_of(method).take(
        jax.tree.map(jnp.copy, beginning), Prepared(apart, questions), key
    )
    step, one = jax.jit(functools.partial(programs.take_step, method)), beginning
    students = []
    for j in range(J):
        students.append(one.state.params)
        one, single = step(one, apart[j], key)
        for name, (total, count) in single.items():
            np.testing.assert_allclose(metrics[name][0][j], total, rtol=2e-4, err_msg=name)
            np.testing.assert_allclose(metrics[name][1][j], count, err_msg=name)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5)  # noqa: E731
    jax.tree.map(close, chunked.state.params, one.state.params)
    jax.tree.map(close, chunked.state.discriminator.params, one.state.discriminator.params)
    jax.tree.map(close, chunked.ring, Ring(jax.tree.map(lambda *leaf: jnp.stack(leaf), *students)))
    # Everything learns: the student in both steps, its discriminator in the second.
    learned = (theta, one.state.params), (discriminator_params, one.state.discriminator.params)
    for before, after in learned:
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, after)
        still = [path for path, size in jax.tree.leaves_with_path(moved) if not size]
        assert not still, still


RUN = """
from qcrd_jax.config import base_config


def get_config():
    config = base_config()
    config.data.update(name='mwp', samples=1)
    config.data.mwp.update(train=24, validation=4, test=5, two_step=0.0, distractors=0.0)
    config.data.mwp.update(max_number=20, stories=1)
    config.student.update(size='tiny', version='qwen2.5', pretrained='', dropout=0.1)
    config.discriminator.update(pretrain_steps=0, update_every=0)
    config.negatives.update(lag=1, max_length=8)
    config.optimizer.learning_rate = 1e-3
    config.train.update(steps=2, batch_size=4, log_every=2, evaluate_every=2)
    config.train.update(checkpoint_every=2, shapes=1)
    config.evaluation.update(batch_size=8, max_length=8, examples=1, temperatures=())
    config.evaluation.rationales = ()
    return config
"""


def test_a_run_from_words_to_a_student_that_transformers_loads(tmp_path):
    config, workdir = tmp_path / 'small.py', tmp_path / 'run'
    config.write_text(RUN)
    environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(
        [sys.executable, 'run.py', f'--config={config}', f'--workdir={workdir}'],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((workdir / 'summary.json').read_text())
    assert summary['student'] == 'qwen2.5-tiny (random)'
    assert summary['steps'] == 2
    metrics = [record for _, record in files.read_jsonl(workdir / 'metrics.jsonl')]
    assert all(np.isfinite(r['loss']) for r in metrics if r['phase'] == 'train')
    scores = json.loads((workdir / 'scores.json').read_text())['teacher_positive']
    assert len(scores) == 5 and all(0 < score < 1 for score in scores)

    torch = pytest.importorskip('torch')
    import transformers

    # The tokenizer ends a prompt in EOS, after which this student starts its answers.
    tokenizer = transformers.AutoTokenizer.from_pretrained(workdir / 'hf')
    student = transformers.AutoModelForCausalLM.from_pretrained(workdir / 'hf').eval()
    for _, record in files.read_jsonl(workdir / 'predictions.jsonl'):
        prompt = tokenizer(base_config().data.prefixes[0] + record['input'], return_tensors='pt')[
            'input_ids'
        ]
        with torch.no_grad():
            ids = student.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=8,
                do_sample=False,
            )[0, prompt.shape[1] :]
        assert tokenizer.decode(ids, skip_special_tokens=True) == record['prediction']


def test_sizes_that_a_version_does_not_have_are_refused():
    config = base_config()
    config.student.update(pretrained='', version='qwen2.5', size='0.5b')
    validate(config)
    config.student.size = 'base'
    with pytest.raises(
        InputError, match=r'--config\.student\.size: .*0\.5b.*--config\.student\.version=qwen2\.5'
    ):
        validate(config)
    config.student.update(version='v1.1')
    validate(config)
    config.discriminator.update(pretrained='', size='0.5b')
    with pytest.raises(InputError, match=r'--config\.discriminator\.size: .*version=v1\.1'):
        validate(config)
    config.discriminator.pretrained = 'student'  # then its size is not read
    validate(config)
