"""Pages out of templates: all text is escaped, and pictures are in the page itself."""

import base64
from typing import Any

import jinja2


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
    return environment.get_template(template).render(values)


def _data_uri(svg: bytes) -> str:
    return f'data:image/svg+xml;base64,{base64.b64encode(svg).decode("ascii")}'
