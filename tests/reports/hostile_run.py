"""A run in which every name is an attack; for every kind of document."""

from dataclasses import replace
from pathlib import Path

from synthetic_report import SMALL, build

from rcm_reports import ReportInput

SCRIPT = "<script>alert(1)</script>"
FORMULA = '=HYPERLINK("http://x","y")'
COMMAND = r"\input{/etc/passwd}\end{tabular}$x_1$ 100% #1 ^~{}&"
LONG = "M" * 10_000
TURNED = "left \u202e thgir \u2066 x"
NAMES = {"teacher": FORMULA, "rcm": COMMAND, "scm": LONG, "dmd2": SCRIPT + TURNED}


def hostile_run(folder: Path) -> ReportInput:
    run = build(folder, replace(SMALL, names=NAMES, images=False))
    metrics = dict(run.manifest["metrics"])
    about = {**metrics["geneval.overall"], "title": COMMAND + SCRIPT, "unit": "accuracy | %"}
    manifest = {
        **run.manifest,
        "suite": {"suite": SCRIPT + FORMULA},
        "metrics": {**metrics, "geneval.overall": about},
        "command": f"python `{COMMAND}` {SCRIPT}",
        "environment": {SCRIPT: LONG},
        "remarks": [SCRIPT],
    }
    return replace(run, manifest=manifest)
