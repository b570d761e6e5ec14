"""What a check of the kernels found, as files: JSON with every number, JUnit XML for CI."""

import json
import math
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from rcm_bench.gate_files import write
from rcm_reports.formatting import visible

if TYPE_CHECKING:
    from rcm_bench.verbs.kernels_check import Checked
    from rcm_kernels.check import CaseResult, Row

__all__ = ["as_json", "as_junit", "write"]

VERSION = 1


def as_json(checked: "Checked") -> str:
    """Return every error beside its budget; an error that is not finite is null."""
    found = {
        "version": VERSION,
        "green": checked.green,
        "seed": checked.seed,
        "environment": checked.environment,
        "ran": checked.ran,
        "not_run": checked.not_run,
        "cases": [_case(result) for result in checked.results],
    }
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _case(result: "CaseResult") -> dict[str, Any]:
    return {
        "impl": result.candidate,
        "case": result.case,
        "passed": result.passed,
        "raised": result.raised,
        "not_run": result.not_run,
        "rows": [
            {
                "quantity": row.quantity,
                "norm": row.norm,
                "error": row.error if math.isfinite(row.error) else None,
                "budget": row.budget,
                "passed": row.passed,
            }
            for row in result.rows
        ],
    }


def as_junit(checked: "Checked") -> str:
    """Return JUnit XML: one test case for each case, skipped if it was not run."""
    root = ElementTree.Element("testsuites")
    for impl in dict.fromkeys(result.candidate for result in checked.results):
        results = [result for result in checked.results if result.candidate == impl]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=visible(f"kernels check: {impl}"),
            tests=str(len(results)),
            failures=str(sum(result.failed for result in results)),
            skipped=str(sum(result.not_run is not None for result in results)),
        )
        for result in results:
            _testcase(suite, result)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _testcase(suite: ElementTree.Element, result: "CaseResult") -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=visible(f"kernels.{result.candidate}"),
        name=visible(result.case),
        time=f"{result.seconds:.3f}",
    )
    if result.not_run is not None:
        ElementTree.SubElement(case, "skipped", message=visible(result.not_run))
    elif result.failed:
        missed = [figures(row) for row in result.rows if not row.passed]
        message = visible(result.raised or missed[0])
        failure = ElementTree.SubElement(case, "failure", type="budget", message=message)
        failure.text = "; ".join(missed)


def figures(row: "Row") -> str:
    """Spell an error beside its budget."""
    return f"{row.quantity}, {row.norm}: error {row.error:.2e}, budget {row.budget:.2e}"
