"""The flags of the command beside `--config`, which is a configuration with all its fields."""

from absl import flags

# What every mode of `modes.MODES` does, in the order of a user's work.
MODES = {
    'prepare': 'read and tokenise the data; say what was read and how good the teacher is',
    'annotate': 'have an LLM answer every question K times',
    'train': 'train, select, test, export, report; or resume where it was (the default)',
    'evaluate': 'test the selected student again',
    'predict': 'answer questions of --input, or of standard input: JSON lines with "input"',
    'export': 'write the selected student for Hugging Face transformers; --push publishes it',
    'report': "write a run's page again; --compare=<workdir> sets it beside another run",
    'judge': 'have an LLM compare the rationales of two runs',
    'pairs': "write right and wrong rationales as preferences, for TRL's trainers",
    'reproduce': 'run what is missing of a table or figure, with several seeds',
    'config': 'list every field: value, choices, unit, place in the paper',
}


def define(values: flags.FlagValues) -> None:
    """Defines them there."""
    flags.DEFINE_string(
        'workdir',
        None,
        'Folder of the run; by default runs/<name of the configuration>. One that holds a run '
        'needs no --config.',
        flag_values=values,
    )
    flags.DEFINE_enum('mode', 'train', sorted(MODES), 'What to do.', flag_values=values)
    flags.DEFINE_string(
        'input',
        None,
        'predict: JSON lines with "input" and, if you like, "id" and "options"; by default they '
        'are read from standard input.',
        flag_values=values,
    )
    flags.DEFINE_string(
        'output', None, 'predict: where to write; else to standard output.', flag_values=values
    )
    flags.DEFINE_string(
        'push',
        None,
        'export: the Hub repository, <user>/<name>, to publish the student in; the token comes '
        'from the environment (HF_TOKEN) or `hf auth login`.',
        flag_values=values,
    )
    flags.DEFINE_string('compare', None, 'report: the workdir of another run.', flag_values=values)
    flags.DEFINE_string(
        'compilation_cache',
        '',
        "Folder of compiled programs; '': the user's own, 'off': none is kept.",
        flag_values=values,
    )
    flags.DEFINE_string(
        'process',
        '',
        "<number>/<count>@<host:port of the first>, of several; '': by the environment.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        'heartbeat',
        60,
        'Of several processes: seconds after which a silent one counts as dead.',
        flag_values=values,
    )
