"""What `qcrd --help` says, at once: nothing here imports JAX."""

from collections.abc import Sequence

from absl import flags

from qcrd_jax.command import configs, options

_TEXT = """\
qcrd: distil the reasoning of a large language model into a small one (QCRD, EMNLP 2025).

  qcrd --config=demo                                  train a tiny student, in minutes
  qcrd --config=svamp --workdir=runs/svamp            the paper's setting on SVAMP
  qcrd --config=svamp --config.train.steps=500        any field may be overridden
  qcrd --config=svamp --mode=config                   all fields, and what may stand in them
  qcrd --workdir=runs/svamp --mode=predict < questions.jsonl
                                                      a run knows its own configuration

--mode=
{modes}

--config=  a file, or the name of one of these:
{configs}

Other flags:
{flags}
"""


def asked(arguments: Sequence[str]) -> bool:
    """Returns whether the arguments ask for help."""
    return any(argument in ('--help', '-h', '-help', 'help') for argument in arguments)


def text() -> str:
    """Returns the help."""
    values = flags.FlagValues()
    options.define(values)
    modes = '\n'.join(f'  {mode:<11} {does}' for mode, does in options.MODES.items())
    others = '\n'.join(
        f'  --{name}=  {values[name].help}' for name in values if name not in ('config', 'mode')
    )
    names = '\n'.join(
        f'  {where}{", ".join(of_folder)}' for where, of_folder in configs.by_folder().items()
    )
    return _TEXT.format(modes=modes, configs=names, flags=others).strip()
