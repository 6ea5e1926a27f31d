"""QCRD's training loop on top of the library, in one file: ring, hot samples, contrast, update.

  python examples/qcrd_loop.py --steps 300

A tiny T5 learns generated word problems from a teacher that slips. The discriminator is left out
(scores of 1), to keep the loop short; `qcrd_jax.methods.qcrd` has it.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qcrd_jax import losses, sampling
from qcrd_jax.data import (
    Encoding,
    answers_match,
    encode,
    evaluation_batches,
    measure_lengths,
    train_tokenizer,
    training_batches,
)
from qcrd_jax.data.sources import mwp
from qcrd_jax.models import random_architecture, student_for
from qcrd_jax.ring import Ring

LAG, TEMPERATURE, BETA, MARGIN = 5, 1.5, 0.2, 3.0  # j, section 4.1, eq. 3, section 3.3.2
CAPS = {'source': 96, 'label': 16, 'rationale': 40}  # tokens


def read(train: int, test: int):
    """Returns token ids by split, the tokenizer, and the shape of all batches."""
    settings = mwp.Settings(train=train, test=test, max_number=9, two_step=0.0, distractors=0.0)
    splits = mwp.generate(settings)
    texts = []
    for each in splits['train']:
        texts += [each.input, each.label, *(sample.rationale for sample in each.samples)]
    tokenizer = train_tokenizer(texts, 500, required=('predict: ', 'explain: '))
    how = Encoding(('predict: ', 'explain: '), 'equation')  # positives by self-consistency
    encoded = {name: encode(splits[name], tokenizer, how) for name in ('train', 'test')}
    lengths, _ = measure_lengths(encoded, CAPS)
    return splits, encoded, tokenizer, lengths


def sequence_losses(student, params, prompts, ids):
    """Mean cross-entropy of every rationale of every question, nats per token: [B, R]."""
    context = student.encode(params, prompts, prompts != student.pad_id)
    logits = student.decode(params, context, ids)
    return losses.sequence_cross_entropy(logits, ids, ids != student.pad_id)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3, 4))
def train_step(student, optimizer, params, moments, ring, batch, key, step):
    """One step of QCRD: negatives from the student of LAG steps ago, then eqs. 3 and 8."""
    past = ring.generator(step)
    explain, positives = batch['explain_ids'], batch['positive_ids']
    limit = positives.shape[-1]
    hot = sampling.generate(student, past, explain, key, max_length=limit, temperature=TEMPERATURE)
    negatives = jnp.where(hot.mask, hot.ids, student.pad_id)

    def loss(params):
        labels = batch['label_ids'][:, None]
        label = sequence_losses(student, params, batch['predict_ids'], labels)[:, 0]
        contrast = losses.contrastive_loss(
            sequence_losses(student, params, explain, positives),
            sequence_losses(student, params, explain, negatives),
            jnp.ones(positives.shape[:2]),  # scores of the positives: all are held to be good
            jnp.zeros(negatives.shape[:2]),  # of the negatives: all are held to be bad
            batch['positive_mask'],
            jnp.ones(negatives.shape[:2], bool),
            beta=BETA,
            margin=MARGIN,
            scheme='min_max',
        )
        real = batch['example_mask']
        return losses.total_loss(
            losses.masked_mean(label, real),
            losses.masked_mean(contrast.total, real),
            alpha_pred=0.5,
            alpha_cl=0.5,
        )

    value, gradient = jax.value_and_grad(loss)(params)
    ring = ring.push(step, params)  # theta_t, in the place of what was sampled
    updates, moments = optimizer.update(gradient, moments, params)
    return optax.apply_updates(params, updates), moments, ring, value


def accuracy(student, params, tokenizer, examples, batches, lengths):
    """Share of the questions whose greedy label has the value of the gold one."""
    how = {'key': jax.random.key(0), 'max_length': lengths.label}
    ask = jax.jit(lambda params, prompts: sampling.generate(student, params, prompts, **how))
    texts = []
    for batch in batches:
        ids = np.asarray(ask(params, batch['predict_ids']).ids)[batch['example_mask'], 0]
        texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
    right = [answers_match(t, e.label, 'equation') for t, e in zip(texts, examples, strict=True)]
    return float(np.mean(right))


def main(steps: int, train: int = 4000, test: int = 200) -> float:
    """Trains, prints the loss now and then, and returns the accuracy on test questions."""
    splits, encoded, tokenizer, lengths = read(train, test)
    student = student_for(random_architecture('tiny', 'v1.0', tokenizer), tokenizer)
    params = student.init(jax.random.key(0))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(2e-3))
    moments, ring = optimizer.init(params), Ring.create(params, LAG)
    batches = training_batches(encoded['train'], lengths, batch_size=32, seed=0)
    for step in range(steps):
        key = jax.random.fold_in(jax.random.key(1), step)
        params, moments, ring, loss = train_step(
            student, optimizer, params, moments, ring, batches[step], key, step
        )
        if step % 50 == 0 or step == steps - 1:
            print(f'step {step}: loss {float(loss):.3f}', flush=True)
    asked = evaluation_batches(encoded['test'], lengths, batch_size=50)
    share = accuracy(student, params, tokenizer, splits['test'], asked, lengths)
    print(f'right labels: {share:.3f} of {len(splits["test"])}')
    return share


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=300, help='optimiser steps')
    main(parser.parse_args().steps)
