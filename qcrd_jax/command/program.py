"""The command once its imports are there: flags parsed, one mode run, errors in one line."""

import functools
import os
import pathlib
import sys
from collections.abc import Callable
from typing import NoReturn

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from qcrd_jax import fields, files, interruption, processes
from qcrd_jax.command import configs, options
from qcrd_jax.errors import InputError
from qcrd_jax.runs import compilation
from qcrd_jax.runs.workdir import CONFIG


def start(run: Callable[..., None]) -> None:
    """Runs the command with the arguments of this process.

    Args:
      run: `modes.run`.
    """
    app.run(functools.partial(_guarded, run), flags_parser=_parse)


def _main(run: Callable[..., None], argv: list[str]) -> None:
    given = flags.FLAGS
    if len(argv) > 1:
        raise InputError(f'unexpected argument {argv[1]!r}; flags look like --name=value.')
    kept = compilation.options(given.compilation_cache, os.environ.get('JAX_COMPILATION_CACHE_DIR'))
    for option, value in kept.items():
        jax.config.update(option, value)
    processes.initialize(given.process, heartbeat=given.heartbeat)
    run(
        given.mode,
        given.config,
        _workdir(given.workdir),
        input_file=given.input,
        output=given.output,
        push=given.push,
        compare=given.compare,
    )


def _workdir(named: str | None) -> pathlib.Path:
    if named:
        return pathlib.Path(named)
    name = config_flags.get_config_filename(flags.FLAGS['config'])
    return pathlib.Path('runs') / pathlib.Path(name).stem


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistyped field or value ends in one clear line."""
    try:
        options.define(flags.FLAGS)
        rest = flags.FLAGS(_configured(argv))
        flags.FLAGS.config.to_dict()  # a file that could not be read says so at its first use
        return rest
    except (InputError, flags.Error) as error:
        _fail(error, '', 2)
    except (KeyError, AttributeError) as error:
        _fail(error, '--config: not found: ', 2)
    except Exception as error:  # a configuration file is Python, and may raise anything
        _fail(error, f'--config: {type(error).__name__}: ', 2)


def _configured(argv: list[str]) -> list[str]:
    """Defines `--config`: a file, or what the workdir says; returns the arguments for it."""
    program, *arguments = argv
    name, workdir = (configs.flag(arguments, flag) for flag in ('config', 'workdir'))
    if name is not None:
        config_flags.DEFINE_config_file('config', None, 'Configuration of the run.')
        return [program, *configs.with_flag(arguments, 'config', configs.path_of(name))]
    recorded = pathlib.Path(workdir) / CONFIG if workdir else None
    if recorded is None or not recorded.is_file():
        known = '' if workdir is None else f'; {workdir} holds no run that would know its own'
        raise InputError(
            '--config: name a configuration, such as svamp, or a file, such as configs/svamp.py'
            f'{known} (qcrd --help lists them).'
        )
    config = fields.from_json(files.read_json(recorded), str(recorded))
    config_flags.DEFINE_config_dict('config', config, 'Configuration of the run.')
    return argv


def _guarded(run: Callable[..., None], argv: list[str]) -> None:
    """`_main` with one line that says what to do in place of a traceback."""
    if not flags.FLAGS['verbosity'].present:
        logging.set_verbosity(logging.WARNING)
    try:
        with interruption.handled():
            _main(run, argv)
    except InputError as error:
        _fail(error, '', 1)
    except BrokenPipeError:
        raise  # `| head` has seen enough: for who started this
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
