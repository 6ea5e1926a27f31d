"""Compiled programs are kept on disk, so that the next run of them starts at once."""

import os
import pathlib
from typing import Any

from absl import logging

_MOST_BYTES = 4 * 2**30  # of the folder; what was not used for longest goes first
_WORTH_SECONDS = 0.5  # of compilation: programs that took less are not kept
OFF = 'off'


def options(folder: str, other: str | None) -> dict[str, Any]:
    """Returns the options of JAX by which it keeps compiled programs, and finds them again.

    JAX names them by the program, its options, the device and its own version, so that one folder
    serves all runs. One that is damaged is compiled again.

    Args:
      folder: '' for the user's own; 'off' keeps nothing.
      other: where JAX was told to keep them already ($JAX_COMPILATION_CACHE_DIR); it stays so.

    Returns:
      None of them where nothing is to be changed, or the folder cannot be written to.
    """
    if folder == OFF or other:
        return {}
    path = pathlib.Path(folder) if folder else users_folder()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(f'{path} is not for us to write')
    except OSError as error:
        logging.warning('compiled programs are not kept (%s); see --compilation_cache.', error)
        return {}
    return {
        'jax_compilation_cache_dir': str(path),
        'jax_compilation_cache_max_size': _MOST_BYTES,
        'jax_persistent_cache_min_compile_time_secs': _WORTH_SECONDS,
        'jax_persistent_cache_min_entry_size_bytes': 0,
    }


def users_folder() -> pathlib.Path:
    """Returns the folder under the user's caches ($XDG_CACHE_HOME, else ~/.cache)."""
    caches = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    return pathlib.Path(caches) / 'qcrd_jax' / 'compiled'
