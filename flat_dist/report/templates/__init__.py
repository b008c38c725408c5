"""HTML pages as templates, each self-contained once it is rendered."""

from typing import Any

import jinja2


def render(name: str, **values: Any) -> bytes:
    """The page of that name."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` writes <, > and & as escapes, so that no text ends the script element that holds it
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    return environment.get_template(name).render(values).encode("utf-8", "replace")
