"""The table of throughput for people: numbers, empty cells with their reasons, foreign text."""

from types import SimpleNamespace

import pandas as pd

from rcm_reports.throughput import throughput_lead, throughput_markdown, throughput_table

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
    assert first["Roofline, frames/s"] == "60.00 (45\N{NO-BREAK SPACE}%)"
    assert second["Network, s"] == "–" and second["Frames/s"] == "–"
    assert "Text, s" not in first, "a column that says nothing of anyone is left out"
    assert "text: random weights have no text encoder" in table.reasons[0]
    assert table.reasons[1] == "not timed (b at 1)"


def test_foreign_text_stays_in_its_cell():
    text = throughput_markdown(throughput_table(SimpleNamespace(throughput=frame())))
    row = next(line for line in text.splitlines() if "27.00" in line)
    assert "<script>" not in text and row.replace("\\|", "").count("|") == 16


def test_a_rate_of_one_round_says_that_it_has_no_interval():
    one = frame().assign(low=None, high=None)
    table = throughput_table(SimpleNamespace(throughput=one))
    assert table.rows[0][table.heads.index("Frames/s")] == "27.00 no interval"


def test_the_fastest_is_said_in_words_with_what_it_stands_beside():
    said = throughput_lead(SimpleNamespace(throughput=frame()))
    assert said.startswith("At 4 steps a|b")
    assert "27.00 [26.50,\N{NO-BREAK SPACE}27.50] frames/s" in said
    assert "18.3 times as many as its teacher" in said and "1.85 times the published 14.60" in said
    alone = frame().assign(speedup=None, over_published=None)
    assert throughput_lead(SimpleNamespace(throughput=alone)).endswith("frames/s.")


def test_nothing_is_said_of_speed_where_none_was_timed():
    assert throughput_lead(SimpleNamespace(throughput=frame().iloc[1:])) == ""
    assert throughput_lead(SimpleNamespace(throughput=pd.DataFrame())) == ""


def test_no_table_where_it_was_not_asked_for():
    assert throughput_table(SimpleNamespace(throughput=pd.DataFrame())) is None
