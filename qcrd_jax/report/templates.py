"""Pages out of templates: all text is escaped, and pictures are in the page itself.

A page with rows to filter holds one script, and its policy names the digest of that: were any text
not escaped, no browser would run it.
"""

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
import markupsafe


def render(template: str, values: dict[str, Any]) -> str:
    """Fills a template of this package.

    Args:
      template: name of the file.
      values: what it shows; a name that is missing is an error, not an empty string.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('qcrd_jax', 'report'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['data_uri'] = _data_uri
    script = resources.files('qcrd_jax.report').joinpath('filter.js').read_text('utf-8')
    environment.globals['script'] = markupsafe.Markup(script)
    environment.globals['script_digest'] = script_digest(script)
    return environment.get_template(template).render(values)


def script_digest(script: str) -> str:
    """The digest of a script as a content security policy has it."""
    digest = hashlib.sha256(script.encode('utf-8')).digest()
    return f'sha256-{base64.b64encode(digest).decode("ascii")}'


def _data_uri(svg: bytes) -> str:
    return f'data:image/svg+xml;base64,{base64.b64encode(svg).decode("ascii")}'
