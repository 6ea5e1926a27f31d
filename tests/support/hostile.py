"""Folders of checkpoints that somebody made to be read badly, and what reading them costs.

    python -m tests.support.hostile models|tokenizers <a good folder> <a folder for scratch>

prints the seconds of the slowest case, and the memory of the one that took most of it.
"""

import json
import math
import os
import pathlib
import shutil
import struct
import sys
import time
from collections.abc import Callable

HUGE = 10**12
NESTED = '[' * 100_000
Case = tuple[str, str, Callable[[pathlib.Path], None]]
"""How it is called, the file that the error has to name, and what is done to a good folder."""


def fields(name: str, **changed) -> Callable[[pathlib.Path], None]:
    """Changes fields of a JSON file."""

    def change(folder):
        path = folder / name
        raw = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**raw, **changed}))

    return change


def text(name: str, content: str | bytes) -> Callable[[pathlib.Path], None]:
    """Replaces a file."""

    def change(folder):
        data = content.encode() if isinstance(content, str) else content
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(data)

    return change


def pipe(name: str) -> Callable[[pathlib.Path], None]:
    """Makes a file a pipe that nobody writes to."""

    def change(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def directory(name: str) -> Callable[[pathlib.Path], None]:
    """Makes a file a folder."""

    def change(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return change


def link(name: str, target: str) -> Callable[[pathlib.Path], None]:
    """Makes a file a link."""

    def change(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def sparse(name: str, size: int) -> Callable[[pathlib.Path], None]:
    """Lets a file be so large, and take no room on the disk."""

    def change(folder):
        with open(folder / name, 'ab') as file:
            file.truncate(size)

    return change


def files_of(case: str, name: str) -> list[Case]:
    """Returns the ways in which a JSON file is no JSON file of ours."""
    return [
        (f'{case}: a pipe', name, pipe(name)),
        (f'{case}: a folder', name, directory(name)),
        (f'{case}: a link to a device', name, link(name, '/dev/zero')),
        (f'{case}: a link to itself', name, link(name, name)),
        (f'{case}: empty', name, text(name, '')),
        (f'{case}: not UTF-8', name, text(name, b'{"a": "\xff\xfe"}')),
        (f'{case}: UTF-16', name, text(name, '{"a": 1}'.encode('utf-16'))),
        (f'{case}: nested', name, text(name, f'{{"a": {NESTED}')),
        (f'{case}: nested and whole', name, text(name, f'{{"a": {"[" * 200}{"]" * 200}}}')),
        (f'{case}: a list', name, text(name, '[]')),
        (f'{case}: null', name, text(name, 'null')),
        (f'{case}: a number of 10000 digits', name, text(name, f'{{"a": {"9" * 10_000}}}')),
        (f'{case}: half a character', name, text(name, '{"a": "\\ud800"}')),
        (f'{case}: a name twice', name, text(name, '{"a": 1, "a": 2}')),
        (f'{case}: sparse', name, sparse(name, 100 << 30)),
        (f'{case}: 60 MB of lists', name, text(name, f'{{"a": [{"[]," * 20_000_000}1]}}')),
    ]


# --- Models ---------------------------------------------------------------------------------------

# By family: what its config.json calls layers, width, heads and so on.
SIZES = {
    't5': 'vocab_size d_model d_kv d_ff num_heads num_layers num_decoder_layers '
    'relative_attention_num_buckets relative_attention_max_distance',
    'decoder': 'vocab_size hidden_size head_dim intermediate_size num_attention_heads '
    'num_key_value_heads num_hidden_layers max_position_embeddings',
}
NUMBERS = {
    't5': 'layer_norm_epsilon dropout_rate',
    'decoder': 'rms_norm_eps attention_dropout rope_theta',
}
IDS = {
    't5': 'pad_token_id eos_token_id decoder_start_token_id',
    'decoder': 'pad_token_id eos_token_id answer_start_token_id',
}
COUNTED = ('relative_attention_max_distance', 'max_position_embeddings')  # may be that large


def configs(family: str) -> list[tuple[str, object]]:
    """Returns (field, value) of what no config.json of a family may say."""
    kind = 't5' if family == 't5' else 'decoder'
    sizes = (10**9, HUGE, 2**63, 2**64, 10**400, -1, -HUGE, 0, 1.0, 1e308, True, '7', [7])
    numbers = (math.nan, math.inf, -math.inf, -1.0, 1e308, 10**400, True, '1', {})
    ids = (31, 2**31, 2**32, HUGE, -2, -HUGE, 1.0, True, '1')
    return [
        *(
            (name, value)
            for name in SIZES[kind].split()
            for value in sizes
            if not (value == 10**9 and name in COUNTED)
        ),
        *((name, value) for name in NUMBERS[kind].split() for value in numbers),
        *((name, value) for name in IDS[kind].split() for value in ids),
        *(('eos_token_id', [1, value]) for value in ids if kind == 'decoder'),
    ]


def header(change: Callable[[dict], object]) -> Callable[[pathlib.Path], None]:
    """Changes the header of the safetensors file; `change` may return its text."""

    def apply(folder):
        path = folder / 'model.safetensors'
        data = path.read_bytes()
        (length,) = struct.unpack('<Q', data[:8])
        raw = json.loads(data[8 : 8 + length])
        raw.pop('__metadata__', None)
        changed = change(raw)
        new = changed if isinstance(changed, bytes) else json.dumps(raw).encode()
        path.write_bytes(struct.pack('<Q', len(new)) + new + data[8 + length :])

    return apply


def entry(**changed) -> Callable[[pathlib.Path], None]:
    """Changes the first tensor of the header."""
    return header(lambda raw: raw[min(raw)].update(changed))


def twice(raw: dict) -> bytes:
    """Returns a header that holds its first tensor twice."""
    name = min(raw)
    return json.dumps(raw).encode()[:-1] + f', "{name}": {json.dumps(raw[name])}}}'.encode()


def index(weight_map: object) -> Callable[[pathlib.Path], None]:
    """Puts an index in the place of the only file."""

    def change(folder):
        (folder / 'model.safetensors').unlink()
        content = {'weight_map': weight_map}
        (folder / 'model.safetensors.index.json').write_text(json.dumps(content))

    return change


def overlapping(raw: dict) -> None:
    """Lets the second tensor begin where the first does."""
    first, second, *_ = sorted(raw, key=lambda name: raw[name]['data_offsets'])
    length = raw[second]['data_offsets'][1] - raw[second]['data_offsets'][0]
    begin = raw[first]['data_offsets'][0]
    raw[second]['data_offsets'] = [begin, begin + length]


_WEIGHTS, _INDEX = 'model.safetensors', 'model.safetensors.index.json'
MODELS: list[Case] = [
    *files_of('config', 'config.json'),
    ('weights: a pipe', _WEIGHTS, pipe(_WEIGHTS)),
    ('weights: a folder', _WEIGHTS, directory(_WEIGHTS)),
    ('weights: a device', _WEIGHTS, link(_WEIGHTS, '/dev/zero')),
    ('weights: a link to nothing', _WEIGHTS, link(_WEIGHTS, 'nothing')),
    ('weights: empty', _WEIGHTS, text(_WEIGHTS, '')),
    ('weights: sparse', _WEIGHTS, sparse(_WEIGHTS, 40 << 30)),
    ('header: 2**63 bytes', _WEIGHTS, text(_WEIGHTS, struct.pack('<Q', 2**63) + b'{}')),
    (
        'header: 90 MB of junk',
        _WEIGHTS,
        text(_WEIGHTS, struct.pack('<Q', 90 << 20) + b'[' * (90 << 20)),
    ),
    ('header: 6 MB of lists', _WEIGHTS, header(lambda raw: b'{"a":[' + b'[],' * (2 << 20))),
    ('header: nested', _WEIGHTS, header(lambda raw: f'{{"a": {NESTED}'.encode())),
    ('header: not UTF-8', _WEIGHTS, header(lambda raw: b'{"\xff": 1}')),
    ('header: a tensor twice', _WEIGHTS, header(twice)),
    ('header: overlapping', _WEIGHTS, header(overlapping)),
    ('header: a name of lines', _WEIGHTS, header(lambda raw: raw.update({'a\nb\x1b[2J': 1}))),
    ('header: a long name', _WEIGHTS, header(lambda raw: raw.update({'a' * 10**6: 1}))),
    *(
        (f'header: shape {str(shape)[:20]}', _WEIGHTS, entry(shape=shape))
        for shape in (
            *([-1], [-1, -1], [2**63], [2**32, 2**32], [0, 2**62], [10**400], [1.0], [True], ['1']),
            *([2**31] * 9, [1] * 10_000, [[1]], None, 5, {}),
        )
    ),
    *(
        (f'header: offsets {str(offsets)[:20]}', _WEIGHTS, entry(data_offsets=offsets))
        for offsets in (
            *([0, 2**63], [-8, 0], [8, 0], [0, 10**400], [0.0, 8.0], [False, True]),
            *([0], [], None, 'x'),
        )
    ),
    *(
        (f'header: dtype {dtype}', _WEIGHTS, entry(dtype=dtype))
        for dtype in (5, None, ['F32'], 'f32', 'F4\n', 'I64')
    ),
    ('index: empty', _INDEX, index({})),
    ('index: numbers', _INDEX, index({'a': 1})),
    ('index: a folder above', _INDEX, index({'a': '../model.safetensors'})),
    ('index: an absolute path', _INDEX, index({'a': '/etc/passwd'})),
    ('index: a zero byte', 'model\\x00.safetensors', index({'a': 'model\0.safetensors'})),
    ('index: half a character', _INDEX, index({'a': 'model\ud800'})),
    ('index: itself', _INDEX, index({'a': _INDEX})),
    ('index: the folder', 'expected a file', index({'a': '..'})),
    ('index: 100000 files', _INDEX, index({f'a{i}': f'{i}.safetensors' for i in range(100_000)})),
    ('index: 10**6 files', _INDEX, index({f'a{i}': f'{i}' for i in range(1_000_000)})),
]

# --- Tokenizers -----------------------------------------------------------------------------------


def tokenizer(change: Callable[[dict], object]) -> Callable[[pathlib.Path], None]:
    """Changes the tokenizer.json."""

    def apply(folder):
        path = folder / 'tokenizer.json'
        raw = json.loads(path.read_text())
        change(raw)
        path.write_text(json.dumps(raw))

    return apply


def model(**changed) -> Callable[[pathlib.Path], None]:
    """Changes fields of the model of the tokenizer.json."""
    return tokenizer(lambda raw: raw['model'].update(changed))


def last_id(value: object) -> Callable[[pathlib.Path], None]:
    """Gives the last token of the vocabulary another id."""

    def change(raw):
        vocab = raw['model']['vocab']
        vocab[[*vocab][-1]] = value

    return tokenizer(change)


def added(**changed) -> Callable[[pathlib.Path], None]:
    """Changes the last of the added tokens."""
    return tokenizer(lambda raw: raw['added_tokens'][-1].update(changed))


def part(**changed) -> Callable[[pathlib.Path], None]:
    """Replaces parts of the tokenizer.json."""
    return tokenizer(lambda raw: raw.update(changed))


def code(folder: pathlib.Path) -> None:
    """Names code of the folder's own, without which there is no such class."""
    (folder / 'strange.py').write_text(f'open({str(folder / "ran")!r}, "w")\nclass Strange: pass\n')
    auto_map = {
        'AutoTokenizer': ['strange.Strange', 'strange.Strange'],
        'AutoConfig': 'strange.Strange',
    }
    fields('tokenizer_config.json', tokenizer_class='Strange', auto_map=auto_map)(folder)
    fields('config.json', model_type='strange', auto_map=auto_map)(folder)


def _padding(length: int) -> dict:
    return {
        'strategy': {'Fixed': length}, 'direction': 'Right', 'pad_to_multiple_of': None,
        'pad_id': 0, 'pad_type_id': 0, 'pad_token': '<pad>',
    }  # fmt: skip


_BOMB = [{'type': 'Replace', 'pattern': {'String': 'a'}, 'content': 'a' * 1000}] * 4
_SETTINGS, _TOKENIZER = 'tokenizer_config.json', 'tokenizer.json'
TOKENIZERS: list[Case] = [
    *files_of('settings', _SETTINGS),
    *files_of('tokenizer', _TOKENIZER),
    *files_of('special tokens', 'special_tokens_map.json'),
    *files_of('added tokens', 'added_tokens.json'),
    ('template: a pipe', 'chat_template.jinja', pipe('chat_template.jinja')),
    ('template: not UTF-8', 'chat_template.jinja', text('chat_template.jinja', b'\xff')),
    ('template: sparse', 'chat_template.jinja', sparse('chat_template.jinja', 10 << 30)),
    *(
        (f'id {value}', _TOKENIZER, last_id(value))
        for value in (-1, 1.0, True, None, '1', 2**31, 2**32, 10**9, 10**400, 0)
    ),
    ('added id 2**31', _TOKENIZER, added(id=2**31)),
    ('added id -1', _TOKENIZER, added(id=-1)),
    ('added id of another', _TOKENIZER, added(id=0)),
    ('added without an id', _TOKENIZER, tokenizer(lambda raw: raw['added_tokens'][-1].pop('id'))),
    ('added: no objects', _TOKENIZER, part(added_tokens=[1])),
    ('a gap of ten million ids', 'ids up to 10000000', last_id(10_000_000)),
    ('no model', _TOKENIZER, part(model=None)),
    ('no vocabulary', _TOKENIZER, model(vocab={})),
    ('unknown vocabulary', _TOKENIZER, model(vocab=3)),
    ('no unknown', _TOKENIZER, model(unk_token='none')),
    ('cache of 2**62', _TOKENIZER, model(cache_capacity=2**62)),
    ('padding to 10**12', _TOKENIZER, part(padding=_padding(HUGE))),
    ('truncation to 2**63', _TOKENIZER, part(truncation={'max_length': 2**63, 'stride': 0})),
    ('a normalizer that panics', _TOKENIZER, part(
        normalizer={'type': 'Precompiled', 'precompiled_charsmap': 'BAAAAGFhYWE='})),
    ('a normalizer that is none', _TOKENIZER, part(
        normalizer={'type': 'Precompiled', 'precompiled_charsmap': 'AAAA'})),
    ('a normalizer that takes all memory', _TOKENIZER, part(
        normalizer={'type': 'Sequence', 'normalizers': _BOMB})),
    ('a processor that panics', _TOKENIZER, part(post_processor={
        'type': 'TemplateProcessing', 'pair': [], 'special_tokens': {},
        'single': [{'SpecialToken': {'id': 'none', 'type_id': 0}}]})),
    ('sentinels', _SETTINGS, fields(_SETTINGS, tokenizer_class='T5Tokenizer', extra_ids=10**9)),
    ('gguf_file', _SETTINGS, fields(_SETTINGS, gguf_file='/etc/passwd')),
    ('vocab_file', _SETTINGS, fields(_SETTINGS, vocab_file='/etc/passwd')),
    ('init_inputs', _SETTINGS, fields(_SETTINGS, init_inputs=['/etc/passwd'])),
    ('other files', _SETTINGS, fields(_SETTINGS, fast_tokenizer_files=['../../tokenizer.0.json'])),
    ('longest', _SETTINGS, fields(_SETTINGS, model_max_length='long')),
    ('longest of none', _SETTINGS, fields(_SETTINGS, model_max_length=math.nan)),
    ('half a character', _SETTINGS, fields(_SETTINGS, a='\ud800')),
    ('auto_map', _SETTINGS, fields(_SETTINGS, auto_map=7)),
    ('added tokens: ids', _SETTINGS, fields(_SETTINGS, added_tokens_decoder={'4294967296': {}})),
    ('added tokens: no numbers', _SETTINGS, fields(_SETTINGS, added_tokens_decoder={'x': {}})),
    ('added tokens: an id', 'added_tokens.json', text('added_tokens.json', '{"a": 2147483648}')),
    ('end of sequence: a number', 'tokenizer', fields(_SETTINGS, eos_token=7)),
    ('end of sequence: an object', 'tokenizer', fields(_SETTINGS, eos_token={'a': 1})),
    ('templates', 'tokenizer', fields(_SETTINGS, chat_template=[{'name': 1}])),
    ('code of its own', 'tokenizer_config.json names code of its own', code),
]  # fmt: skip


def apply(case: Case, good: pathlib.Path, folder: pathlib.Path) -> None:
    """Makes a folder of a case."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    case[2](folder)


def main(kind: str, good: str, scratch: str) -> None:
    """Measures."""
    from qcrd_jax.data.tokenizer import load_tokenizer
    from qcrd_jax.errors import InputError
    from qcrd_jax.models.huggingface import load_student

    read = load_student if kind == 'models' else load_tokenizer
    read(good)
    most, largest, slowest = 0.0, '', ('', 0.0)
    for case in MODELS if kind == 'models' else TOKENIZERS:
        folder = pathlib.Path(scratch) / 'case'
        apply(case, pathlib.Path(good), folder)  # what it takes to make one is not counted
        pathlib.Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
        before, start = _memory('VmRSS'), time.monotonic()
        try:
            read(str(folder))
        except InputError:
            pass
        else:
            raise AssertionError(case[0])
        slowest = max(slowest, (case[0], time.monotonic() - start), key=lambda found: found[1])
        if (taken := _memory('VmHWM') - before) > most:
            most, largest = taken, case[0]
    found = {'seconds': slowest[1], 'slowest': slowest[0], 'bytes': most, 'largest': largest}
    print(json.dumps(found))


def _memory(field: str) -> float:
    """Returns how many bytes of memory this process takes (VmRSS), or has taken at most (VmHWM)."""
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) * 1024


if __name__ == '__main__':
    main(*sys.argv[1:])
