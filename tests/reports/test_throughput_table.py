"""The table of throughput for people: numbers, empty cells with their reasons, foreign text."""

from types import SimpleNamespace

import pandas as pd

from rcm_reports.throughput import throughput_markdown, throughput_table

EVIL = "a|b<script>=1+1"


def frame():
    whole = {
        "model": EVIL, "steps": 4, "evaluations": 4, "kernels": "decoder: triton",
        "network_seconds": 2.17, "decode_seconds": 0.8, "encode_seconds": 1.5,
        "peak_megabytes": 7800.0, "frames_per_second": 27.0, "low": 26.5, "high": 27.5,
        "speedup": 18.3, "over_stock_teacher": 22.6, "published_frames_per_second": 14.6,
        "over_published": 1.85, "roofline_frames_per_second": 60.0, "share_of_roofline": 0.45,
        "deviation_network": 1.02, "deviation_decode": 0.86,
        "reasons": "text: random weights have no text encoder",
    }  # fmt: skip
    empty = {"model": "b", "steps": 1, "kernels": "as diffusers has it", "reasons": "not timed"}
    return pd.DataFrame([whole, empty])


def test_cells_and_reasons():
    table = throughput_table(SimpleNamespace(throughput=frame()))
    first, second = (dict(zip(table.heads, row, strict=True)) for row in table.rows)
    assert first["Network, s"] == "2.170" and first["Memory, GB"] == "7.8"
    assert first["Frames/s"].startswith("27.00 [26.50")
    assert first["Teacher, same kernels"] == "18.3×" and first["Teacher as it comes"] == "22.6×"
    assert first["Published, frames/s"] == "14.60 (1.85×)"
    assert first["Roofline, frames/s"] == "60.00 (45 %)"
    assert first["Text, s"] == "–" and second["Frames/s"] == "–"
    assert "text: random weights have no text encoder" in table.reasons[0]
    assert table.reasons[1] == "not timed (b at 1)"


def test_foreign_text_stays_in_its_cell():
    text = throughput_markdown(throughput_table(SimpleNamespace(throughput=frame())))
    row = next(line for line in text.splitlines() if "27.00" in line)
    assert "<script>" not in text and row.replace("\\|", "").count("|") == 17


def test_no_table_where_it_was_not_asked_for():
    assert throughput_table(SimpleNamespace(throughput=pd.DataFrame())) is None
