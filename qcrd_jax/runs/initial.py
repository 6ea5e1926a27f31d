"""What a run starts from, made anew whenever it is asked for: pretrained weights or random ones."""

import jax
import jax.numpy as jnp

from qcrd_jax.errors import InputError
from qcrd_jax.models import huggingface
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs.run import Run


def student_parameters(run: Run) -> Params:
    """theta_0, made anew, of what is trained: pretrained or random weights, or adapters."""
    pretrained, trained = run.config.student.pretrained, run.method.student
    if pretrained and run.frozen is None:
        return _placed(run, huggingface.load_student(pretrained)[1])
    place = run.placement
    return place.made(trained.init, place.parameters, run.key('student'))


def discriminator_parameters(run: Run, theta_0: Params) -> Params:
    """The discriminator before its pretraining, made anew.

    Args:
      run: that has a discriminator.
      theta_0: of what is trained; read where the discriminator begins as a part of it.
    """
    assert run.discriminator is not None
    place = run.placement
    params = place.made(run.discriminator.init, place.parameters, run.key('discriminator'))
    pretrained = run.config.discriminator.pretrained
    if pretrained == 'student':
        student = theta_0 if run.frozen is None else _placed(run, run.frozen.params)
        taken = jax.tree.map(jnp.copy, run.student.encoder.take(student))
        return run.discriminator.with_encoder(params, taken)
    if pretrained:
        _, encoder = huggingface.load_encoder(pretrained)
        return run.discriminator.with_encoder(params, _placed(run, encoder))
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
    return _placed(run, params)


def _placed(run: Run, params: Params) -> Params:
    return run.placement.placed(params, run.placement.parameters(params))
