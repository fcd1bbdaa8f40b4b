"""The values of a table -> Markdown, LaTeX, HTML and CSV."""

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

TEMPLATES = Path(__file__).parent / "templates"
FORMATS = ("md", "tex", "html", "csv")


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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=extension == "html",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"tex": _escape_tex, "zip": lambda columns: zip(*columns, strict=True)}
    return environment.get_template(f"table.{extension}.j2").render(context)


def _wide(context: dict[str, Any]) -> pd.DataFrame:
    """One line per row; per metric the mean, the standard deviation, the number of runs and the published number."""
    lines, cells = [], context["values"].to_dict("index")
    for index, row in enumerate(context["table"].rows):
        line = dict(zip(context["table"].row_header, row.name, strict=True))
        for metric in context["columns"]:
            if (metric, index) in cells:
                values = cells[metric, index]
                line |= {metric: values["mean"], f"{metric}_std": values["std"], f"{metric}_runs": values["count"]}
                line[f"{metric}_published"] = values["published"]
        lines.append(line)
    return pd.DataFrame(lines)


def _escape_tex(text: str) -> str:
    replaced = "".join(
        {
            "&": r"\&",
            "%": r"\%",
            "#": r"\#",
            "_": r"\_",
            "^": r"\textsuperscript{",
            "²": r"\textsuperscript{2}",
            "σ": r"$\sigma$",
            "−": "$-$",
            "–": "--",
            "×": r"$\times$",
            "·": r"$\cdot$",
            "†": r"$\dagger$",
        }.get(c, c)
        for c in text
    )
    return replaced + "}" * text.count("^")
