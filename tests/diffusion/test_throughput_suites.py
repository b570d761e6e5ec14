"""The shipped throughput suites from start to report: tiny networks, the clock of an H100."""

import re

import pandas as pd
import pytest
import tiny_models

import rcm_bench
from rcm_bench import environment, timing_rounds
from rcm_bench.diffusion import families, loading
from rcm_bench.suite_load import find_suite

# Seconds of a sample, near what an H100 takes: teachers reach most_seconds after two rounds.
SECONDS = {"teacher": 58.0, "teacher-1.3b": 58.0, "stock-teacher": 69.0, "rcm": 1.5}

TINY = tiny_models.WAN_CONFIG | {"patch_size": [1, 2, 2]}


def small(name, folder):
    """Return a shipped suite with what a CPU can do: size, steps, kernels; all else as it is."""
    path = find_suite(name)
    text = path.read_text()
    for old, new in [
        ("resolution: [480, 832]", "resolution: [16, 16]"),
        ("frames: 81", "frames: 5"),
        ("steps: [50]", "steps: [5]"),
        ("attention: cudnn", "attention: math"),
        ("decoder: triton", "decoder: eager"),
        ("compile: blocks", "compile: none"),
    ]:
        text, times = re.subn(re.escape(old), new, text)
        assert times, old
    (folder / "throughput_prompt.txt").write_text("a photo of a cat\n")
    (folder / f"{name}.yaml").write_text(text)
    return folder / f"{name}.yaml"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "teachers"),
    [
        ("throughput_wan", ["teacher", "stock-teacher"]),
        ("throughput_wan_14b", ["teacher-1.3b"]),
    ],
)
def test_a_shipped_suite_ends_with_table_and_report(name, teachers, tmp_path, monkeypatch):
    monkeypatch.setattr("rcm_reports.write_plots", lambda report, out: [])
    for size in families.WAN.architectures:
        monkeypatch.setitem(families.WAN.architectures, size, TINY)
    monkeypatch.setattr(loading, "VAE", {"base_dim": 3, "z_dim": 16, "num_res_blocks": 1})
    monkeypatch.setattr(environment, "device_name", lambda _: "NVIDIA H100 80GB HBM3")
    real = timing_rounds.once
    monkeypatch.setattr(
        timing_rounds,
        "once",
        lambda model, item, peak, **how: real(model, item, peak, **how)._replace(
            seconds=SECONDS[item.model] * item.steps if item.model == "rcm" else SECONDS[item.model]
        ),
    )
    outcome = rcm_bench.run(str(small(name, tmp_path)), tmp_path / "run")
    assert outcome.done
    table = pd.read_csv(tmp_path / "run" / "tables" / "throughput.csv").set_index("model")
    assert table["rounds"].to_dict() | {"rcm": 3} == dict.fromkeys(teachers, 2) | {"rcm": 3}
    assert table["share_of_roofline"].notna().all() and table["peak_megabytes"].notna().all()
    ours = table.drop(index="stock-teacher", errors="ignore")
    assert ours[["deviation_network", "deviation_decode"]].notna().all(axis=None)
    students = table.loc["rcm"].set_index("steps")
    if "stock-teacher" in teachers:
        assert students["speedup"].tolist() == pytest.approx([58 / 1.5, 58 / 3, 58 / 6])
        assert students.loc[1, "over_stock_teacher"] == pytest.approx(69 / 1.5)
    markdown = (tmp_path / "run" / "tables" / "throughput.md").read_text()
    assert markdown.count("\n| rcm ") == 3
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "Deviation, network" in page and "Roofline" in page
