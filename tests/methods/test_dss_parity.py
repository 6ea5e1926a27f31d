"""Whole training steps against PyTorch: DSS's loss and gradients, and AdamW as its trainer set it.

The other side is what the trainer that DSS released computes: two forward passes of Hugging Face's
T5 over padded batches with labels of -100 where there is padding, `alpha * label + (1 - alpha) *
rationale`, clipping at 1, `torch.optim.AdamW`, and Hugging Face's linear schedule.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from qcrd_jax.methods import optimizers
from qcrd_jax.methods.dss import Dss, Finetune
from qcrd_jax.methods.state import TrainState
from qcrd_jax.models import T5Student
from qcrd_jax.models.huggingface import load_student, save_student

torch = pytest.importorskip('torch')
import transformers  # noqa: E402

from tests.support import t5_reference  # noqa: E402
from tests.support.toys import stepped  # noqa: E402

FLAVOURS = {
    'v1.0': ({}, False),
    'v1.1': ({'feed_forward_proj': 'gated-gelu', 'tie_word_embeddings': False}, True),
}
EOS = 1
QUESTION_LENGTHS = {'predict_ids': [13, 5, 9, 2], 'explain_ids': [14, 6, 10, 3]}
LABEL_LENGTHS, RATIONALE_LENGTHS = [5, 1, 3, 2], [4, 17, 1, 9]
# Keeps the gradient where the optimiser's state would be, and moves nothing.
RECORD = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradient, state, params=None: (jax.tree.map(jnp.zeros_like, gradient), gradient),
)


def make_model(flavour, seed):
    fields, untied = FLAVOURS[flavour]
    model = t5_reference.random_model(seed, **fields)
    if untied:
        t5_reference.untie(model)
    return model


def read(model, folder):
    """The student of a PyTorch model, without dropout."""
    model.save_pretrained(folder)
    config, params = load_student(folder)
    return T5Student(dataclasses.replace(config, dropout_rate=0.0)), params


def make_batch(seed):
    rng = np.random.default_rng(seed)

    def sequences(lengths, width):
        lengths = np.array(lengths)[:, None]
        places = np.arange(width)
        ids = rng.integers(2, t5_reference.SMALL['vocab_size'], (len(lengths), width))
        ids = np.where(places == lengths - 1, EOS, ids)
        return np.where(places < lengths, ids, 0).astype(np.int32)

    rows = len(LABEL_LENGTHS)
    return {
        # One column more than the longest needs: batches have the shape of the whole data.
        **{name: sequences(lengths, 15) for name, lengths in QUESTION_LENGTHS.items()},
        'label_ids': sequences(LABEL_LENGTHS, 6),
        'positive_ids': np.stack(
            [sequences(RATIONALE_LENGTHS, 18), sequences(RATIONALE_LENGTHS, 18)], axis=1
        ),
        'positive_mask': np.ones((rows, 2), bool),
        'example_mask': np.ones(rows, bool),
    }


def torch_loss(model, tokens, targets):
    """One task of the original trainer: padding is masked out and its labels are -100."""
    tokens, targets = torch.tensor(tokens).long(), torch.tensor(targets).long()
    labels = targets.masked_fill(targets == 0, -100)
    return model(input_ids=tokens, attention_mask=(tokens != 0).long(), labels=labels).loss


def named(config, tree, folder):
    """A tree shaped like parameters, by PyTorch's names and in its layout."""
    save_student(folder, config, tree)
    return safetensors.numpy.load_file(folder / 'model.safetensors')


@pytest.mark.parametrize('flavour', FLAVOURS)
@pytest.mark.parametrize('alpha', [0.5, 0.2])
def test_dss_loss_and_gradients(flavour, alpha, tmp_path):
    model, batch = make_model(flavour, 3), make_batch(4)
    prediction = torch_loss(model, batch['predict_ids'], batch['label_ids'])
    explanation = torch_loss(model, batch['explain_ids'], batch['positive_ids'][:, 0])
    loss = alpha * prediction + (1 - alpha) * explanation
    loss.backward()

    student, params = read(model, tmp_path / 'theirs')
    step = stepped(Dss(student, RECORD, alpha))
    state = TrainState.create(params, RECORD)
    state, metrics = step(state, None, batch, jax.random.key(0))

    ours = {name: float(total / count) for name, (total, count) in metrics.items()}
    np.testing.assert_allclose(ours['prediction_loss'], prediction.item(), rtol=1e-5)
    np.testing.assert_allclose(ours['explanation_loss'], explanation.item(), rtol=1e-5)
    np.testing.assert_allclose(ours['loss'], loss.item(), rtol=1e-5)
    gradients = named(student.config, state.opt_state, tmp_path / 'gradient')
    for name, parameter in model.named_parameters():
        theirs = parameter.grad.numpy()
        assert np.abs(theirs).max() > 0, name
        np.testing.assert_allclose(
            gradients[name], theirs, rtol=0, atol=1e-4 * np.abs(theirs).max(), err_msg=name
        )


@pytest.mark.parametrize(('warmup', 'decay'), [(0, 0.0), (2, 0.1)])
def test_five_steps_of_fine_tuning(warmup, decay, tmp_path):
    # The rate is 20 times the paper's: what a wrong schedule, clip or moment would change is then
    # far more than the tolerance, a hundredth of one step.
    total, rate = 5, 1e-3
    model = make_model('v1.0', 6)
    student, params = read(model, tmp_path / 'theirs')
    before = {name: leaf.detach().numpy().copy() for name, leaf in model.named_parameters()}
    batches = [make_batch(seed) for seed in range(total)]

    adamw = torch.optim.AdamW(model.parameters(), lr=rate, eps=1e-8, weight_decay=decay)
    schedule = transformers.get_linear_schedule_with_warmup(adamw, warmup, total)
    norms = []
    for batch in batches:
        torch_loss(model, batch['predict_ids'], batch['label_ids']).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        adamw.step()
        schedule.step()
        model.zero_grad()
    assert max(norms) > 2, 'nothing is clipped'

    optimizer = optimizers.adamw(
        optimizers.learning_rate_schedule(
            rate, schedule='linear', steps=total, warmup_steps=warmup
        ),
        clip_norm=1.0,
        weight_decay=decay,
    )
    step = stepped(Finetune(student, optimizer))
    state = TrainState.create(params, optimizer)
    for batch, norm in zip(batches, norms, strict=True):
        state, metrics = step(state, None, batch, jax.random.key(0))
        np.testing.assert_allclose(metrics['gradient_norm'][0], norm, rtol=1e-4)
    ours = named(student.config, state.params, tmp_path / 'ours')
    for name, parameter in model.named_parameters():
        theirs = parameter.detach().numpy()
        assert np.abs(theirs - before[name]).max() > rate, name
        np.testing.assert_allclose(ours[name], theirs, rtol=0, atol=1e-5, err_msg=name)
