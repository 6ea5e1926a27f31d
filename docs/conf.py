"""The site of the documentation, by Sphinx: `make docs`.

The pages are Markdown, written for a Git host, where their links to files of the repository work as
they are. Two of them have a comment where the site has more than the file: every field of a
configuration in `configuration.md`, and CONTRIBUTING.md in `extend.md`.
"""

import pathlib
import re
import sys

DOCS = pathlib.Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
sys.path.insert(0, str(REPOSITORY))

project = 'qcrd_jax'
author = 'The qcrd_jax authors'
html_title = project
html_theme = 'furo'
html_show_copyright = False
smartquotes = False  # what is quoted is often code

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']
exclude_patterns = ['build']
myst_heading_anchors = 3
highlight_language = 'none'  # of blocks that name no language: commands, and what they print

default_role = 'literal'  # docstrings have names between single backticks
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
napoleon_use_ivar = True  # a class says its fields once, under "Attributes"
napoleon_use_rtype = False
napoleon_attr_annotations = False  # shapes look like emphasis

_LINK = re.compile(r'\[([^\]]*)\]\((\.\./[^)\s]*)\)')
_ON_THE_SITE = {'README.md': 'index.md', 'CONTRIBUTING.md': 'extend.md'}


def setup(app):
    """Has Sphinx ask what a page and a docstring are on the site."""
    app.connect('source-read', _read)
    app.connect('autodoc-skip-member', _skip)
    app.connect('autodoc-process-signature', _sign)


def _read(app, name: str, source: list[str]) -> None:
    """Fills a page in, and resolves its links to files of the repository."""
    text = source[0]
    for comment, function in (('fields', _fields), ('contributing', _contributing)):
        text = text.replace(f'<!-- on the site: {comment} -->', function())
    page = pathlib.Path(app.env.doc2path(name))
    source[0] = _LINK.sub(lambda link: _resolved(page, *link.groups()), text)


def _resolved(page: pathlib.Path, words: str, target: str) -> str:
    """Returns a link as the site has it: to a page, to a file to download, or only its words."""
    path, mark, anchor = target.partition('#')
    file = (page.parent / path).resolve()
    if DOCS in file.parents:
        return f'[{words}]({target})'
    inside = file.relative_to(REPOSITORY).as_posix()
    if inside in _ON_THE_SITE:
        return f'[{words}](/{_ON_THE_SITE[inside]}{mark}{anchor})'
    return f'[{words}]({path})' if file.is_file() else words


def _contributing() -> str:
    """Returns CONTRIBUTING.md as sections of a page: links from `docs`, without its title."""
    text = (REPOSITORY / 'CONTRIBUTING.md').read_text()
    return text.partition('\n')[2].replace('](docs/', '](')


def _fields() -> str:
    """Returns every field of a configuration, in a table for each group."""
    from qcrd_jax import fields
    from qcrd_jax.config import base_config

    lines, group = [], None
    for field in fields.described(base_config()):
        of, dot, _ = field.name.rpartition('.')
        if of != group:
            title = f'`{of}`' if dot else 'Of the whole run'
            lines += ['', f'## {title}', '', '| field | default | what it is |', '|---|---|---|']
            group = of
        named = all(choice in field.meaning for choice in field.allowed.split(' | '))
        meaning = field.meaning if named else f'{field.meaning}; {field.allowed}'
        default = repr(field.default).replace('|', r'\|')
        lines.append(f'| `{field.name}` | `{default}` | {_escaped(meaning)} |')
    return '\n'.join(lines)


def _escaped(text: str) -> str:
    """Returns a text in which Markdown finds nothing but words."""
    return re.sub(r'([\\`*_\[\]<>|$])', r'\\\1', text)


def _skip(app, what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Leaves the fields of named tuples out, which their class describes."""
    return True if type(member).__name__ == '_tuplegetter' else None


def _sign(app, what: str, name: str, member: object, options: object, given, returned):
    """Calls arrays what the code calls them."""
    return tuple(text and text.replace('jaxlib._jax.Array', 'Array') for text in (given, returned))
