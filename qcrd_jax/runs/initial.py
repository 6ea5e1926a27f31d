"""What a run starts from, made anew whenever it is asked for: pretrained weights or random ones."""

import jax
import jax.numpy as jnp

from qcrd_jax.errors import InputError
from qcrd_jax.models import huggingface
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs.run import Run


def student_parameters(run: Run) -> Params:
    """theta_0, made anew: pretrained or random."""
    pretrained = run.config.student.pretrained
    place = run.placement
    if pretrained:
        loaded = huggingface.load_student(pretrained)[1]
        return place.placed(loaded, place.parameters(loaded))
    return place.made(run.student.init, place.parameters, run.key('student'))


def discriminator_parameters(run: Run, theta_0: Params) -> Params:
    """The discriminator before its pretraining, made anew.

    Args:
      run: that has a discriminator.
      theta_0: the student's initial parameters; read where the discriminator begins as a part
        of it.
    """
    assert run.discriminator is not None
    place = run.placement
    params = place.made(run.discriminator.init, place.parameters, run.key('discriminator'))
    pretrained = run.config.discriminator.pretrained
    if pretrained == 'student':
        taken = jax.tree.map(jnp.copy, run.student.encoder.take(theta_0))
        return run.discriminator.with_encoder(params, taken)
    if pretrained:
        _, encoder = huggingface.load_encoder(pretrained)
        encoder = place.placed(encoder, place.parameters(encoder))
        return run.discriminator.with_encoder(params, encoder)
    return params


def fixed_generator(run: Run) -> Params | None:
    """What source 'fixed' samples (Table A3): a finished student, or theta_0; None for others."""
    negatives = run.method.negatives
    if negatives is None or negatives.lag:
        return None
    fixed = run.config.negatives.fixed
    if not fixed:
        return student_parameters(run)
    architecture, params = huggingface.load_student(fixed)
    expected, got = (
        jax.tree.map(jnp.shape, tree)
        for tree in (jax.eval_shape(run.student.init, jax.random.key(0)), params)
    )
    if expected != got or architecture.vocab_size != run.student.vocab_size:
        raise InputError(
            f'--config.negatives.fixed: {fixed} has another architecture than the student; '
            'name a student of the same size and vocabulary.'
        )
    return run.placement.placed(params, run.placement.parameters(params))
