"""A run in which every name, prompt and message tries to be more than text."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
from synthetic_report import SMALL, build

from rcm_reports import ReportInput

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)' x='",
    "</script><script>alert(2)</script><!--",
    "{{ 7*7 }}{% raw %}",
    "line one\nline two\r\n\ttabbed\x00\x07",
    "left \u202e thgir \u2066 isolated \u200f",
    "\u05d0\u05d1\u05d2 \u0645\u0631\u062d \U0001f984\u200d\U0001f308 \u00fcber \u2028 \u2029",
    "../../etc/passwd\\..\\x/%00 $HOME `id` $(id)",
    "javascript:alert(1)",
    "lone \ud800 surrogate",
    "x" * 10_000,
)
NAMES = {"teacher": EVIL[1], "rcm": EVIL[0], "scm": EVIL[6], "dmd2": "=cmd|'/c calc'!A1\n</style>"}


def evil_run(folder: Path) -> ReportInput:
    # Where pyarrow is installed pandas makes no table of a lone surrogate, unless told to.
    with pd.option_context("mode.string_storage", "python"):
        run = build(folder, replace(SMALL, names=NAMES, prompts=EVIL))
    scores = run.scores.assign(
        reason=EVIL[0],
        details=json.dumps({"boxes": [[1, 2, 3, 4, 0.5, EVIL[3]]], "correct": False}),
    )
    failure = {"item_id": "x", "model": EVIL[1], "sampler": "s", "steps": 1, "stage": "sample"}
    failures = pd.DataFrame([failure | {"status": EVIL[0], "message": EVIL[3], "prompt_id": "p"}])
    manifest = {
        **run.manifest,
        "suite": {"suite": EVIL[3], EVIL[0]: EVIL[1]},
        "protocol": {EVIL[0]: {EVIL[1]: EVIL[3], "list": [EVIL[2]]}},
        "environment": {"device": EVIL[1]},
        "created": EVIL[0],
        "command": EVIL[3],
    }
    metrics = dict(manifest["metrics"])
    metrics["geneval.overall"] = {**metrics["geneval.overall"], "title": EVIL[0], "about": EVIL[3]}
    manifest["metrics"] = metrics
    return replace(run, scores=scores, failures=failures, manifest=manifest)
