"""Folders in Hugging Face's format, in and out: found, recognised, read, and written whole.

What is particular to a family is its `families.Checkpoint`, chosen by the `model_type` of a
config.json or of the architecture. A GGUF file is read wherever a folder is (`decoder.gguf`).
"""

import glob
import os
import pathlib
import shutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import huggingface_hub
import safetensors
import safetensors.numpy

from qcrd_jax import sums
from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import write_json, write_text
from qcrd_jax.models.decoder import gguf
from qcrd_jax.models.families import BY_MODEL_TYPE, Architecture, Checkpoint, family_of
from qcrd_jax.models.foreign_files import (
    SETTINGS_BYTES,
    check_size,
    read_json_object,
    shown_path,
    some,
)
from qcrd_jax.models.gguf_files import SUFFIX, is_gguf
from qcrd_jax.models.protocol import Params
from qcrd_jax.models.tensor_places import Opened, assemble, check

_SETTINGS = ('config.json', 'generation_config.json')
_OURS_ALONE = ('backend', 'is_local', 'local_files_only')  # how the tokenizer came to be here
_WEIGHTS = ('*.safetensors', '*.index.json')
_DOWNLOADED = ('config.json', 'model*.safetensors', 'model.safetensors.index.json')


def load_student(
    name_or_path: str | os.PathLike, *, revision: str | None = None
) -> tuple[Architecture, Params]:
    """Reads a student from a folder, from a GGUF file, or from the Hugging Face Hub.

    Args:
      name_or_path: a folder with config.json and safetensors files, a .gguf file of an architecture
        in `decoder.gguf.ARCHITECTURES`, or the id of a Hub repository.
      revision: branch, tag or commit of the Hub repository.

    Returns:
      The architecture and float32 parameters, for `architectures.student_for`.

    Raises:
      InputError: naming the file and the field or tensor that is wrong, missing or not expected.
    """
    where, opened = _open_student(name_or_path, revision)
    return opened.architecture, assemble(where, opened)


def load_architecture(
    name_or_path: str | os.PathLike, *, revision: str | None = None
) -> Architecture:
    """Reads only the architecture that `load_student` returns, none of the parameters.

    Args, Returns and Raises are those of `load_student`. The files are mapped, for they may have
    to say whether the head is tied, and their tensors have to be those of the architecture.
    """
    return _open_student(name_or_path, revision)[1].architecture


def load_encoder(
    name_or_path: str | os.PathLike, *, revision: str | None = None
) -> tuple[Architecture, Params]:
    """Reads a T5's encoder or a decoder's body, of a whole model or by itself, for a discriminator.

    Args, Returns and Raises are those of `load_student`, for `architectures.encoder_for`.
    """
    where, opened = _open_encoder(name_or_path, revision)
    return opened.architecture, assemble(where, opened)


def load_encoder_architecture(
    name_or_path: str | os.PathLike, *, revision: str | None = None
) -> Architecture:
    """Reads only the architecture that `load_encoder` returns, none of the parameters.

    Args, Returns and Raises are those of `load_architecture`.
    """
    return _open_encoder(name_or_path, revision)[1].architecture


def read_config(path: pathlib.Path) -> Architecture:
    """Reads the architecture that a config.json describes."""
    return _checkpoint_of(path.parent).read_config(path)


def save_student(
    folder: str | os.PathLike,
    architecture: Architecture,
    params: Params | None,
    tokenizer: Any = None,
    *,
    longest: tuple[int, int] | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes a folder that the `from_pretrained` of the architecture's class in transformers loads.

    The folder appears whole or not at all, with the digests of its files (`sums`). In a folder that
    exists, each file is replaced whole and files of other names stay; one in which a killed process
    replaced only some is refused when it is read.

    Args:
      folder: where to write.
      architecture: the `config` of a student.
      params: those of the student; None: all but the weights is written.
      tokenizer: a Hugging Face tokenizer to save beside, for `AutoTokenizer.from_pretrained`.
      longest: tokens that the student reads and writes at most, which `generate` and the tokenizer
        then do by themselves; None: what transformers takes for granted.
      texts: further files by name.

    Raises:
      OSError: if it cannot be written.
    """
    form = family_of(architecture).checkpoint
    folder = pathlib.Path(folder).absolute()
    temporary = folder.with_name(f'.{folder.name}.{os.getpid()}.tmp')
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write_json(temporary / 'config.json', form.to_config_json(architecture))
        generation = form.to_generation_json(architecture)
        if longest is not None:
            generation['max_new_tokens'] = longest[1]
        write_json(temporary / 'generation_config.json', generation)
        if params is not None:
            tensors = form.to_tensors(architecture, params)
            safetensors.numpy.save_file(tensors, temporary / 'model.safetensors', {'format': 'pt'})
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
            _settle_tokenizer(temporary / 'tokenizer_config.json', longest)
            form.finish_tokenizer(temporary)
        for name, text in texts.items():
            write_text(temporary / name, text)
        names = sums.files_of(temporary)
        for path in temporary.iterdir():
            shutil.copymode(temporary / 'config.json', path)  # safetensors keeps its file private
            with open(path, 'rb+') as file:
                os.fsync(file.fileno())
        if not folder.exists():
            sums.write(temporary, names)
            os.replace(temporary, folder)
        else:
            # Before the first of them: a folder in which only some are replaced is known as such.
            sums.update(folder, names, source=temporary)
            for path in sorted(temporary.iterdir()):
                os.replace(path, folder / path.name)
    except Exception as error:
        if isinstance(error, safetensors.SafetensorError) or type(error) is Exception:
            # What safetensors and tokenizers make of a full disk.
            raise OSError(f'{folder}: cannot be written ({error})') from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _settle_tokenizer(path: pathlib.Path, longest: tuple[int, int] | None) -> None:
    """Names the class that every version of transformers has, and how much the student reads."""
    config = read_json_object(path)
    if config.get('tokenizer_class') == 'TokenizersBackend':  # what transformers 5 calls it
        config['tokenizer_class'] = 'PreTrainedTokenizerFast'
    config['model_input_names'] = [
        'input_ids',
        'attention_mask',
    ]  # before 5, `generate` refuses more
    for name in _OURS_ALONE:
        config.pop(name, None)
    if isinstance(config.get('extra_special_tokens'), list):
        # What transformers 5 calls so, and reads by its old name too; 4.56 expects a dict of it.
        config['additional_special_tokens'] = config.pop('extra_special_tokens')
    if longest is not None:
        config['model_max_length'] = longest[0]
    write_json(path, config)


def _open_student(
    name_or_path: str | os.PathLike, revision: str | None
) -> tuple[pathlib.Path, Opened]:
    where = _locate(name_or_path, revision, 'student')
    reader = gguf if where.is_file() else _checkpoint_of(where)
    return where, _checked(where, reader.open_student(where))


def _open_encoder(
    name_or_path: str | os.PathLike, revision: str | None
) -> tuple[pathlib.Path, Opened]:
    where = _locate(name_or_path, revision, 'discriminator')
    reader = gguf if where.is_file() else _checkpoint_of(where)
    return where, _checked(where, reader.open_encoder(where))


def _checked(where: pathlib.Path, opened: Opened) -> Opened:
    """Compares a checkpoint with its architecture and with the digests beside it."""
    check(where, opened)
    # The size of the weights is known by now to be that of the architecture.
    if where.is_file():
        sums.check(where.parent, (glob.escape(where.name),))
    else:
        sums.check(where, _WEIGHTS)
    return opened


def _checkpoint_of(folder: pathlib.Path) -> Checkpoint:
    """Returns what reads a folder; a config.json that names no type is an old T5's."""
    path = folder / 'config.json'
    files = sorted(file.name for file in folder.glob(f'*{SUFFIX}'))
    if files and not os.path.lexists(path):
        raise InputError(
            f'{shown_path(folder)}: has no config.json, but {some(files)}; name such a file itself '
            f'to read it: {shown_path(folder / files[0])}'
        )
    for name in _SETTINGS:
        check_size(folder / name, SETTINGS_BYTES)
    sums.check(folder, _SETTINGS)
    model_type = read_json_object(path).get('model_type', 't5')
    if not isinstance(model_type, str) or model_type not in BY_MODEL_TYPE:
        raise InputError(
            f'{shown_path(path)}: model_type: expected {" | ".join(BY_MODEL_TYPE)}, got '
            f'{shown(model_type)}.'
        )
    return BY_MODEL_TYPE[model_type].checkpoint


def _locate(name_or_path: str | os.PathLike, revision: str | None, who: str) -> pathlib.Path:
    """Returns the folder or GGUF file, after downloading a folder where a Hub id was given."""
    name = os.fspath(name_or_path)
    folder = pathlib.Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    way_out = (
        f'Give a folder (or a {SUFFIX} file) with --config.{who}.pretrained=<folder>, or start '
        f"from random weights with --config.{who}.pretrained=''."
    )
    if is_gguf(name):
        if folder.is_file():
            return folder
        raise InputError(f'{name!r}: no such file. {way_out}')
    if not name or folder.exists() or name.startswith(('/', '.', '~')) or name.count('/') > 1:
        raise InputError(f'{name!r}: no such folder. {way_out}')
    try:
        folder = pathlib.Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=list(_DOWNLOADED)
            )
        )
    except (OSError, ValueError) as error:  # what huggingface_hub's own errors derive from
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f'{name!r}: there is no such folder, and it could not be had from the Hugging Face '
            f'Hub ({reason}). {way_out}'
        ) from error
    if not any(folder.glob('*.safetensors')):
        raise InputError(
            f'{name!r}: this repository of the Hugging Face Hub has no model.safetensors. Convert '
            'its weights where PyTorch is installed, with the class that its config.json names '
            '(T5ForConditionalGeneration, LlamaForCausalLM): transformers.<class>'
            f".from_pretrained('{name}').save_pretrained('<folder>'), and give that folder with "
            f'--config.{who}.pretrained=<folder>.'
        )
    return folder
