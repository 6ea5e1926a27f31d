"""What training takes is foreseen from its compiled program; what does not fit says so."""

import dataclasses
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from qcrd_jax.data.lengths import Lengths
from qcrd_jax.errors import InputError, OutOfMemory
from qcrd_jax.methods import compiled, programs
from qcrd_jax.methods.dss import Dss, Finetune
from qcrd_jax.methods.objectives import Contrast
from qcrd_jax.methods.optimizers import adamw
from qcrd_jax.methods.qcrd import Qcrd
from qcrd_jax.methods.rationales import NegativeSampling
from qcrd_jax.methods.state import DiscriminatorState
from qcrd_jax.models import T5Encoder, T5Student
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import parameter_bytes
from qcrd_jax.runs import exhaustion, loop, memory
from qcrd_jax.runs.assembly import assemble
from tests.support import small
from tests.support.runs import small_config
from tests.support.toy_student import use_toy_students

FULL = jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 2147483648 bytes.')
ADAMW = adamw(1e-3)
SAMPLING = NegativeSampling(count=2, max_length=8, lag=2, together=False)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A run whose data has been read; its method is for a test to choose."""
    folder = tmp_path_factory.mktemp('memory')
    config = small_config()
    config.update(method='dss')
    config.discriminator.pretrain_steps = 0
    return assemble(config, folder)


def with_method(run, name, *, update_every=2, **fields):
    """The run with a method of a student that is smaller than any that has a name."""
    config = small.t5(**{'encoder_layers': 1, 'decoder_layers': 1, **fields})
    student, discriminator = T5Student(config), None
    if name == 'qcrd':
        discriminator = Discriminator(T5Encoder(config))
        contrast = Contrast(update_every=update_every)
        method = Qcrd(student, ADAMW, contrast, SAMPLING, discriminator, ADAMW)
    else:
        method = {'finetune': Finetune, 'dss': Dss}[name](student, ADAMW)
    return dataclasses.replace(
        run, method=method, discriminator=discriminator, discriminator_optimizer=ADAMW
    )


def from_arrays(run, count):
    """What `count` seeds keep, as arrays, and the analysis of the step that is lowered for them."""
    discriminator = None
    if run.discriminator is not None:
        params = run.discriminator.init(jax.random.key(1))
        discriminator = DiscriminatorState.create(params, ADAMW)
    one = run.beginning(run.student.init(jax.random.key(0)), discriminator)
    kept = programs.stack([one] * count)
    batch = programs.StackedBatches([run.training_batches()] * count)[0]
    keys = jax.random.split(jax.random.key(0), count)
    step = compiled.programs_of(programs.over_seeds(run.method)).step
    return kept, batch, step.lower(kept, batch, keys).compile().memory_analysis()


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('finetune', {}),
        ('dss', {'vocab_size': 3000, 'd_model': 96, 'd_ff': 200}),
        ('qcrd', {'vocab_size': 600}),
    ],
)
def test_the_estimate_is_what_the_program_of_several_seeds_takes(run, name, fields):
    """But for the alignment of small buffers."""
    run, count = with_method(run, name, **fields), 3
    need = memory.needed(run, count)
    kept, batch, found = from_arrays(run, count)
    assert need.kept == sum(leaf.nbytes for leaf in jax.tree.leaves(kept))
    total = found.argument_size_in_bytes + found.temp_size_in_bytes
    total += found.output_size_in_bytes - found.alias_size_in_bytes
    assert need.total == pytest.approx(max(total, 2 * need.kept), rel=0.01)
    # Each seed has logits of its labels, and a gradient of them.
    tokens = batch['label_ids'].size + batch['positive_ids'].size // batch['positive_ids'].shape[2]
    tokens = tokens if name != 'finetune' else batch['label_ids'].size
    assert need.working > 4 * tokens * run.student.vocab_size


def test_the_discriminators_update_counts_though_it_is_seldom_due(run):
    """Its gradient and the activations that it goes back through are not there without it."""
    with_update, without = (
        memory.needed(with_method(run, 'qcrd', update_every=every, vocab_size=600), 2).working
        for every in (100, 0)
    )
    discriminator = with_method(run, 'qcrd', vocab_size=600).discriminator
    parameters = parameter_bytes(jax.eval_shape(discriminator.init, jax.random.key(0)))
    assert with_update > without + 2 * parameters


def test_a_pretraining_that_reads_more_at_once_counts_too(run):
    """Of 64 questions: its activations are more than those of two steps of four questions."""
    run = with_method(run, 'qcrd', update_every=0)
    needs = []
    for steps in (0, 4):
        config = run.config.copy_and_resolve_references()
        config.discriminator.update(pretrain_steps=steps, batch_size=64, update_every=0)
        changed = dataclasses.replace(run, config=config, pretraining_optimizer=ADAMW)
        needs.append(memory.needed(changed, 2))
    assert needs[0].kept == needs[1].kept
    assert needs[1].working > needs[0].working


class TestSeedsThatFit:
    """Of a device whose free memory a test chooses; what P seeds take is 10 + 100 P + 30 P."""

    @pytest.fixture
    def device(self, run, monkeypatch):
        compiled = []

        def needed(run, count):
            compiled.append(count)
            return memory.Need(100 * count, 10 + 30 * count)

        monkeypatch.setattr(memory, 'needed', needed)
        monkeypatch.setattr(memory, '_progress', lambda run, count: np.zeros(100 * count, np.int8))

        def fit(free, limit):
            compiled.clear()
            monkeypatch.setattr(memory, 'free', lambda: int(free / memory._SHARE) + 1)
            return memory.seeds_that_fit(run, limit), list(compiled)

        return fit

    def test_all_that_are_asked_for_where_they_fit(self, device):
        assert device(530.01, 4) == (4, [4])
        assert device(1e9, 5) == (5, [5])

    @pytest.mark.parametrize('free', range(100, 1500, 37))
    def test_as_many_as_memory_holds_and_no_more(self, device, free):
        count, compiled = device(free, 8)
        assert count == max(1, min(8, int((free - 10) // 130)))
        assert len(compiled) <= 4  # the last of them is what will run

    def test_one_is_not_looked_at(self, device):
        assert device(1e9, 1) == (1, [])
        assert device(1, 9) == (1, [])

    def test_a_program_that_cannot_even_be_compiled(self, device, monkeypatch):
        needed = memory.needed

        def compiled(run, count):
            if count > 3:
                raise FULL
            return needed(run, count)

        monkeypatch.setattr(memory, 'needed', compiled)
        assert device(1e9, 8) == (2, [2])

    def test_a_backend_without_an_analysis(self, device, monkeypatch):
        monkeypatch.setattr(memory, 'needed', lambda run, count: None)
        assert device(1000, 8) == (3, [])


def test_what_is_free_is_what_the_narrowest_limit_leaves(monkeypatch):
    free = memory.host_free()
    total = memory._numbers(memory.pathlib.Path('/proc/meminfo')).get('MemTotal', 2**40)
    assert 0 < free <= 1024 * total + 2**40
    monkeypatch.setattr(memory, '_free_of_container', lambda: 1234)
    assert memory.host_free() == 1234
    device = SimpleNamespace(memory_stats=lambda: {'bytes_limit': 1000, 'bytes_in_use': 300})
    monkeypatch.setattr(jax, 'local_devices', lambda: [device])
    assert memory.free() == 700


def test_of_programs_that_run_in_turns_the_greedier_counts():
    def program(between, shared=0):
        found = SimpleNamespace(
            temp_size_in_bytes=between,
            output_size_in_bytes=7,
            alias_size_in_bytes=shared,
            generated_code_size_in_bytes=1,
        )
        return SimpleNamespace(memory_analysis=lambda: found)

    blind = SimpleNamespace(memory_analysis=lambda: None)
    assert memory._most([program(100), program(300, shared=5), program(200)]) == 303
    assert memory._most([blind, program(100)]) == 108
    assert memory._most([blind]) is None


class TestExplained:
    """One line names what to lower, with the values that it has now."""

    def explain(self, phase, error=FULL, lengths=None, **fields):
        config = small_config()
        config.update_from_flattened_dict(fields)
        with pytest.raises(OutOfMemory) as caught, exhaustion.explained(config, phase, lengths):
            raise error
        line = str(caught.value)
        assert '\n' not in line
        return line

    def test_training(self):
        line = self.explain('training', lengths=Lengths(40, 8, 24, 3, 2))
        assert line.startswith('training: memory ran out (2.0 GiB asked for at once); lower ')
        assert '--config.train.batch_size (4)' in line
        assert '--config.data.max_rationale_length (256; the data takes 24)' in line
        assert '--config.data.samples (3)' in line
        assert '--config.negatives.interval (2)' in line
        assert 'negatives.lag' not in line  # which is 1, and cannot be lower
        assert 'evaluation' not in line

    def test_only_fields_that_the_method_reads(self):
        line = self.explain('training', MemoryError(), method='finetune')
        assert line.startswith('training: memory ran out; lower --config.train.batch_size (4), ')
        assert not re.search('negatives|samples|rationale', line)

    def test_what_spares_memory_at_the_price_of_time(self):
        ways = 'set --config.train.accumulate=2; or set --config.train.remat=layers; or '
        assert ways + 'set --config.negatives.ring_dtype=bfloat16; or take' in self.explain(
            'training'
        )
        line = self.explain('training', **{'train.accumulate': 2, 'train.remat': 'layers'})
        assert '--config.train.accumulate=4' in line and 'remat' not in line
        line = self.explain(
            'training', **{'train.accumulate': 4, 'student.compute_dtype': 'bfloat16'}
        )
        assert not re.search('accumulate|ring_dtype', line)
        assert 'ring_dtype' not in self.explain('training', method='dss')
        line = self.explain('pretraining')
        assert '--config.train.remat=layers' in line
        assert not re.search('accumulate|ring_dtype', line)
        assert 'remat' not in self.explain('evaluation')

    def test_phases(self):
        assert '--config.discriminator.batch_size (4)' in self.explain('pretraining')
        line = self.explain('evaluation', **{'evaluation.max_length': 77})
        assert '--config.evaluation.max_length (77)' in line
        assert '--config.data.fraction (1.0)' in self.explain('loading')

    def test_other_errors_and_what_explains_itself_pass(self):
        config = small_config()
        for error in (InputError('mend it'), ValueError('x'), RuntimeError('INTERNAL: x')):
            with pytest.raises(type(error)) as caught, exhaustion.explained(config, 'training'):
                raise error
            assert caught.value is error


class TestCheck:
    """Before the first step: what memory cannot hold is refused in one line."""

    def train(self, tmp_path, monkeypatch, free):
        use_toy_students(monkeypatch)
        monkeypatch.setattr(memory, 'free', lambda: free)
        config = small_config()
        config.update(method='dss')
        config.train.update(steps=1)
        return loop.train([assemble(config, tmp_path)])

    def test_steps_that_do_not_fit(self, tmp_path, monkeypatch):
        with pytest.raises(
            OutOfMemory, match=r'^training: memory ran out before the first step, w'
        ):
            self.train(tmp_path, monkeypatch, 1000)

    def test_steps_that_do(self, tmp_path, monkeypatch):
        (position,) = self.train(tmp_path, monkeypatch, 2**30)
        assert position.step == 1
