"""The values of a table -> Markdown, LaTeX, HTML and CSV."""

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from reports.cells import GainCell
from reports.escaping import (
    escape_html_heading,
    escape_markdown,
    escape_tex,
    escape_tex_heading,
    needs_unicode_engine,
    one_line,
)

TEMPLATES = Path(__file__).parent / "templates"
FORMATS = ("md", "tex", "html", "csv")
# How sentences write names; HTML is escaped by its templates.
ESCAPES = {"md": escape_markdown, "tex": escape_tex, "html": one_line}
UNICODE_ENGINE = "% Has characters that pdfLaTeX cannot print: LuaLaTeX or XeLaTeX, with a font that has them.\n"


def render(context: dict[str, Any], extension: str) -> str:
    """The table in one of `FORMATS`.

    Parameters
    ----------
    context : dict
        Values for the templates, from `make_table`.
    extension : {'md', 'tex', 'html', 'csv'}
        The format.
    """
    if extension == "csv":
        return _wide(context).to_csv(index=False)
    template = _environment(autoescape=extension == "html").get_template(f"table.{extension}.j2")
    text = template.render(context, escape=ESCAPES[extension])
    return UNICODE_ENGINE + text if extension == "tex" and needs_unicode_engine(text) else text


@cache
def _environment(autoescape: bool) -> jinja2.Environment:
    """The templates' environment, which keeps what it has compiled."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "tex": escape_tex,
        "tex_heading": escape_tex_heading,
        "html_heading": escape_html_heading,
        "md": escape_markdown,
        "one_line": one_line,
        "zip": lambda columns: zip(*columns, strict=True),
    }
    environment.tests["gain"] = lambda cell: isinstance(cell, GainCell)
    return environment


def _wide(context: dict[str, Any]) -> pd.DataFrame:
    """One line per row; per metric the mean, the standard deviation, the number of runs and the published number."""
    lines, cells = [], context["values"].to_dict("index")
    for index, row in enumerate(context["table"].rows):
        line = dict(zip(context["table"].row_header, row.name, strict=True))
        for metric in context["metrics"]:
            if (metric, index) in cells:
                values = cells[metric, index]
                line |= {metric: values["mean"], f"{metric}_std": values["std"], f"{metric}_runs": values["count"]}
                line[f"{metric}_published"] = values["published"]
        lines.append(line)
    return pd.DataFrame(lines)
