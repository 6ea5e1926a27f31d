"""Reading safetensors files so that whatever is wrong with one is named.

The format: eight bytes with the length of a JSON header, the header (dtype, shape and place of
every tensor), the data. Files are mapped, not read: a tensor costs memory when it is used.
"""

import math
import os
import pathlib
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from qcrd_jax.errors import InputError, shown
from qcrd_jax.models.foreign_files import (
    name,
    open_regular,
    parse_object,
    read_json_object,
    shown_path,
    some,
)
from qcrd_jax.models.stored_tensors import StoredTensor

_DTYPES = {
    'F64': np.dtype(np.float64),
    'F32': np.dtype(np.float32),
    'F16': np.dtype(np.float16),
    'BF16': np.dtype(ml_dtypes.bfloat16),
}
_LARGEST_HEADER = 8 << 20  # bytes; a tensor takes some 150 of them
_MOST_AXES = 8
_LONGEST = (1 << 31) - 1  # of an axis
_MOST_SHARDS = 4096
_INDEX = 'model.safetensors.index.json'

_Place = tuple[np.dtype, tuple[int, ...], int, int]
"""Dtype, shape, and where the bytes begin and end after the header."""


def read_checkpoint(folder: pathlib.Path) -> dict[str, StoredTensor]:
    """Maps every tensor of a folder's `model.safetensors`, or of the shards its index names.

    Raises:
      InputError: naming the file and the tensor that is wrong, or how to convert other formats.
    """
    if os.path.lexists(folder / 'model.safetensors'):
        return read_file(folder / 'model.safetensors')
    if os.path.lexists(folder / _INDEX):
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
    with open_regular(path) as file:
        header, start = _read_header(path, file)
        available = os.fstat(file.fileno()).st_size - start
        places = {tensor: _place(path, tensor, entry) for tensor, entry in header.items()}
        _check_places(path, places, available)
        if not available:
            data = np.zeros(0, np.uint8)
        else:
            data = np.memmap(file, np.uint8, mode='r', offset=start)
    return {
        tensor: StoredTensor(path, data[begin:end].view(dtype).reshape(shape))
        for tensor, (dtype, shape, begin, end) in places.items()
    }


def _check_places(path: pathlib.Path, places: dict[str, _Place], available: int) -> None:
    """Refuses tensors that do not follow each other from the first byte of data to the last."""
    file = shown_path(path)
    truncated = [tensor for tensor, (_, _, _, end) in places.items() if end > available]
    if truncated:
        raise InputError(
            f'{file}: the file is truncated, {available} bytes of data are too few for '
            f'{some(truncated)}. Copy or download it again.'
        )
    covered = 0
    for tensor, (_, _, begin, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != covered:
            raise InputError(
                f'{file}: tensor {name(tensor)} begins at byte {begin} where {covered} was '
                'expected; the file is damaged. Copy or download it again.'
            )
        covered = end
    if covered != available:
        raise InputError(
            f'{file}: {available - covered} bytes follow the last tensor; the file is damaged. '
            'Copy or download it again.'
        )


def _read_shards(folder: pathlib.Path) -> dict[str, StoredTensor]:
    index = folder / _INDEX
    weight_map = read_json_object(index).get('weight_map')
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(
            f'{shown_path(index)}: expected an object weight_map from tensors to files.'
        )
    if not all(isinstance(file, str) for file in weight_map.values()):
        raise InputError(f'{shown_path(index)}: weight_map: expected the name of a file for each.')
    shards = sorted(set(weight_map.values()))
    if len(shards) > _MOST_SHARDS:
        raise InputError(
            f'{shown_path(index)}: expected at most {_MOST_SHARDS} files, it names {len(shards)}.'
        )
    for file in shards:
        if pathlib.Path(file).name != file:
            raise InputError(
                f'{shown_path(index)}: expected names of files beside it, got {shown(file)}.'
            )
    tensors: dict[str, StoredTensor] = {}
    for file in shards:
        if not (folder / file).exists():
            lost = [tensor for tensor, shard in weight_map.items() if shard == file]
            raise InputError(
                f'{shown_path(folder / file)}: missing; {_INDEX} has {some(lost)} in it.'
            )
        for tensor, stored in read_file(folder / file).items():
            if tensor in tensors:
                raise InputError(
                    f'{stored.file}: {name(tensor)} is in {tensors[tensor].file} as well.'
                )
            tensors[tensor] = stored
    absent = [tensor for tensor in weight_map if tensor not in tensors]
    if absent:
        raise InputError(f'{index}: {some(absent)}: not in the files that the index names.')
    return tensors


def _read_header(path: pathlib.Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), 'little')
    if size < 8 or length > size - 8:
        raise InputError(
            f'{shown_path(path)}: not a whole safetensors file: it has {size} bytes and claims a '
            f'header of {length}. Copy or download it again.'
        )
    if length > _LARGEST_HEADER:
        raise InputError(
            f'{shown_path(path)}: claims a header of {length} bytes; expected at most '
            f'{_LARGEST_HEADER}, for thousands of tensors.'
        )
    header = parse_object(f'{shown_path(path)}: the header', file.read(length))
    header.pop('__metadata__', None)
    return header, 8 + length


def _place(path: pathlib.Path, tensor: str, entry: Any) -> _Place:
    """Returns dtype, shape, begin and end of one tensor, after checking that they agree."""
    where = f'{shown_path(path)}: tensor {name(tensor)}'
    match entry:
        case {'dtype': str(dtype), 'shape': [*shape], 'data_offsets': [begin, end]}:
            pass
        case _:
            raise InputError(f'{where}: expected dtype, shape and data_offsets.')
    if dtype not in _DTYPES:
        raise InputError(
            f'{where} is of dtype {name(dtype)}; expected one of {", ".join(_DTYPES)} (quantised '
            'checkpoints are not read).'
        )
    # `isinstance` would take true for 1.
    if len(shape) > _MOST_AXES or not all(type(n) is int and 0 < n <= _LONGEST for n in shape):
        raise InputError(
            f'{where}: expected a shape of at most {_MOST_AXES} whole numbers from 1 to {_LONGEST}'
            f', got {shown(shape)}.'
        )
    needed = math.prod(shape) * _DTYPES[dtype].itemsize
    if not (type(begin) is type(end) is int and begin >= 0 and end - begin == needed):
        raise InputError(
            f'{where}: shape {shape} of {dtype} takes {needed} bytes, not {shown([begin, end])}.'
        )
    return _DTYPES[dtype], tuple(shape), begin, end
