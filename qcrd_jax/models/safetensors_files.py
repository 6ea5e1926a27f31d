"""Reading safetensors files so that whatever is wrong with one is named.

The format: eight bytes with the length of a JSON header, the header (dtype, shape and place of
every tensor), the data. Files are mapped, not read: a tensor costs memory when it is used.
"""

import json
import math
import pathlib
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from qcrd_jax.errors import InputError

_DTYPES = {
    'F64': np.dtype(np.float64),
    'F32': np.dtype(np.float32),
    'F16': np.dtype(np.float16),
    'BF16': np.dtype(ml_dtypes.bfloat16),
}
_LARGEST_HEADER = 100_000_000  # bytes; the limit of the format's own library
_INDEX = 'model.safetensors.index.json'


class StoredTensor(NamedTuple):
    """A tensor in a mapped file.

    Attributes:
      file: where it is, for messages.
      data: its values, in the dtype they are stored in.
    """

    file: pathlib.Path
    data: np.ndarray


def read_checkpoint(folder: pathlib.Path) -> dict[str, StoredTensor]:
    """Maps every tensor of a folder's `model.safetensors`, or of the shards its index names.

    Raises:
      InputError: naming the file and the tensor that is wrong, or how to convert other formats.
    """
    if (folder / 'model.safetensors').is_file():
        return read_file(folder / 'model.safetensors')
    if (folder / _INDEX).is_file():
        return _read_shards(folder)
    others = [
        path.name
        for pattern in ('*.bin', '*.pt', '*.h5', '*.msgpack')
        for path in sorted(folder.glob(pattern))
    ]
    found = f'it holds {", ".join(others)}, which is not read' if others else 'there is none'
    raise InputError(
        f'{folder}: expected model.safetensors, or {_INDEX} with its shards; {found}. To convert, '
        'where PyTorch is installed, with the class that its config.json names '
        '(T5ForConditionalGeneration, LlamaForCausalLM): transformers.<class>'
        f".from_pretrained('{folder}').save_pretrained('{folder}')"
    )


def read_file(path: pathlib.Path) -> dict[str, StoredTensor]:
    """Maps every tensor of one safetensors file, once its header is known to describe the file."""
    header, start = _read_header(path)
    available = path.stat().st_size - start
    places = {name: _place(path, name, entry) for name, entry in header.items()}
    truncated = [name for name, (_, _, _, end) in places.items() if end > available]
    if truncated:
        raise InputError(
            f'{path}: the file is truncated, {available} bytes of data are too few for '
            f'{some(truncated)}. Copy or download it again.'
        )
    covered = 0
    for name, (_, _, begin, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != covered:
            raise InputError(
                f'{path}: tensor {name} begins at byte {begin} where {covered} was expected; '
                'the file is damaged. Copy or download it again.'
            )
        covered = end
    if covered != available:
        raise InputError(
            f'{path}: {available - covered} bytes follow the last tensor; the file is damaged. '
            'Copy or download it again.'
        )
    if not available:
        data = np.zeros(0, np.uint8)
    else:
        data = np.memmap(path, np.uint8, mode='r', offset=start)
    return {
        name: StoredTensor(path, data[begin:end].view(dtype).reshape(shape))
        for name, (dtype, shape, begin, end) in places.items()
    }


def some(names: list[str], limit: int = 4) -> str:
    """Returns the first few names and how many more there are."""
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


def read_json_object(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
      InputError: if the file is missing, unreadable or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}).') from error
    except ValueError as error:
        raise InputError(f'{path}: not valid JSON ({error}).') from error
    if not isinstance(value, dict):
        raise InputError(f'{path}: expected a JSON object, got {type(value).__name__}.')
    return value


def _read_shards(folder: pathlib.Path) -> dict[str, StoredTensor]:
    index = folder / _INDEX
    weight_map = read_json_object(index).get('weight_map')
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f'{index}: expected an object weight_map from tensors to files.')
    tensors = {}
    for name in sorted({str(file) for file in weight_map.values()}):
        if pathlib.Path(name).name != name:
            raise InputError(f'{index}: expected names of files beside it, got {name!r}.')
        if not (folder / name).is_file():
            lost = [tensor for tensor, file in weight_map.items() if file == name]
            raise InputError(f'{folder / name}: missing; {index.name} has {some(lost)} in it.')
        for tensor, stored in read_file(folder / name).items():
            if tensor in tensors:
                raise InputError(f'{stored.file}: {tensor} is in {tensors[tensor].file} as well.')
            tensors[tensor] = stored
    absent = [tensor for tensor in weight_map if tensor not in tensors]
    if absent:
        raise InputError(f'{index}: {some(absent)}: not in the files that the index names.')
    return tensors


def _read_header(path: pathlib.Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        if size < 8 or length > min(size - 8, _LARGEST_HEADER):
            raise InputError(
                f'{path}: not a whole safetensors file: it has {size} bytes and claims a header '
                f'of {length}. Copy or download it again.'
            )
        text = file.read(length)
    try:
        header = json.loads(text)
    except ValueError as error:
        raise InputError(f'{path}: the header is not valid JSON ({error}).') from error
    if not isinstance(header, dict):
        raise InputError(f'{path}: expected a JSON object as header.')
    header.pop('__metadata__', None)
    return header, 8 + length


def _place(path: pathlib.Path, name: str, entry: Any) -> tuple[np.dtype, tuple, int, int]:
    """Returns dtype, shape, begin and end of one tensor, after checking that they agree."""
    match entry:
        case {'dtype': str(dtype), 'shape': [*shape], 'data_offsets': [int(begin), int(end)]}:
            pass
        case _:
            raise InputError(f'{path}: tensor {name}: expected dtype, shape and data_offsets.')
    if dtype not in _DTYPES:
        raise InputError(
            f'{path}: tensor {name} is of dtype {dtype}; expected one of {", ".join(_DTYPES)} '
            '(quantised checkpoints are not read).'
        )
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise InputError(f'{path}: tensor {name}: expected a shape, got {shape}.')
    if begin < 0 or end - begin != math.prod(shape) * _DTYPES[dtype].itemsize:
        raise InputError(
            f'{path}: tensor {name}: shape {shape} of {dtype} does not take the bytes '
            f'{begin} to {end}.'
        )
    return _DTYPES[dtype], tuple(shape), begin, end
