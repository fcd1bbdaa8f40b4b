"""Names, titles and notes as they are written, in formats that give some characters a meaning."""

import re
import unicodedata

from markupsafe import Markup, escape

# A bracket only where it would make a link.
MARKDOWN = re.compile(r"([\\`*_<>|~$&]|\](?=[(\[:]))")
TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    "−": "$-$",
    "`": r"\textasciigrave{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "½": r"$\frac{1}{2}$",
    "°": r"$^\circ$",
    "†": r"$\dagger$",
    "…": r"\ldots{}",
}
LATIN_LOOK = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True))
# The last code point that LaTeX itself prints, given UTF-8 and an 8-bit font.
LATIN = 0x17F


def one_line(text: str) -> str:
    """Text with every white space as one blank: a line break would end a row of a table.

    Parameters
    ----------
    text : str
        Any text.
    """
    return " ".join(text.split())


def escape_markdown(text: str) -> str:
    """Text for Markdown, outside of code.

    Parameters
    ----------
    text : str
        Any text.
    """
    return MARKDOWN.sub(r"\\\1", one_line(text))


def escape_tex(text: str) -> str:
    """Text for LaTeX; see `needs_unicode_engine` for what it leaves as it is.

    Parameters
    ----------
    text : str
        Any text.
    """
    escaped = "".join(map(_tex, one_line(text)))
    return re.sub("-(?=-)", "-{}", escaped)  # two hyphens would be set as a dash


def escape_tex_heading(text: str) -> str:
    """A column's heading for LaTeX: what follows a caret is set as a superscript, as in ``AP^bb``.

    Parameters
    ----------
    text : str
        The heading.
    """
    first, raised = _superscripts(text)
    return escape_tex(first) + "".join(
        rf"\textsuperscript{{{escape_tex(power)}}}{blank}{escape_tex(rest)}" for power, blank, rest in raised
    )


def escape_html_heading(text: str) -> Markup:
    """A column's heading for HTML: what follows a caret is set as a superscript, as in ``AP^bb``.

    Parameters
    ----------
    text : str
        The heading.
    """
    first, raised = _superscripts(text)
    return escape(first) + Markup("").join(Markup("<sup>{}</sup>{}{}").format(*words) for words in raised)


def _superscripts(text: str) -> tuple[str, list[tuple[str, str, str]]]:
    """What comes before the first caret; for each caret the word that it raises, the blank after it, and the rest."""
    first, *raised = one_line(text).split("^")
    return first, [part.partition(" ") for part in raised]


def needs_unicode_engine(text: str) -> bool:
    """Whether LaTeX needs LuaLaTeX or XeLaTeX, and a font with the characters, to print a text.

    Parameters
    ----------
    text : str
        A table with everything escaped; its comments do not count.
    """
    code = "".join(line for line in text.splitlines() if not line.startswith("%"))
    return any(ord(character) > LATIN for character in code)


def _tex(character: str) -> str:
    if character in TEX:
        return TEX[character]
    if "α" <= character <= "ω" or "Α" <= character <= "Ω":
        return _greek(character)
    return character


def _greek(letter: str) -> str:
    """The command of a Greek letter; those that look Latin have none."""
    if letter in LATIN_LOOK:
        return LATIN_LOOK[letter]
    name = unicodedata.name(letter, "").split()
    if len(name) != 4 or name[2] != "LETTER":
        return letter  # with an accent, or a final sigma
    word = "lambda" if name[3] == "LAMDA" else name[3].lower()
    return rf"$\{word.capitalize() if name[1] == 'CAPITAL' else word}$"
