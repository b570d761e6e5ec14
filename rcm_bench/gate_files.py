"""What a gate found, for machines of continuous integration: JUnit XML and Markdown."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from rcm_bench.errors import UserError
from rcm_bench.gates import Check
from rcm_reports.escaping import markdown
from rcm_reports.formatting import visible

_SIGNS = {
    "pass": "\N{WHITE HEAVY CHECK MARK} pass",
    "fail": "\N{CROSS MARK} fail",
    "inconclusive": "\N{WHITE QUESTION MARK ORNAMENT} inconclusive",
}


def figures(check: Check) -> str:
    """Spell the loss of a check with its interval, beside the margin."""
    if check.loss != check.loss:
        return f"margin {check.margin:g} {check.unit}"
    interval = f" [{check.low:.3g}, {check.high:.3g}]" if check.low == check.low else ""
    return f"worse by {check.loss:.3g}{interval} {check.unit}, margin {check.margin:g}"


def junit(suite: str, checks: Sequence[Check]) -> str:
    """Return JUnit XML: a failure for a fail, an error for what is not decided.

    Names may hold anything: characters that XML has no place for are spelled as code points.
    """
    count = {o: str(sum(c.outcome == o for c in checks)) for o in ("fail", "inconclusive")}
    root = ElementTree.Element(
        "testsuite",
        name=visible(f"gates of {suite}"),
        tests=str(len(checks)),
        failures=count["fail"],
        errors=count["inconclusive"],
    )
    for check in checks:
        steps = "step" if check.steps == 1 else "steps"
        case = ElementTree.SubElement(
            root,
            "testcase",
            classname=visible(check.metric),
            name=visible(f"{check.model} at {check.steps} {steps} against {check.reference}"),
        )
        if check.outcome != "pass":
            kind = "failure" if check.outcome == "fail" else "error"
            message = visible(f"{check.reason}; {figures(check)}")
            ElementTree.SubElement(case, kind, type=check.outcome, message=message)
        else:
            ElementTree.SubElement(case, "system-out").text = visible(figures(check))
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def summary(suite: str, outcome: str, checks: Sequence[Check]) -> str:
    """Return a Markdown page: the verdict, then a table of all checks."""
    lines = [
        f"## Gates of {markdown(suite)}: {outcome}",
        "",
        "| | metric | model | steps | against | worse by (95 % interval) | margin | n | why |",
        "|---|---|---|--:|---|--:|--:|--:|---|",
    ]
    for check in checks:
        loss = "-" if check.loss != check.loss else f"{check.loss:.3g}"
        if check.low == check.low:
            loss += f" [{check.low:.3g}, {check.high:.3g}]"
        cells = [
            _SIGNS[check.outcome],
            *(markdown(text) for text in (check.metric, check.model)),
            str(check.steps),
            *(markdown(text) for text in (check.reference, loss, f"{check.margin:g}")),
            str(check.n),
            markdown(check.reason),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def write(path: Path, text: str) -> None:
    """Write a file that the user named.

    Raises:
        UserError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise UserError(f"{path}: cannot be written ({fault.strerror}: {fault.filename})") from None
