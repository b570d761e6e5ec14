"""Foreign text that stays text in CSV, Markdown and LaTeX."""

from rcm_reports.formatting import visible

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
LATEX = {
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
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
}
MARKDOWN = frozenset("\\`*_{}[]()#+-.!|<>~&$:@\"'=")


def csv_text(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, by OWASP's leading apostrophe."""
    stripped = text.lstrip(" ")
    return f"'{text}" if stripped.startswith(FORMULA_STARTS) else text


def markdown(text: object) -> str:
    """Return text for a Markdown table cell: no markup, no link, no HTML, one line."""
    return "".join(f"\\{c}" if c in MARKDOWN else c for c in visible(text))


def latex(text: object) -> str:
    """Return text for LaTeX; what pdfLaTeX has no letter for is written as its code point."""
    escaped = "".join(_latex_character(character) for character in visible(text))
    return escaped.replace("--", "-{}-").replace("--", "-{}-")


def _latex_character(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    return character if " " <= character < "\x7f" else rf"\texttt{{U+{ord(character):04X}}}"
