"""The report as one HTML page with the samples' files beside it: no network, no framework.

The page alone says everything, with thumbnails inside it, and needs no script; images at full size,
videos and the viewer need the folder ``media`` beside it, and the script.
"""

import base64
import hashlib
import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from rcm_reports.chart_lines import NARROW, SMALL, WIDE, steps_chart
from rcm_reports.completeness import completeness
from rcm_reports.formatting import plural, visible
from rcm_reports.gallery import build_gallery, build_spread
from rcm_reports.gallery_data import gallery_json, take_samples
from rcm_reports.gate import gate_status
from rcm_reports.inputs import ReportInput, records
from rcm_reports.links import targets
from rcm_reports.media import FOLDER, drop_media, put_media
from rcm_reports.pictures import Album, album
from rcm_reports.receipt import build_receipt, command
from rcm_reports.regressions import build_regressions
from rcm_reports.score_tables import benchmark_sections, links, reference_name, time_table
from rcm_reports.study import Study, build_study
from rcm_reports.svg import marker, tag
from rcm_reports.throughput import throughput_lead, throughput_table
from rcm_reports.tradeoffs import tradeoff_charts
from rcm_reports.verdict import verdict

MAX_FAILURES = 50
UNKNOWN = "not recorded"
"""Stands in a protocol where nobody knows: whether brought samples share seeds, for one."""
STYLES = ("style.css", "gallery.css")
SCRIPTS = ("view.js", "media.js", "video.js", "table.js", "gallery.js")


class BuiltPage(NamedTuple):
    """A page as text, and the files that it wants beside it, by name."""

    text: str
    media: dict[str, Path]


def render(report_input: ReportInput, out: Path) -> Path:
    """Write the report of a run; the same input gives the same bytes.

    Args:
        report_input: The receipt and the tables of the run.
        out: A folder, which gets an ``index.html``, or the path of the page, ending in ``.html``.

    Returns:
        Path of the page.
    """
    path = out if out.suffix == ".html" else out / "index.html"
    page, media = build_page(report_input)
    path.parent.mkdir(parents=True, exist_ok=True)
    put_media(media, path.parent / FOLDER)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
    drop_media(media, path)
    return path


def page_text(report: ReportInput) -> str:
    """Return the page as text."""
    return build_page(report).text


def build_page(report: ReportInput) -> BuiltPage:
    """Return the page and the files that belong beside it; writes nothing."""
    study = build_study(report)
    whole = completeness(report)
    shown = album(report, study)
    style, script = "".join(map(_asset, STYLES)), _script()
    gallery, spread = build_gallery(shown), build_spread(shown)
    regressions = build_regressions(shown)
    viewer_note = take_samples(shown)
    charts, small = _steps_charts(study), _small_charts(study)
    quality = study.quality.benchmark if study.quality else ""
    sections = benchmark_sections(study)
    said = verdict(study, whole, throughput_lead(report))
    context: dict[str, Any] = {
        "title": _title(report),
        "csp": _policy(style, script),
        "style": Markup(style),  # noqa: S704
        "script": Markup(script),  # noqa: S704
        "facts": _facts(report, study),
        "verdict": said,
        "reference": reference_name(study),
        "gate": gate_status(report.manifest),
        "targets": targets([*said.links(), *links(sections)]),
        "charts": charts,
        "part_charts": [each for each in small if not charts and each[0] == quality],
        "small_charts": [each for each in small if charts or each[0] != quality],
        "legend": [
            (study.label(series), study.style(series).css, _key(study, index))
            for index, series in enumerate(study.series)
        ],
        "sections": sections,
        "times": time_table(study),
        "throughput": throughput_table(report),
        "tradeoffs": tradeoff_charts(study),
        "gallery": gallery,
        "viewer_note": viewer_note,
        "same_seed": UNKNOWN not in str((report.manifest.get("protocol") or {}).get("seeds")),
        "spread": spread,
        "regressions": regressions,
        "failures": _failures(report),
        "num_failures": len(report.failures),
        "max_failures": MAX_FAILURES,
        "receipt": build_receipt(report, study),
        "command": command(report.manifest),
        "data": Markup(_inert(gallery_json(shown))),  # noqa: S704
        "study": study,
    }
    text = _environment().get_template("report.html.jinja").render(context)
    return BuiltPage(text, _media(shown))


def _media(shown: Album) -> dict[str, Path]:
    return {s.medium.name: s.medium.path for s in shown.shots.values() if s.medium}


def _title(report: ReportInput) -> str:
    suite = report.manifest.get("suite") or {}
    return visible(suite.get("suite") or suite.get("name") or "run", 120)


def _facts(report: ReportInput, study: Study) -> list[str]:
    """Return what identifies the run, for one line under the title."""
    manifest = report.manifest
    facts = (
        [f"protocol {visible(manifest['protocol_fingerprint'], 20)}"]
        if manifest.get("protocol_fingerprint")
        else []
    )
    plan = manifest.get("plan") or {}
    if isinstance(plan.get("num_prompts"), int) and isinstance(plan.get("samples_per_prompt"), int):
        prompts, seeds = plural(plan["num_prompts"], "prompt"), plan["samples_per_prompt"]
        facts.insert(0, f"{prompts} \N{MULTIPLICATION SIGN} {plural(seeds, 'seed')}")
    device = (manifest.get("environment") or {}).get("device")
    facts += [visible(device, 80)] if device else []
    facts += (
        [visible(str(manifest["created"])[:16].replace("T", " "), 40)]
        if manifest.get("created")
        else []
    )
    return facts


def _steps_charts(study: Study) -> list[Markup]:
    metric = study.quality
    if metric is None or not study.measured(metric):
        return []
    return [steps_chart(f"steps-{size.width}", study, metric, size) for size in (WIDE, NARROW)]


def _small_charts(study: Study) -> list[tuple[str, str, Markup]]:
    """Return one small chart for each metric but the main one: benchmark, title, chart."""
    metrics = [m for m in study.metrics if m != study.quality and not m.name.endswith("nfe")]
    return [
        (m.benchmark, m.full_title, steps_chart(f"small-{place}", study, m, SMALL))
        for place, m in enumerate(metrics)
        if study.measured(m)
    ]


def _key(study: Study, index: int) -> Markup:
    """Return the marker and dash of a line for the legend."""
    style = study.style(study.series[index])
    line = tag(
        "line",
        x1=1,
        x2=33,
        y1=7,
        y2=7,
        stroke="currentColor",
        stroke_width=2,
        stroke_dasharray=style.dash or None,
    )
    return tag(
        "svg",
        line,
        marker(17, 7, style),
        class_=f"key {style.css}",
        viewBox="0 0 34 14",
        width=34,
        height=14,
        aria_hidden="true",
    )


def _failures(report: ReportInput) -> list[list[str]]:
    rows = records(report.failures.head(MAX_FAILURES))
    names = ("stage", "status", "model", "steps", "prompt_id", "seed_index", "attempts", "message")
    return [[visible(row.get(name, ""), 400) for name in names] for row in rows]


def _policy(style: str, script: str) -> str:
    """Return a policy that allows files beside the page, and exactly this style and this script."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    return (
        "default-src 'none'; img-src 'self' data:; media-src 'self'; "
        f"style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _inert(text: str) -> str:
    """Return JSON that holds nothing a parser of HTML could act on."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _script() -> str:
    """Return the parts of the script as one, in a scope of its own."""
    parts = "".join(map(_asset, SCRIPTS))
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _asset(name: str) -> str:
    return resources.files("rcm_reports").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
