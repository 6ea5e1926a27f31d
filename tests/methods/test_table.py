"""The table of methods: what an entry decides, and that one entry is all a new method takes."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

from qcrd_jax import files, losses, modes, validation
from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.methods import METHODS, Entry, Method, Parts, optimizers, programs
from qcrd_jax.methods.method import update_student
from qcrd_jax.methods.metrics import single
from qcrd_jax.methods.negatives import sample_negatives
from qcrd_jax.methods.objectives import decode, encode_both_tasks, labels_of
from qcrd_jax.methods.rationales import NegativeSampling, Rationales
from qcrd_jax.models.protocol import Student
from tests.support.runs import small_config
from tests.support.toy_student import use_toy_students
from tests.support.toys import DISCRIMINATOR, STUDENT


def build(config, rationale_length=6):
    adamw = optimizers.adamw(1e-3)
    discriminator = DISCRIMINATOR if METHODS[config.method].weighs(config) else None
    parts = Parts(STUDENT, adamw, discriminator, adamw, rationale_length)
    return METHODS[config.method].build(config, parts)


@pytest.mark.parametrize('name', METHODS)
def test_a_method_is_a_frozen_hashable_value(name):
    config = base_config()
    config.method = name
    method = build(config)
    assert isinstance(method, Method)
    assert hash(method) == hash(dataclasses.replace(method))
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.student = None


@pytest.mark.parametrize(
    ('overrides', 'lag'),
    [
        ({'lag': 5, 'interval': 1}, 5),
        ({'lag': 2, 'interval': 3}, 6),
        ({'source': 'fixed'}, 0),
        ({'source': 'none'}, 0),
        ({'source': 'self_consistency'}, 0),
    ],
)
def test_the_lag_in_steps_is_j_times_i(overrides, lag):
    config = base_config()
    config.negatives.update(overrides)
    assert programs.lag(build(config)) == lag
    config.method = 'dss'
    assert programs.lag(build(config)) == 0


def test_a_discriminator_is_for_those_that_weigh_by_it():
    config = base_config()
    assert build(config).discriminator is DISCRIMINATOR
    config.discriminator.weigh = False
    assert build(config).discriminator is None
    assert [name for name, entry in METHODS.items() if entry.discriminator] == ['qcrd', 'mi_qcrd']


def test_sampled_negatives_are_no_longer_than_the_rationales():
    config = base_config()
    for asked, expected in ((0, 6), (4, 4), (9, 6)):
        config.negatives.max_length = asked
        assert build(config).negatives.max_length == expected


# --- A method of one's own ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Unlikelihood:
    """The label, and log(1 - p) of the tokens that the student of two steps before made up."""

    student: Student
    optimizer: optax.GradientTransformation
    weight: float
    negatives: NegativeSampling

    def sample(self, generators, batches, keys) -> Rationales:
        return sample_negatives(self.student, generators, batches, keys, self.negatives)

    def update(self, state, batch, sampled, key):
        def loss_fn(params, inputs, rows):
            batch, sampled = inputs
            keys = jax.random.split(jax.random.fold_in(key, state.step), 3)
            predict, explain = encode_both_tasks(self.student, params, batch, keys[0])
            labels = labels_of(batch, self.student.pad_id)
            groups = [(predict, labels), (explain, sampled)]
            label, slips = decode(self.student, params, groups, keys[1:])
            prediction = losses.masked_mean(label.token_losses(), labels.token_mask)
            p = jnp.exp(-slips.token_losses())
            made_up = losses.masked_mean(-jnp.log1p(-jnp.minimum(p, 0.999)), sampled.token_mask)
            return prediction + self.weight * made_up, {'made_up': single(made_up)}

        return update_student(state, self.optimizer, loss_fn, (batch, sampled))


def test_one_entry_adds_a_method(tmp_path, monkeypatch, capsys):
    use_toy_students(monkeypatch)
    config = small_config()
    config.train.update(shapes=1, steps=4, log_every=2, evaluate_every=4)
    config.method = 'of_slips'
    with pytest.raises(InputError, match=r'--config.method: expected finetune \| .*of_slips'):
        validation.validate(config)

    def make(config, parts):
        negatives = NegativeSampling(max_length=parts.rationale_length, lag=2)
        return Unlikelihood(parts.student, parts.optimizer, config.loss.beta, negatives)

    entry = Entry('Unlikelihood of slips', make, lambda config: ('loss.beta',))
    monkeypatch.setitem(METHODS, 'of_slips', entry)
    modes.run('train', config, tmp_path)
    assert 'test accuracy' in capsys.readouterr().out
    summary = files.read_json(tmp_path / 'summary.json')
    assert summary['method'] == 'of_slips'
    assert summary['negative_sampling_share'] > 0
    assert summary['discriminator_auc'] is None
    logged = [record for _, record in files.read_jsonl(tmp_path / 'metrics.jsonl')]
    assert all(record['made_up'] > 0 for record in logged if record['phase'] == 'train')
    assert 'Unlikelihood of slips' in (tmp_path / 'report' / 'index.html').read_text()
