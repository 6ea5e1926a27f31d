"""Reading GGUF files, llama.cpp's format, so that whatever is wrong with one is named.

The format: magic, version, counts, metadata (named values), a table of the tensors (shape, type and
place of each), the data. The header is read here, since what a file claims has to be compared with
what it holds before anything is allocated; what quantised blocks stand for is known by the package
`gguf`, an extra of this one. Files are mapped: a tensor costs memory when its values are asked for.
"""

import dataclasses
import itertools
import math
import pathlib
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from qcrd_jax.errors import InputError, shown
from qcrd_jax.models.checks import LARGEST_VOCABULARY
from qcrd_jax.models.foreign_files import name, open_regular, shown_path, some

SUFFIX = '.gguf'

_MAGIC = b'GGUF'
_VERSIONS = (2, 3)
_ALIGNMENT = 32  # bytes, where a file says nothing
_LARGEST_HEADER = 256 << 20  # bytes; a vocabulary with its merges takes some ten million of them
_LONGEST_STRING = 8 << 20  # bytes; a chat template has thousands
_MOST_FIELDS = 1 << 14
_MOST_TENSORS = 1 << 17
_MOST_AXES = 4
_LONGEST = (1 << 31) - 1  # of an axis
_VALUES_AT_ONCE = 1 << 20  # that are dequantised together
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct('<Q')  # of a string, in front of it
_SCALARS = {
    0: '<u1', 1: '<i1', 2: '<u2', 3: '<i2', 4: '<u4', 5: '<i4', 6: '<f4', 7: '?', 10: '<u8',
    11: '<i8', 12: '<f8',
}  # fmt: skip
_DAMAGED = 'the file is damaged. Copy or download it again.'


@dataclasses.dataclass(frozen=True, eq=False)
class QuantisedTensor:
    """A tensor in a mapped GGUF file, whatever its type.

    Attributes:
      file: where it is, for messages.
      shape: as NumPy counts axes: rows first.
      type_name: how it is quantised, as ggml calls it.
      blocks: its bytes, [rows, bytes of a row] uint8.
      dequantise: turns such rows into float32 values, [rows, columns].
      turned_heads: how many heads its rows are, where the two halves of each head's rows are stored
        in turns, a row of one and a row of the other; None: rows are stored as they are used.
    """

    file: pathlib.Path
    shape: tuple[int, ...]
    type_name: str
    blocks: np.ndarray
    dequantise: Callable[[np.ndarray], np.ndarray]
    turned_heads: int | None = None

    def values(self) -> np.ndarray:
        """Returns the values, float32; they are made anew whenever they are asked for.

        Raises:
          InputError: if the blocks cannot be dequantised.
        """
        rows, columns = len(self.blocks), self.shape[-1]
        values = np.empty((rows, columns), np.float32)
        step = max(1, _VALUES_AT_ONCE // columns)
        with np.errstate(all='ignore'):  # whoever reads values looks for NaN
            for start in range(0, rows, step):
                part = np.ascontiguousarray(self.blocks[start : start + step])
                values[start : start + step] = self.dequantise(part)
        if self.turned_heads is not None:
            pairs = values.reshape(self.turned_heads, -1, 2, columns)
            values = np.ascontiguousarray(pairs.swapaxes(1, 2))
        return values.reshape(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class GgufFile:
    """What a GGUF file says and holds.

    Attributes:
      path: of the file.
      metadata: its named values: numbers, strings, booleans, and arrays of them (numbers as NumPy
        arrays, strings as lists). They are data: nothing is opened or run that a string names.
      tensors: by the names that llama.cpp gives them.
    """

    path: pathlib.Path
    metadata: dict[str, Any]
    tensors: dict[str, QuantisedTensor]


def is_gguf(name_or_path: object) -> bool:
    """Returns whether a name is that of a GGUF file, by its ending; a folder may have any name.

    >>> is_gguf('models/SmolLM2-135M-Instruct.Q4_1.gguf'), is_gguf('t5-base')
    (True, False)
    """
    path = pathlib.Path(str(name_or_path)).expanduser()
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def read_file(path: pathlib.Path) -> GgufFile:
    """Reads the header of a GGUF file and maps its tensors.

    Raises:
      InputError: if the package `gguf` is not installed, or the file is not a whole GGUF of a
        version and of types that are read; it names the file, and the field or tensor.
    """
    _package()
    with open_regular(path) as file:
        start = file.read(8)
        if start[:4] != _MAGIC:
            raise InputError(
                f'{shown_path(path)}: expected a GGUF file, which begins with {_MAGIC.decode()}; '
                f'got {shown(start[:4]) if start else "an empty file"}.'
            )
        if len(start) < 8:
            raise InputError(f'{shown_path(path)}: ends after its first bytes; {_DAMAGED}')
        _check_version(path, int.from_bytes(start[4:], 'little'), int.from_bytes(start[4:], 'big'))
        data = np.asarray(np.memmap(file, np.uint8, mode='r'))
    header = _Header(path, data, 8)
    tensors, fields = header.whole(8, 'its tensors'), header.whole(8, 'its metadata')
    if tensors > _MOST_TENSORS or fields > _MOST_FIELDS:
        header.refuse(f'claims {tensors} tensors and {fields} fields of metadata')
    metadata: dict[str, Any] = {}
    for _ in range(fields):
        key = header.string('the name of a field')
        if key in metadata:
            header.refuse(f'has the field {name(key)} twice')
        metadata[key] = header.value(key)
    parts = metadata.get('split.count', 1)
    if type(parts) is int and parts > 1:
        raise InputError(
            f'{shown_path(path)}: is one of {parts} parts of a model; expected one file. Join them '
            f'by llama.cpp: llama-gguf-split --merge <first part> <whole>{SUFFIX}'
        )
    table = [header.place() for _ in range(tensors)]
    return GgufFile(path, metadata, _tensors(header, metadata, table))


def _check_version(path: pathlib.Path, version: int, swapped: int) -> None:
    if swapped in _VERSIONS:
        raise InputError(
            f'{shown_path(path)}: is a big-endian GGUF file; expected a little-endian one. Convert '
            'the model again, without --bigendian.'
        )
    if version not in _VERSIONS:
        raise InputError(
            f'{shown_path(path)}: is of GGUF version {version}; expected '
            f'{" or ".join(map(str, _VERSIONS))}. Convert the model again by a current llama.cpp.'
        )


class _Place(NamedTuple):
    """A line of the table of tensors: its name, shape (rows first), type, and where it begins."""

    tensor: str
    shape: tuple[int, ...]
    kind: int
    begin: int


class _Header:
    """Reads a header value by value, none of which reaches beyond the file."""

    def __init__(self, path: pathlib.Path, data: np.ndarray, position: int):
        self.path, self.data, self.position = path, data, position
        self._end = min(len(data), _LARGEST_HEADER)

    def refuse(self, what: str) -> NoReturn:
        raise InputError(f'{shown_path(self.path)}: {what}; {_DAMAGED}')

    def take(self, size: int, what: str) -> np.ndarray:
        """Returns the next bytes, uint8, still mapped."""
        start = self.position
        if size > self._end - start:
            if size > len(self.data) - start:
                self.refuse(f'is truncated, or claims too much: it ends in {what}')
            self.refuse(f'has a header of more than {_LARGEST_HEADER} bytes')
        self.position += size
        return self.data[start : self.position]

    def whole(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what).tobytes(), 'little')

    def string(self, what: str) -> str:
        length = self.whole(8, what)
        if length > _LONGEST_STRING:
            self.refuse(f'claims a string of {length} bytes in {what}')
        try:
            return self.take(length, what).tobytes().decode('utf-8')
        except UnicodeDecodeError as error:
            self.refuse(f'{what}: not UTF-8 text ({error.reason})')

    def value(self, key: str) -> Any:
        what = name(key)
        kind = self.whole(4, what)
        if kind == _STRING:
            return self.string(what)
        if kind == _ARRAY:
            return self._array(what)
        value = self._numbers(kind, 1, what)[0]
        # A float32 was written as a decimal that has its few digits: 1e-05, not 9.99999975e-06.
        return float(str(value)) if kind == 6 else value.item()

    def _array(self, what: str) -> np.ndarray | list[str]:
        kind, length = self.whole(4, what), self.whole(8, what)
        if length > LARGEST_VOCABULARY:
            self.refuse(f'claims {length} values of {what}')
        return self._strings(length, what) if kind == _STRING else self._numbers(kind, length, what)

    def _strings(self, length: int, what: str) -> list[str]:
        """Reads an array of strings; by `string`, a large vocabulary would take a second."""
        position, end, strings = self.position, self._end, []
        data = self.data.data  # a memoryview, of which parts are made faster than of an array

        try:
            for _ in range(length):
                start, size = position + 8, _LENGTH.unpack_from(data, position)[0]
                position = start + size
                if position > end:
                    self.refuse(f'is truncated, or claims too much: it ends in {what}')
                strings.append(data[start:position].tobytes().decode('utf-8'))
        except struct.error:
            self.refuse(f'is truncated, or claims too much: it ends in {what}')
        except UnicodeDecodeError as error:
            self.refuse(f'{what}: not UTF-8 text ({error.reason})')
        self.position = position
        return strings

    def _numbers(self, kind: int, length: int, what: str) -> np.ndarray:
        if kind not in _SCALARS:
            self.refuse(f'{what}: is of type {kind}, which no value or array of values has')
        dtype = np.dtype(_SCALARS[kind])
        values = self.take(length * dtype.itemsize, what).copy()
        return values != 0 if kind == 7 else values.view(dtype)

    def place(self) -> _Place:
        tensor = self.string('the name of a tensor')
        what = f'tensor {name(tensor)}'
        axes = self.whole(4, what)
        if not 1 <= axes <= _MOST_AXES:
            self.refuse(f'{what} has {axes} axes')
        shape = tuple(self.whole(8, what) for _ in range(axes))[::-1]
        if not all(1 <= size <= _LONGEST for size in shape):
            self.refuse(f'{what} is of shape {shown(shape)}')
        return _Place(tensor, shape, self.whole(4, what), self.whole(8, what))


def _tensors(
    header: _Header, metadata: dict[str, Any], table: list[_Place]
) -> dict[str, QuantisedTensor]:
    """Maps the tensors of a table, once it is known to describe the file."""
    alignment = metadata.get('general.alignment', _ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        header.refuse(f'general.alignment: {shown(alignment)} is no power of two')
    data = header.data[-(-header.position // alignment) * alignment :]
    kinds: dict[int, _Kind] = {}
    tensors: dict[str, QuantisedTensor] = {}
    ends: list[tuple[int, int, str]] = []
    truncated = []
    for place in table:
        tensor, columns = place.tensor, place.shape[-1]
        kind = kinds.get(place.kind) or kinds.setdefault(place.kind, _kind(header.path, place))
        if tensor in tensors:
            header.refuse(f'has tensor {name(tensor)} twice')
        if place.begin % alignment:
            header.refuse(f'tensor {name(tensor)} begins at byte {place.begin}')
        if columns % kind.block:
            header.refuse(
                f'tensor {name(tensor)} has rows of {columns} values, and {kind.type_name} is '
                f'made of blocks of {kind.block}'
            )
        rows = math.prod(place.shape[:-1])
        end = place.begin + rows * (columns // kind.block) * kind.size
        if end > len(data):
            truncated.append(tensor)
            continue
        ends.append((place.begin, end, tensor))
        blocks = data[place.begin : end].reshape(rows, -1)
        tensors[tensor] = QuantisedTensor(
            header.path, place.shape, kind.type_name, blocks, kind.dequantise
        )
    if truncated:
        header.refuse(f'is truncated: {len(data)} bytes of data are too few for {some(truncated)}')
    ends.sort()
    for (_, end, one), (begin, _, other) in itertools.pairwise(ends):
        if begin < end:
            header.refuse(f'tensors {name(one)} and {name(other)} share bytes')
    return tensors


class _Kind(NamedTuple):
    """A type of tensors: its name, values and bytes of a block, and what blocks stand for."""

    type_name: str
    block: int
    size: int
    dequantise: Callable[[np.ndarray], np.ndarray]


def _kind(path: pathlib.Path, place: _Place) -> _Kind:
    """Returns the type of a tensor, if the installed package knows what its blocks stand for.

    Raises:
      InputError: naming file, tensor and type.
    """
    gguf = _package()
    where = f'{shown_path(path)}: tensor {name(place.tensor)} is of type'
    way_out = 'Take a file of another quantisation (Q8_0, Q4_K_M, F16), or a newer gguf package.'
    try:
        kind = gguf.GGMLQuantizationType(place.kind)
        block, size = gguf.GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError) as error:
        raise InputError(
            f'{where} {place.kind}, which the package gguf does not know. {way_out}'
        ) from error

    def dequantise(blocks: np.ndarray) -> np.ndarray:
        return gguf.dequantize(blocks, kind)

    try:
        with np.errstate(all='ignore'):
            dequantise(np.zeros((1, size), np.uint8))  # one block, to see whether it can
    except NotImplementedError as error:
        raise InputError(
            f'{where} {kind.name}, which the package gguf does not dequantise. {way_out}'
        ) from error
    return _Kind(kind.name, block, size, dequantise)


def _package() -> Any:
    """Returns the package `gguf`, which only those need who read such files."""
    try:
        import gguf
    except ImportError as error:
        raise InputError(
            f'Reading {SUFFIX} files takes the package gguf, which is not installed: '
            f"pip install 'qcrd_jax[gguf]', or only it: pip install gguf"
        ) from error
    return gguf
