"""A process that measures another checkout with the benchmarks of this one.

    python -P benchmarks/worker.py <checkout> <module of benchmarks> <arguments as JSON>

The package is the checkout's, the benchmarks are those beside this file. The module's function
`serve` gets the arguments and what to answer on: lines of JSON on standard output.
"""

import importlib
import json
import os
import pathlib
import subprocess
import sys
from typing import IO, Any


def start(
    checkout: pathlib.Path, module: str, arguments: Any, **environment: str
) -> subprocess.Popen:
    """Starts a worker; its standard input and output are pipes of text.

    Args:
      checkout: what it measures.
      module: of benchmarks.
      arguments: of its `serve`.
      environment: variables that it has besides ours.
    """
    command = [sys.executable, '-P', str(pathlib.Path(__file__).resolve())]
    command += [str(checkout), module, json.dumps(arguments)]
    # A GPU may be shared by several: none may take all of its memory.
    variables = os.environ | {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'} | environment
    for name in ('PYTHONPATH', 'JAX_COMPILATION_CACHE_DIR'):
        variables.pop(name, None)
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=checkout,
        env=variables,
    )


def answer(answers: IO[str], **values: Any) -> None:
    """Writes a line of JSON."""
    answers.write(json.dumps(values) + '\n')
    answers.flush()


def _load(checkout: pathlib.Path) -> None:
    """Makes `qcrd_jax` the checkout's and `benchmarks` ours."""
    sys.path.insert(0, str(checkout))
    package = importlib.import_module('qcrd_jax')
    found = pathlib.Path(str(package.__file__)).resolve().parents[1]
    if found != checkout.resolve():
        raise SystemExit(f'expected the package of {checkout}, got that of {found}')
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])


def _main() -> None:
    # Whatever a library prints goes to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    checkout, module, arguments = sys.argv[1:]
    _load(pathlib.Path(checkout))
    importlib.import_module(f'benchmarks.{module}').serve(json.loads(arguments), answers)


if __name__ == '__main__':
    _main()
