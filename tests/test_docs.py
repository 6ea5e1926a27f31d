"""README and the pages of the documentation: what they link to, and name, is there."""

import ast
import contextlib
import io
import pathlib
import re

import pytest
from absl import flags

from qcrd_jax import fields, losses
from qcrd_jax.command import configs, options
from qcrd_jax.config import base_config
from qcrd_jax.methods.table import METHODS
from tests.support import REPOSITORY

DOCS = REPOSITORY / 'docs'
PAGES = sorted(DOCS.rglob('*.md'))
TEXTS = [REPOSITORY / 'README.md', REPOSITORY / 'CONTRIBUTING.md', *PAGES]
FIELDS = dict(fields.leaves(base_config()))
GROUPS = {name.rpartition('.')[0] for name in FIELDS}


def named(path: pathlib.Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def in_order(text: str) -> list[str]:
    """The pages that the tables of contents of a page name."""
    trees = re.findall(r'^```\{toctree\}\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for tree in trees for line in tree.splitlines()]
    return [line for line in lines if line and not line.startswith(':')]


def reached(page: pathlib.Path) -> list[pathlib.Path]:
    below = [page.parent / f'{name}.md' for name in in_order(page.read_text())]
    return [page, *(found for each in below for found in reached(each))]


def links(text: str) -> list[str]:
    """The targets of the links of a page that are not on other sites."""
    prose = re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r'\]\(([^)\s]+)\)', prose)
    return [target for target in targets if not target.startswith(('http://', 'https://'))]


def anchors(page: pathlib.Path) -> set[str]:
    """What a link may name behind # of a page, as Git hosts and the site make it of headings."""
    prose = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r'^#+ (.*)', prose, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def commands(text: str) -> list[str]:
    """The command lines of a page that call qcrd or run.py, each in one line."""
    lines = re.sub(r'\\\n', ' ', text).splitlines()
    found = [re.findall(r'(?:(?<!--method )\bqcrd|\brun\.py) (--[^`#|]*)', line) for line in lines]
    return [command for each in found for command in each]


def broken(page: pathlib.Path) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for target in links(page.read_text()):
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


def test_every_page_is_in_the_table_of_contents_once():
    pages = reached(DOCS / 'index.md')
    assert sorted(pages) == PAGES


@pytest.mark.parametrize('page', TEXTS, ids=named)
def test_every_link_leads_somewhere(page):
    assert broken(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('# Here\n\n[a](page.md#here) [b](page.md#there) [c](gone.md) [d](#here)\n')
    assert broken(page) == ['page.md#there', 'gone.md']


@pytest.mark.parametrize('page', TEXTS, ids=named)
def test_every_flag_field_mode_and_configuration_exists(page):
    values = flags.FlagValues()
    options.define(values)
    text = page.read_text()
    for command in commands(text):
        names = re.findall(r'(?<!\S)--([\w.]+)', command)
        given = {name for name in names if not name.startswith('config.')}
        assert given <= {*values, 'config', 'help'}, command
    for name in re.findall(r'--config\.([\w.]*\w)(?!\w|\.\w)', text):
        assert name in FIELDS, f'--config.{name}'
    for group in re.findall(r'--config\.([\w.]+)\.\*', text):
        assert group in GROUPS, f'--config.{group}.*'
    for mode in re.findall(r'--mode=(\w+)', text):
        assert mode in options.MODES, f'--mode={mode}'
    for name in re.findall(r'--config=([\w/.]+)', text):
        configs.path_of(name)


METHODS_PAGE = (DOCS / 'methods.md').read_text()
ROWS = [
    [cell.strip() for cell in line.strip('|').split(' | ')]
    for line in METHODS_PAGE.splitlines()
    if line.startswith('| ')
]


def test_every_table_and_figure_of_the_paper_has_its_row():
    there = {
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob('configs/paper/*.py')
    }
    rows = {row[-1].strip('`'): row[2].strip('`') for row in ROWS if 'configs/paper/' in row[-1]}
    assert rows == {path: path.removeprefix('configs/').removesuffix('.py') for path in there}


def test_every_method_has_its_row_with_its_loss():
    rows = {row[0].strip('`'): row for row in ROWS if '--config.method=' in row[1]}
    assert rows.keys() == METHODS.keys()
    for name, (_, configuration, _, loss) in rows.items():
        assert configuration.strip('`').split()[0] == f'--config.method={name}'
        functions = set(re.findall(r'`(\w+_\w+)`', loss))
        assert functions and functions <= set(losses.__all__), functions


def test_every_equation_has_its_row_with_its_function():
    rows = {row[0]: row for row in ROWS if row[0].isdigit()}
    assert [*rows] == [str(number) for number in range(1, 9)]
    for number in range(2, 9):
        functions = set(re.findall(r'`(\w+)`', rows[str(number)][2])) - {'positive', 'negative'}
        ours = {each for each in functions if not each.endswith('_scores')}
        assert ours and ours <= set(losses.__all__), ours


def test_the_values_in_the_tables_are_the_defaults():
    tables = '\n'.join(line for line in METHODS_PAGE.splitlines() if line.startswith('|'))
    pairs = re.findall(r'[`\s](?:--config\.)?([a-z]+\.[a-z_]+)=([^`\s]+)', tables)
    assert len(pairs) > 20
    for name, value in pairs:
        default = FIELDS[name]
        assert default == (value if isinstance(default, str) else ast.literal_eval(value)), name


def test_the_loss_in_ten_lines_is_what_it_says():
    blocks = re.findall(
        r'^```python\n(.*?)^```', (REPOSITORY / 'README.md').read_text(), re.M | re.S
    )
    (block,) = (block for block in blocks if 'contrastive_loss' in block)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(block, 'README.md', 'exec'), {})
    assert shown.getvalue().strip() == '[0.86]'
    assert block.rstrip().endswith('= 0.86')
