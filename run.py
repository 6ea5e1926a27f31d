"""Command line: `python run.py --config=configs/svamp.py --workdir=runs/svamp --mode=train`."""
# ruff: noqa: E402, for the imports take seconds, in which a signal is to end us as it does later

import os
import pathlib
import sys
from typing import NoReturn

from qcrd_jax import interruption

interruption.end_at_once()

import jax
from absl import app, flags, logging
from ml_collections import config_flags

# Transformers serves us tokenizers; that it finds no PyTorch is no news to anyone here.
os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')

from qcrd_jax import modes, processes
from qcrd_jax.errors import InputError
from qcrd_jax.runs import compilation

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Configuration file; override a field by --config.<field>=<value>.'
)
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Folder of the run; by default runs/<name of the configuration file>.'
)
_MODE = flags.DEFINE_enum('mode', 'train', sorted(modes.MODES), 'What to do.')
_INPUT = flags.DEFINE_string(
    'input', None, 'predict: JSON lines with "input" (and, if you like, "id").'
)
_KEPT = flags.DEFINE_string(
    'compilation_cache', '', "Folder of compiled programs; '': the user's own, 'off': none is kept."
)
_PROCESS = flags.DEFINE_string(
    'process', '', "<number>/<count>@<host:port of the first>, of several; '': by the environment."
)
_HEARTBEAT = flags.DEFINE_integer(
    'heartbeat', 60, 'Of several processes: seconds after which a silent one counts as dead.'
)
_OUTPUT = flags.DEFINE_string('output', None, 'predict: where to write; else to standard output.')


def main(argv: list[str]) -> None:
    """Runs one mode."""
    if len(argv) > 1:
        raise InputError(f'unexpected argument {argv[1]!r}; flags look like --name=value.')
    kept = compilation.options(_KEPT.value, os.environ.get('JAX_COMPILATION_CACHE_DIR'))
    for option, value in kept.items():
        jax.config.update(option, value)
    processes.initialize(_PROCESS.value, heartbeat=_HEARTBEAT.value)
    name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS['config'])).stem
    workdir = pathlib.Path(_WORKDIR.value or pathlib.Path('runs') / name)
    modes.run(_MODE.value, _CONFIG.value, workdir, input_file=_INPUT.value, output=_OUTPUT.value)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistyped field or value ends in one clear line."""
    try:
        rest = flags.FLAGS(argv)
        if _CONFIG.value is None:
            raise InputError('--config: name a configuration file, such as configs/svamp.py.')
        _CONFIG.value.to_dict()  # a file that could not be read says so at its first use
        return rest
    except (InputError, flags.Error) as error:
        _fail(error, '', 2)
    except (KeyError, AttributeError) as error:
        _fail(error, '--config: not found: ', 2)
    except Exception as error:  # a configuration file is Python, and may raise anything
        _fail(error, f'--config: {type(error).__name__}: ', 2)


def guarded(argv: list[str]) -> None:
    """`main` with one line that says what to do in place of a traceback."""
    if not flags.FLAGS['verbosity'].present:
        logging.set_verbosity(logging.WARNING)
    try:
        with interruption.handled():
            main(argv)
    except InputError as error:
        _fail(error, '', 1)
    except OSError as error:
        _fail(OSError(f'{error}; mend that, and run the same command again.'), '', 1)
    except jax.errors.JaxRuntimeError as error:
        processes.end_if_lost(error)
        raise
    except interruption.Interrupted as stop:
        processes.show(str(stop))
        sys.exit(stop.status)


def _fail(error: BaseException, what: str, code: int) -> NoReturn:
    while isinstance(error, KeyError | AttributeError) and error.args:
        error = error.args[0]  # the message itself; `str` of a KeyError is its `repr`
    text = str(error).strip()
    if 'Traceback' in text:  # ml_collections puts a whole one in the message
        text = text.splitlines()[-1]
    processes.show(f'error: {what}{" ".join(text.split())}')
    sys.exit(code)


if __name__ == '__main__':
    app.run(guarded, flags_parser=parse)
