"""Tokenizers out of GGUF files: against transformers' own reading, and what is refused."""

import pathlib
import unicodedata

import numpy as np
import pytest
import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers

from qcrd_jax.data.tokenizer import load_tokenizer
from qcrd_jax.errors import InputError
from qcrd_jax.models import DecoderConfig
from qcrd_jax.models.huggingface import load_student, save_student
from tests.support import gguf_writing
from tests.support.gguf_writing import config_of, write_model

TEXTS = (
    *gguf_writing.TEXTS,
    '', ' ', '  ', '\n', '\n\n', '\r\n', '\t', ' two  spaces ', 'a\n\nb', 'x = y + 12', '1', '12',
    '1234567890', '3.14159', '2,000,000', '50%', '$6.50', '( 26.0 - 9.0 )', '1\n2\n3', '-7/8',
    'predict: How many cookies?', "don't I'll WE'VE", 'HTTPServer camelCase ALLCAPS', 'naïve café',
    'Ελληνικά русский עברית', '中文 日本語 한국어', '🙂🙃 👩‍👩‍👧', 'def f(x):\n    return x\n',
    '<', '</s', '<|im_start|>user\nHi there<|im_end|>\n', '<|endoftext|>', '<think>well</think>',
    '<|im_end', '\x00\x7f', 'ﬁ ＡＢＣ ²', 'a\u00a0b', '...!?;:"\'', 'word' * 30,
)  # fmt: skip
# Pieces of digits alone follow spaces here: transformers does not cut those of SmolLM2 apart.
DIGITS_AFTER_SPACES = ('a\n\n1', 'a  1', '  12 and\n\n 3', 'x ½ ²', 'n ٣')


def tokenizer_file(folder: pathlib.Path, **fields) -> pathlib.Path:
    """Writes a file with a tokenizer and no tensors."""
    pre = fields.get('pre') if fields.get('pre') in ('gpt-2', 'llama-bpe', 'qwen2') else 'smollm'
    metadata = fields.pop('metadata', None) or gguf_writing.byte_level(pre)
    named = {f'tokenizer.ggml.{key}': value for key, value in fields.items()}
    metadata = {key: x for key, x in {**metadata, **named}.items() if x is not None}
    path = folder / 'tokenizer.gguf'
    return gguf_writing.write(path, 'llama', {'llama.block_count': 1, **metadata}, {})


def ids_of(tokenizer, texts=TEXTS):
    return [tokenizer(text)['input_ids'] for text in texts]


def theirs_of(path: pathlib.Path):
    pytest.importorskip('torch')
    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


@pytest.mark.parametrize('pre', ['smollm', 'gpt-2', 'llama-bpe', 'qwen2', 'tekken'])
def test_ids_of_bytes_are_those_that_transformers_reads(pre, tmp_path):
    path = tokenizer_file(tmp_path, pre=pre)
    ours, theirs = load_tokenizer(str(path)), theirs_of(path)
    assert ours.get_vocab() == theirs.get_vocab()
    for text, got, expected in zip(TEXTS, ids_of(ours), ids_of(theirs), strict=True):
        assert got == expected, text
        if pre != 'qwen2' or unicodedata.is_normalized('NFC', text):
            assert ours.decode(got) == text


def test_ids_of_sentencepiece_are_those_that_transformers_reads(tmp_path):
    path = tokenizer_file(tmp_path, metadata=gguf_writing.sentencepiece())
    ours, theirs = load_tokenizer(str(path)), theirs_of(path)
    for text, got, expected in zip(TEXTS, ids_of(ours), ids_of(theirs), strict=True):
        assert got == expected, text
        assert got[0] == 1  # BOS, which such a file need not ask for
    assert ours.decode(ours('17 sweet cookies')['input_ids'][1:]) == '17 sweet cookies'
    without = tokenizer_file(tmp_path, metadata=gguf_writing.sentencepiece(), add_bos_token=False)
    assert ids_of(load_tokenizer(str(without))) == [ids[1:] for ids in ids_of(ours)]


def test_digits_of_smollm2_are_cut_first_as_in_its_own_tokenizer(tmp_path):
    # As its published tokenizer.json says it: digits by themselves, then GPT-2's pattern.
    metadata = gguf_writing.byte_level()
    pieces = metadata['tokenizer.ggml.tokens']
    merges = [tuple(merge.split(' ')) for merge in metadata['tokenizer.ggml.merges']]
    published = tokenizers.Tokenizer(models.BPE({x: at for at, x in enumerate(pieces)}, merges))
    published.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    published.decoder = decoders.ByteLevel()
    ours = load_tokenizer(str(tokenizer_file(tmp_path)))
    plain = [text for text in TEXTS if '<' not in text] + [*DIGITS_AFTER_SPACES]
    for text in plain:
        assert ours(text)['input_ids'] == published.encode(text).ids, text
    other = load_tokenizer(str(tokenizer_file(tmp_path, metadata=metadata, pre='gpt-2')))
    for text in DIGITS_AFTER_SPACES[:3]:  # else the above would say nothing of how they are cut
        assert ours(text)['input_ids'] != other(text)['input_ids'], text


def test_qwen2_composes_characters_first(tmp_path):
    ours = load_tokenizer(str(tokenizer_file(tmp_path, pre='qwen2')))
    assert ours('e\u0301')['input_ids'] == ours('é')['input_ids']


def special_ids_of(tmp_path, **fields):
    tokenizer = load_tokenizer(str(tokenizer_file(tmp_path, **fields)))
    return tokenizer.pad_token_id, tokenizer.eos_token_id


def test_padding_is_never_eos(tmp_path):
    assert special_ids_of(tmp_path) == (0, 2)  # <|endoftext|> where the file pads with EOS
    assert special_ids_of(tmp_path, padding_token_id=None) == (0, 2)
    assert special_ids_of(tmp_path, padding_token_id=1) == (1, 2)  # the file's own
    metadata = gguf_writing.byte_level()
    pieces = metadata['tokenizer.ggml.tokens']
    with pytest.raises(InputError, match='EOS is its pad token'):
        special_ids_of(tmp_path, eos_token_id=0, padding_token_id=0)
    pieces[1] = '<|fim_pad|>'
    assert special_ids_of(tmp_path, tokens=pieces, eos_token_id=0, padding_token_id=0) == (1, 0)
    with pytest.raises(InputError, match='has no eos token'):
        special_ids_of(tmp_path, eos_token_id=None)


def test_bos_and_eos_stand_where_the_file_says(tmp_path):
    plain = ids_of(load_tokenizer(str(tokenizer_file(tmp_path))))

    def around(before, after, **fields):
        ids = ids_of(load_tokenizer(str(tokenizer_file(tmp_path, **fields))), TEXTS[:3])
        return ids == [[*before, *text, *after] for text in plain[:3]]

    assert around([1], [], add_bos_token=True)
    assert around([1], [2], add_bos_token=True, add_eos_token=True)
    assert around([], [2], add_eos_token=True)
    assert around([0], [0], bos_token_id=0, eos_token_id=0, padding_token_id=1, add_bos_token=True,
                  add_eos_token=True)  # fmt: skip
    llama3 = load_tokenizer(str(tokenizer_file(tmp_path, pre='llama-bpe', add_bos_token=None)))
    assert llama3('a')['input_ids'][0] == 1  # as Llama 3's own adds it, which old files do not say


def test_special_tokens_of_other_letters_stay_whole(tmp_path):
    # DeepSeek's are spelled with characters that no byte stands for.
    pieces = gguf_writing.byte_level()['tokenizer.ggml.tokens']
    pieces[1] = '<｜begin▁of▁sentence｜>'
    tokenizer = load_tokenizer(str(tokenizer_file(tmp_path, tokens=pieces)))
    assert tokenizer('<｜begin▁of▁sentence｜>')['input_ids'] == [1]
    assert len(tokenizer) == len(pieces)


def test_an_exported_student_has_the_same_tokenizer(tmp_path):
    metadata = gguf_writing.byte_level()
    template = '{% for m in messages %}{{ m.content }}{% endfor %}'
    config: DecoderConfig = config_of('llama', vocab_size=400, num_layers=1)
    path = write_model(
        tmp_path / 'a.gguf', config, **metadata, **{'tokenizer.chat_template': template}
    )
    tokenizer = load_tokenizer(str(path))
    read, params = load_student(path)
    save_student(tmp_path / 'hf', read, params, tokenizer)
    for again in (
        transformers.AutoTokenizer.from_pretrained(tmp_path / 'hf'),
        load_tokenizer(str(tmp_path / 'hf')),
    ):
        assert ids_of(again, TEXTS + DIGITS_AFTER_SPACES) == ids_of(
            tokenizer, TEXTS + DIGITS_AFTER_SPACES
        )
        assert (again.pad_token_id, again.eos_token_id) == (0, 2)
        assert again.chat_template == template


def many(count):
    return [f't{at}' for at in range(count)]


REFUSED = {
    'another kind': ({'model': 'bert'}, r"ggml\.model: expected gpt2 or llama, got 'bert'"),
    'no kind': ({'model': None}, r"ggml\.model: expected gpt2 or llama, got ''"),
    'an unknown cut': ({'pre': 'nobody-bpe'}, r"ggml\.pre: expected one of gpt-2, .*'nobody-bpe'"),
    'no pieces': ({'tokens': None}, r'ggml\.tokens: expected the pieces of a vocabulary, got 0'),
    'numbers for pieces': ({'tokens': [1, 2]}, r'ggml\.tokens: expected an array of strings'),
    'a piece twice': ({'tokens': [*many(9), 't3']}, r'an id of its own .* got t3 twice'),
    'too few kinds': (
        {'token_type': [1, 1]},
        r'token_type: expected \d+ values, as there are tokens, got 2',
    ),
    'no merges': ({'merges': None}, r'ggml\.merges: expected the merges'),
    'a merge of three': ({'merges': ['a b c']}, r"ggml\.merges: .* got 'a b c'"),
    'a merge of no piece': ({'merges': ['qqq zzz']}, r'cannot be read \('),
    'an id beyond': ({'eos_token_id': 400}, r'eos_token_id: expected an id from 0 to \d+, got 400'),
    'a string for an id': ({'bos_token_id': 'x'}, r'bos_token_id: expected a whole number'),
    'a number for a flag': ({'add_bos_token': 1}, r'add_bos_token: expected true or false, got 1'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_not_read_is_refused_by_name(case, tmp_path):
    fields, expected = REFUSED[case]
    path = tokenizer_file(tmp_path, **fields)
    with pytest.raises(InputError, match=expected) as raised:
        load_tokenizer(str(path))
    assert str(path) in str(raised.value) and '\n' not in str(raised.value)


def test_a_file_that_does_not_say_how_texts_are_cut_is_read_as_gpt2s_with_a_warning(tmp_path, log):
    metadata = gguf_writing.byte_level('gpt-2') | {'tokenizer.ggml.pre': None}
    ours = load_tokenizer(str(tokenizer_file(tmp_path, metadata=metadata)))
    assert 'does not say how texts are cut' in log.text
    gpt2 = load_tokenizer(str(tokenizer_file(tmp_path, pre='gpt-2')))
    assert ids_of(ours) == ids_of(gpt2)


def test_scores_and_not_ids_order_the_merges(tmp_path):
    # By hand: of `abc`, `bc` (score -1) is merged before `ab` (score -2).
    pieces = ['<unk>', '<s>', '</s>', '<pad>', '▁', 'a', 'b', 'c', 'ab', 'bc']
    metadata = gguf_writing.sentencepiece() | {
        'tokenizer.ggml.tokens': pieces,
        'tokenizer.ggml.token_type': [2, 3, 3, 3] + [1] * 6,
        'tokenizer.ggml.scores': [0.0] * 4 + [-9.0] * 4 + [-2.0, -1.0],
    }
    tokenizer = load_tokenizer(str(tokenizer_file(tmp_path, metadata=metadata)))
    assert tokenizer('abc')['input_ids'] == [1, 4, 5, 9]
    assert tokenizer('ab?')['input_ids'] == [1, 4, 8, 0]  # no bytes to fall back to
    assert np.array_equal(tokenizer.convert_tokens_to_ids(['bc', '</s>']), [9, 2])
