"""The version of the code that numbers depend on: a digest that is blind to prose."""

import ast
import functools
import hashlib
import pathlib
from collections.abc import Iterator

# Every default of the configuration is the value of a field, which counts as such (`identity`);
# the module has nothing else. So a new field of a report orphans no run.
_BY_VALUE = ('qcrd_jax.config',)
_VERSION = "Name(id='__version__',ctx=Store())"


@functools.cache
def code_version(modules: tuple[str, ...], root: pathlib.Path | None = None) -> str:
    """Returns a digest of modules and of all that they import of their own package.

    It is made of the syntax trees without comments, positions, bare texts (docstrings, and those
    that describe a constant) and the number of the release. Whatever is rewritten as the same
    program is the same version.

    A module's name counts too. Blindness to it would win nothing, for where a module moves, the
    trees of those that import it change; and without it two modules could swap their contents.

    Args:
      modules: by their dotted names, where following the imports begins.
      root: the folder that holds the package; None: of this one.
    """
    root = root or pathlib.Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name, tree in sorted(_imported(modules, root).items()):
        digest.update(f'{name}\n{_text(tree)}\n'.encode())
    return digest.hexdigest()[:12]


def imported(modules: tuple[str, ...], root: pathlib.Path | None = None) -> list[str]:
    """Returns the modules that `code_version` reads, by their dotted names."""
    return sorted(_imported(modules, root or pathlib.Path(__file__).parents[1]))


def _imported(modules: tuple[str, ...], root: pathlib.Path) -> dict[str, ast.Module]:
    """The trees of modules and of what they import, wherever in a file that stands."""
    package = modules[0].partition('.')[0]
    for name in modules:
        if _file(name, root) is None:
            raise ValueError(f'modules: {name} is no module in {root}.')
    trees: dict[str, ast.Module] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file(name, root)
        if path is None or name in trees or name in _BY_VALUE:
            continue
        trees[name] = ast.parse(path.read_bytes(), str(path))
        for found in (name, *_names(trees[name], name, path.name == '__init__.py')):
            if found.partition('.')[0] == package:
                parts = found.split('.')  # importing a.b.c runs a and a.b first
                waiting += ['.'.join(parts[:count]) for count in range(1, len(parts) + 1)]
    return trees


def _file(name: str, root: pathlib.Path) -> pathlib.Path | None:
    """Where a module is; None for a name that is none, such as that of a function."""
    path = root.joinpath(*name.split('.'))
    for candidate in (path / '__init__.py', path.with_name(f'{path.name}.py')):
        if candidate.is_file():
            return candidate
    return None


def _names(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """What a module imports; of `from a import b` both a and a.b, for b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split('.')
            above = node.level - is_package
            base = '.'.join(parts[: len(parts) - above]) if node.level else ''
            base = '.'.join(filter(None, (base, node.module)))
            yield base
            yield from (f'{base}.{alias.name}' for alias in node.names)


def _text(node: object) -> str:
    """A tree as text. What is empty is left out, so that all versions of Python write the same."""
    if isinstance(node, list):
        return f'[{",".join(_text(item) for item in node if not _is_prose(item))}]'
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (
        f'{name}={_text(value)}'
        for name, value in ast.iter_fields(node)
        if value is not None and value != []
    )
    return f'{type(node).__name__}({",".join(fields)})'


def _is_prose(node: object) -> bool:
    """Whether a statement is a text and nothing else, or the number of a release."""
    if isinstance(node, ast.Assign):
        return [_text(target) for target in node.targets] == [_VERSION]
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
