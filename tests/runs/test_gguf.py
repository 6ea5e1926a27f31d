"""A GGUF file in place of a folder, in a run: student, tokenizer, discriminator, generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import identity
from qcrd_jax.models.huggingface import load_student
from qcrd_jax.runs import assembly, initial
from tests.support import folders, gguf_writing
from tests.support.gguf_writing import config_of, write_model


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    config = config_of('llama', vocab_size=420, num_layers=1)
    path = tmp_path_factory.mktemp('model') / 'model.gguf'
    return write_model(path, config, ('Q8_0', 'Q4_1'), **gguf_writing.byte_level())


def run_of(workdir, file, **fields):
    config = base_config()
    config.data.name = 'mwp'
    config.data.mwp.train, config.data.mwp.validation, config.data.mwp.test = 20, 4, 4
    config.student.pretrained = str(file)
    for name, value in fields.items():
        group, field = name.split('__')
        config[group][field] = value
    return assembly.assemble(config.lock(), workdir)


def test_a_run_starts_from_the_file_with_its_tokenizer(file, tmp_path):
    run = run_of(tmp_path, file)
    ids = (run.corpus.tokenizer.pad_token_id, run.corpus.tokenizer.eos_token_id)
    assert (run.student.pad_id, run.student.eos_id) == ids == (0, 2)
    newline = run.corpus.tokenizer('\n')['input_ids']
    assert [run.student.start_id] == newline
    params = load_student(file)[1]
    theta_0 = initial.student_parameters(run)
    folders.assert_same(theta_0, params)
    begun = initial.discriminator_parameters(run, theta_0)  # 'student'
    folders.assert_same(begun['encoder'], run.student.encoder.take(params))


def test_the_discriminator_and_the_generator_may_be_files_too(file, tmp_path):
    fields = {'negatives__source': 'fixed', 'negatives__fixed': str(file)}
    run = run_of(tmp_path, file, discriminator__pretrained=str(file), **fields)
    params = load_student(file)[1]
    begun = initial.discriminator_parameters(run, params)
    folders.assert_same(begun['encoder'], run.student.encoder.take(params))
    folders.assert_same(initial.fixed_generator(run), params)


def test_a_tokenizer_of_another_file_has_to_fit(file, tmp_path):
    other = gguf_writing.byte_level('gpt-2', 390)
    metadata = {'llama.block_count': 1, **other}
    small = gguf_writing.write(tmp_path / 'tokenizer.gguf', 'llama', metadata, {})
    run = run_of(tmp_path / 'a', file, student__tokenizer=str(small))
    assert (
        run.corpus.tokenizer.get_vocab()
        != run_of(tmp_path / 'b', file).corpus.tokenizer.get_vocab()
    )
    pieces = [*other['tokenizer.ggml.tokens'], *(f'more{at}' for at in range(60))]
    kinds = [*other['tokenizer.ggml.token_type'], *[1] * 60]
    more = {'tokenizer.ggml.tokens': pieces, 'tokenizer.ggml.token_type': kinds}
    large = gguf_writing.write(tmp_path / 'large.gguf', 'llama', metadata | more, {})
    with pytest.raises(
        InputError, match=r'pieces, but the embedding of .*model\.gguf has 420 rows'
    ):
        run_of(tmp_path / 'c', file, student__tokenizer=str(large))


def test_what_is_in_the_file_names_a_run_and_not_where_it_is(file, tmp_path):
    def name(path):
        identity._checkpoint_digest.cache_clear()
        config = base_config()
        config.student.pretrained = str(path)
        return identity.of_run(config)

    copy = tmp_path / 'copy.gguf'
    copy.write_bytes(file.read_bytes())
    assert name(copy) == name(file)
    copy.write_bytes(file.read_bytes()[:-1] + b'\x01')
    assert name(copy) != name(file)


def test_loss_and_gradients_are_finite(file, tmp_path):
    run = run_of(tmp_path, file)
    theta_0 = initial.student_parameters(run)
    ids = jnp.array([run.corpus.tokenizer('predict: 2 + 3')['input_ids']], jnp.int32)

    def loss(params):
        context = run.student.encode(params, ids, ids > -1)
        return -jax.nn.log_softmax(run.student.decode(params, context, ids[:, None, :4])).mean()

    gradients = jax.jit(jax.grad(loss))(theta_0)
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in jax.tree.leaves(gradients))
