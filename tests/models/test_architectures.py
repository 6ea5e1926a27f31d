"""Architectures by name, and the students and encoders that they are with a tokenizer."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
import transformers

from qcrd_jax.data.tokenizer import load_tokenizer, train_tokenizer
from qcrd_jax.errors import InputError
from qcrd_jax.models import T5Config, architectures, parameter_count
from qcrd_jax.models.families import BY_VERSION
from qcrd_jax.models.huggingface import load_student, save_student

TEXTS = ['How many pens are there? ( 8 + 3 )', 'Jack has 12 nuts.', 'explain: no']
DECODERS = tuple(version for version, family in BY_VERSION.items() if family.continues_prompt)


def shapes(architecture):
    init = architectures.student_of(architecture, jnp.float32).init
    return jax.eval_shape(init, jax.random.key(0))


def zeros(architecture):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(architecture))


@pytest.mark.parametrize(
    ('version', 'size', 'count'),
    [
        # transformers: sum(p.numel() for p in T5ForConditionalGeneration(config).parameters())
        ('v1.0', 'small', 60_506_624),
        ('v1.0', 'base', 222_903_552),
        ('v1.1', 'base', 247_577_856),
        ('v1.1', 'xl', 2_849_757_184),
        # As the Hub counts the tensors of Qwen/Qwen2.5-*, meta-llama/Llama-3.*,
        # HuggingFaceTB/SmolLM2-* and mistralai/Mistral-7B-v0.3, and of Qwen/Qwen3-* but for the
        # heads that are stored though they are tied.
        ('qwen2.5', '0.5b', 494_032_768),
        ('qwen2.5', '1.5b', 1_543_714_304),
        ('qwen2.5', '3b', 3_085_938_688),
        ('qwen2.5', '7b', 7_615_616_512),
        ('qwen3', '0.6b', 596_049_920),
        ('qwen3', '1.7b', 1_720_574_976),
        ('qwen3', '4b', 4_022_468_096),
        ('qwen3', '8b', 8_190_735_360),
        ('llama3', '1b', 1_235_814_400),
        ('llama3', '3b', 3_212_749_824),
        ('llama3', '8b', 8_030_261_248),
        ('smollm2', '135m', 134_515_008),
        ('smollm2', '360m', 361_821_120),
        ('smollm2', '1.7b', 1_711_376_384),
        ('mistral', '7b', 7_248_023_552),
    ],
)
def test_sizes_are_the_published_ones(version, size, count):
    assert parameter_count(shapes(architectures.named(size, version))) == count


def test_versions_and_sizes_that_there_are_not_are_named():
    with pytest.raises(ValueError, match=r"size: expected one of tiny, 0\.5b.*; got '14b'"):
        architectures.named('14b', 'qwen2.5')
    with pytest.raises(ValueError, match=r"version: expected one of v1\.0.*smollm2.*; got 'gemma'"):
        architectures.named('2b', 'gemma')
    with pytest.raises(ValueError, match='size'):
        T5Config.named('huge')


def test_random_students_are_called_by_version_and_size():
    names = [architectures.describe('tiny', version) for version in architectures.SIZES]
    assert names == [
        't5-v1.0-tiny',
        't5-v1.1-tiny',
        'qwen2.5-tiny',
        'qwen3-tiny',
        'llama3-tiny',
        'smollm2-tiny',
        'mistral-tiny',
    ]


@pytest.fixture
def qwen_tokenizer(tmp_path):
    """The folder of a small tokenizer of Qwen's kind, which pads with EOS as Qwen2.5's does."""
    tokenizer = transformers.Qwen2Tokenizer().train_new_from_iterator(TEXTS, 290)
    tokenizer.add_tokens(['<|fim_pad|>', '<|fim_middle|>'])
    tokenizer.save_pretrained(tmp_path / 'tokenizer')
    assert tokenizer.pad_token == tokenizer.eos_token == '<|endoftext|>'
    return tmp_path / 'tokenizer'


def test_padding_is_never_eos(qwen_tokenizer, tmp_path):
    tokenizer = load_tokenizer(str(qwen_tokenizer))
    assert tokenizer.pad_token == '<|fim_pad|>'
    assert tokenizer.eos_token == '<|endoftext|>'
    ids = [tokenizer.pad_token_id, *tokenizer('pens')['input_ids'], tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == 'pens'
    architecture = architectures.random_architecture('tiny', 'qwen2.5', tokenizer)
    student = architectures.student_for(
        architecture, tokenizer, dropout_rate=0.1, compute_dtype=jnp.float32
    )
    assert tokenizer.decode(student.start_id) == '\n'
    assert (student.pad_id, student.eos_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    # What a folder names is overruled by the tokenizer, whose ids the data has.
    named = dataclasses.replace(architecture, pad_id=5, eos_id=6, start_id=7)
    assert student == architectures.student_for(
        named, tokenizer, dropout_rate=0.1, compute_dtype=jnp.float32
    )

    save_student(tmp_path / 'out', student.config, zeros(student.config), tokenizer)
    for again in (
        transformers.AutoTokenizer.from_pretrained(tmp_path / 'out'),
        load_tokenizer(str(tmp_path / 'out')),
    ):
        assert (again.pad_token, again.eos_token) == ('<|fim_pad|>', '<|endoftext|>')
        assert [again(text)['input_ids'] for text in TEXTS] == [
            tokenizer(text)['input_ids'] for text in TEXTS
        ]
    assert load_student(tmp_path / 'out')[0] == student.config


def test_an_answer_starts_after_a_newline_of_its_own():
    # SentencePiece's kind, as of Llama 2 and Mistral: a space, then the byte of the newline.
    pieces = ['<unk>', '<s>', '</s>', '<0x0A>', '\u2581']
    tokenizer = transformers.LlamaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]
    )
    assert tokenizer('\n', add_special_tokens=False)['input_ids'] == [4, 3]
    assert architectures.answer_start(tokenizer) == 3


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(tmp_path):
    tokenizer = transformers.Qwen2Tokenizer().train_new_from_iterator(TEXTS, 290)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r'EOS is its pad token.*<\|fim_pad\|>'):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize('version', DECODERS)
def test_the_tokenizer_of_the_data_survives_the_export(tmp_path, version):
    # transformers 5 takes Qwen's own class for model type qwen2, and that one loses the spaces.
    tokenizer = train_tokenizer(TEXTS * 2, 200)
    architecture = architectures.random_architecture('tiny', version, tokenizer)
    # There is no newline in it: an answer starts after EOS.
    assert architecture.start_id == tokenizer.eos_token_id
    save_student(tmp_path / 'out', architecture, zeros(architecture), tokenizer)
    shutil.copytree(tmp_path / 'out', tmp_path / 'copy')
    for again in (
        transformers.AutoTokenizer.from_pretrained(tmp_path / 'copy'),
        load_tokenizer(str(tmp_path / 'copy')),
    ):
        for text in TEXTS:
            ids = again(text)['input_ids']
            assert ids == tokenizer(text)['input_ids']
            assert again.decode(ids, skip_special_tokens=True) == text


def test_random_architectures_have_the_ids_of_the_tokenizer():
    tokenizer = train_tokenizer(TEXTS * 2, 200)
    for version, sizes in architectures.SIZES.items():
        for size in sizes:
            architecture = architectures.random_architecture(size, version, tokenizer)
            assert architecture.vocab_size == len(tokenizer)
            assert (architecture.pad_id, architecture.eos_id) == (0, 1)
            assert architecture.start_id == (1 if version in DECODERS else 0)
            published = architectures.named(size, version)
            assert published.d_model == architecture.d_model


def test_a_t5_may_be_the_discriminator_of_a_qwen():
    # By its own ids padding would be another token; the tokenizer's hold.
    tokenizer = train_tokenizer(TEXTS * 2, 200)
    t5 = T5Config(pad_id=7, eos_id=8, start_id=9)
    encoder = architectures.encoder_for(t5, tokenizer, dropout_rate=0.0, compute_dtype='float32')
    assert (encoder.pad_id, encoder.eos_id) == (0, 1)


@pytest.mark.parametrize(('field', 'value'), [('pad_id', 7), ('eos_id', 8)])
def test_a_t5_whose_ids_are_not_its_tokenizers_is_refused(field, value):
    tokenizer = train_tokenizer(TEXTS * 2, 200)
    own = T5Config(start_id=9)
    student = architectures.student_for(own, tokenizer, dropout_rate=0.0, compute_dtype='float32')
    assert (student.pad_id, student.eos_id, student.start_id) == (0, 1, 9)
    other = dataclasses.replace(own, **{field: value})
    with pytest.raises(
        InputError, match=rf'{field[:3]}_token_id {value}.*the tokenizer has 0 .*1 '
    ):
        architectures.student_for(other, tokenizer, dropout_rate=0.0, compute_dtype='float32')


def test_ids_beyond_the_embedding_are_refused_and_gaps_are_rows_of_it():
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({'<pad>': 0, '</s>': 1, '<unk>': 2, 'a': 40}, '<unk>')
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token='<pad>', eos_token='</s>', unk_token='<unk>'
    )
    assert len(tokenizer) == 4
    for version in ('v1.0', 'qwen3'):
        assert architectures.random_architecture('tiny', version, tokenizer).vocab_size == 41
    for make, who in (
        (architectures.student_for, 'student'),
        (architectures.encoder_for, 'discriminator'),
    ):
        t5 = T5Config(vocab_size=40)  # rows for four tokens, but not for number 40
        with pytest.raises(InputError, match=rf'{who}\.pretrained: .*40 rows.* ids up to 40'):
            make(t5, tokenizer, dropout_rate=0.0, compute_dtype='float32')
