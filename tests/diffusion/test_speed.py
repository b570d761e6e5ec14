"""The command that times every way side by side, on a tiny network and a tiny autoencoder."""

import json

import pytest

from rcm_bench.diffusion import families, loading, speed


@pytest.mark.long
def test_every_way_has_a_row_or_a_reason(tmp_path, monkeypatch):
    tiny = {**families.WAN.architectures["1.3B"], "num_attention_heads": 1, "ffn_dim": 64,
            "num_layers": 1, "attention_head_dim": 24, "text_dim": 32}  # fmt: skip
    monkeypatch.setitem(families.WAN.architectures, "1.3B", tiny)
    monkeypatch.setattr(loading, "VAE", {"base_dim": 3, "z_dim": 16, "num_res_blocks": 1})
    monkeypatch.setattr(speed, "pick_device", lambda: "cpu")
    # Compiling takes longer than all else here.
    monkeypatch.setattr(
        speed, "DECODERS", [w for w in speed.DECODERS if w["decoder"] != "compiled"]
    )
    monkeypatch.setattr(speed, "NETWORKS", [w for w in speed.NETWORKS if w["compile"] == "none"])
    out = tmp_path / "speed.json"
    speed.main(["--out", str(out), "--resolution", "16", "16", "--frames", "5", "--rounds", "2"])
    said = json.loads(out.read_text())
    rows = {(row["part"], json.dumps(row["kernels"])): row for row in said["rows"]}
    assert len(rows) == len(said["rows"]) == 6 + 2 and said["frames"] == 5
    for part in ("decode", "network"):
        plain = rows[part, "{}"]
        assert plain["over_plain"] == 1 and plain["deviation"] > 0 and len(plain["rounds"]) == 2
        assert plain["seconds"] in plain["rounds"] and plain["peak_bytes"] > 1e6
    ours = rows["decode", '{"decoder": "eager"}']
    assert ours["deviation"] > 0 and ours["over_plain"] > 0
    for key in (("decode", '{"decoder": "triton"}'), ("network", '{"attention": "cudnn"}')):
        assert "needs a CUDA device, got 'cpu'" in rows[key]["missing"]
