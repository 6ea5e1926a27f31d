"""Folders in Hugging Face's format, in and out: found, recognised, read, and written whole.

What is particular to a family is its `families.Checkpoint`, chosen by the `model_type` of a
config.json or of the architecture.
"""

import os
import pathlib
import shutil
from typing import Any

import huggingface_hub
import safetensors
import safetensors.numpy

from qcrd_jax import sums
from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import write_json
from qcrd_jax.models.families import BY_MODEL_TYPE, Architecture, Checkpoint, family_of
from qcrd_jax.models.foreign_files import (
    SETTINGS_BYTES,
    check_size,
    read_json_object,
    shown_path,
)
from qcrd_jax.models.protocol import Params
from qcrd_jax.models.tensor_places import Opened, assemble, check

_SETTINGS = ('config.json', 'generation_config.json')
_WEIGHTS = ('*.safetensors', '*.index.json')
_DOWNLOADED = ('config.json', 'model*.safetensors', 'model.safetensors.index.json')


def load_student(
    name_or_path: str | os.PathLike, *, revision: str | None = None
) -> tuple[Architecture, Params]:
    """Reads a student from a folder or from the Hugging Face Hub.

    Args:
      name_or_path: a folder with config.json and safetensors files, or the id of a Hub repository.
      revision: branch, tag or commit of the Hub repository.

    Returns:
      The architecture and float32 parameters, for `architectures.student_for`.

    Raises:
      InputError: naming the file and the field or tensor that is wrong, missing or not expected.
    """
    folder, opened = _open_student(name_or_path, revision)
    return opened.architecture, assemble(folder, opened.places, opened.tensors)


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
    folder = _locate(name_or_path, revision, 'discriminator')
    opened = _checkpoint_of(folder).open_encoder(folder)
    check(folder, opened.places, opened.tensors)
    sums.check(folder, _WEIGHTS)
    return opened.architecture, assemble(folder, opened.places, opened.tensors)


def read_config(path: pathlib.Path) -> Architecture:
    """Reads the architecture that a config.json describes."""
    return _checkpoint_of(path.parent).read_config(path)


def save_student(
    folder: str | os.PathLike, architecture: Architecture, params: Params, tokenizer: Any = None
) -> None:
    """Writes a folder that the `from_pretrained` of the architecture's class in transformers loads.

    The folder appears whole or not at all, with the digests of its files (`sums`). In a folder that
    exists, each file is replaced whole and files of other names stay; one in which a killed process
    replaced only some is refused when it is read.

    Args:
      folder: where to write.
      architecture: the `config` of a student.
      params: those of the student.
      tokenizer: a Hugging Face tokenizer to save beside, for `AutoTokenizer.from_pretrained`.

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
        write_json(temporary / 'generation_config.json', form.to_generation_json(architecture))
        tensors = form.to_tensors(architecture, params)
        safetensors.numpy.save_file(tensors, temporary / 'model.safetensors', {'format': 'pt'})
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
            form.finish_tokenizer(temporary)
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


def _open_student(
    name_or_path: str | os.PathLike, revision: str | None
) -> tuple[pathlib.Path, Opened]:
    folder = _locate(name_or_path, revision, 'student')
    opened = _checkpoint_of(folder).open_student(folder)
    check(folder, opened.places, opened.tensors)
    sums.check(folder, _WEIGHTS)  # whose size is known by now to be that of the architecture
    return folder, opened


def _checkpoint_of(folder: pathlib.Path) -> Checkpoint:
    """Returns what reads a folder; a config.json that names no type is an old T5's."""
    path = folder / 'config.json'
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
    """Returns the folder, after downloading it where a Hub id was given."""
    name = os.fspath(name_or_path)
    folder = pathlib.Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    way_out = (
        f'Give a folder with --config.{who}.pretrained=<folder>, or start from random weights '
        f"with --config.{who}.pretrained=''."
    )
    if not name or folder.exists() or name.startswith(('/', '.', '~')) or name.count('/') > 1:
        raise InputError(f'{name!r}: no such folder. {way_out}')
    try:
        return pathlib.Path(
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
