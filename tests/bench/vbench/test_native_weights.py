"""Weight files of the native dimensions: held to digests, every name of both sides, no code run."""

import hashlib
import os
import threading
from pathlib import Path

import pytest
import torch

from rcm_bench.checkpoints.fill import fill
from rcm_bench.errors import UserError
from rcm_bench.vbench.native import weights
from rcm_bench.vbench.native.networks import load_aesthetic
from rcm_bench.vbench.native.weights import AESTHETIC, CLIP_B, RAFT, WeightFiles


def put(folder: Path, name: str, state: object) -> WeightFiles:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return WeightFiles(folder=folder, digests={name: digest})


def test_weights_are_loaded_as_they_were_saved(tmp_path):
    layer = torch.nn.Linear(768, 1)
    loaded = load_aesthetic(put(tmp_path, AESTHETIC, layer.state_dict()), "cpu")
    assert torch.equal(loaded.weight, layer.weight) and torch.equal(loaded.bias, layer.bias)


def test_weights_of_the_older_format_go_to_the_device_that_is_asked_for(tmp_path):
    layer = torch.nn.Linear(768, 1)
    put(tmp_path, AESTHETIC, {})
    torch.save(layer.state_dict(), tmp_path / AESTHETIC, _use_new_zipfile_serialization=False)
    digest = hashlib.sha256((tmp_path / AESTHETIC).read_bytes()).hexdigest()
    files = WeightFiles(folder=tmp_path, digests={AESTHETIC: digest})
    assert torch.equal(files.state(AESTHETIC)["weight"], layer.weight)
    assert files.state(AESTHETIC, "meta")["weight"].device.type == "meta"


def test_files_are_hashed_side_by_side_and_the_first_at_fault_is_named(tmp_path, monkeypatch):
    names = ("a.pth", "b.pth", "c.pth")
    digests = {}
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
        digests[name] = hashlib.sha256(name.encode()).hexdigest()
    met = threading.Barrier(len(names), timeout=20)  # breaks unless all are there at once
    real = weights.remembered_digest
    monkeypatch.setattr(weights, "remembered_digest", lambda path: (met.wait(), real(path))[1])
    WeightFiles(folder=tmp_path, digests=digests).check_all(names)
    (tmp_path / "b.pth").write_bytes(b"other")
    (tmp_path / "c.pth").unlink()
    with pytest.raises(UserError, match=r"b\.pth: expected SHA-256"):
        WeightFiles(folder=tmp_path, digests=digests).check_all(names)


def test_a_file_without_a_named_digest_is_refused_with_the_line_to_add(tmp_path):
    files = put(tmp_path, AESTHETIC, torch.nn.Linear(768, 1).state_dict())
    digest = files.digests[AESTHETIC]
    with pytest.raises(UserError, match=f"benchmarks.vbench.weights: {{{AESTHETIC}: {digest}}}"):
        WeightFiles(folder=tmp_path).state(AESTHETIC)


def test_a_file_with_another_digest_is_refused(tmp_path):
    files = put(tmp_path, AESTHETIC, torch.nn.Linear(768, 1).state_dict())
    (tmp_path / AESTHETIC).write_bytes(b"other")
    with pytest.raises(UserError, match=rf"expected SHA-256 {files.digests[AESTHETIC]}, got "):
        files.state(AESTHETIC)


def test_openai_files_need_the_published_digest(tmp_path):
    put(tmp_path, CLIP_B, {})
    with pytest.raises(UserError, match="expected SHA-256 40d365715913"):
        WeightFiles(folder=tmp_path).state(CLIP_B)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"sa_0_4_vit_l_14_linear\.pth: cannot be read .*LAION's repository"
    ):
        WeightFiles(folder=tmp_path).state(AESTHETIC)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_an_archive_of_torchscript_gives_its_tensors(tmp_path):
    net = torch.nn.Conv2d(3, 2, 1)
    net.register_buffer("input_resolution", torch.tensor(224))
    path = tmp_path / CLIP_B
    path.parent.mkdir()
    torch.jit.trace(net, torch.zeros(1, 3, 2, 2)).save(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    state = WeightFiles(folder=tmp_path, digests={CLIP_B: digest}).state(CLIP_B)
    assert state.keys() == {"weight", "bias"}
    assert torch.equal(state["weight"], net.weight)


class Harmful:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("name", [AESTHETIC, CLIP_B])
def test_a_file_with_code_is_refused_and_not_run(tmp_path, name):
    files = put(tmp_path, name, {"weight": Harmful(tmp_path / "made")})
    with pytest.raises(UserError, match="no weights could be read"):
        files.state(name)
    assert not (tmp_path / "made").exists()


def test_something_else_than_tensors_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected Tensors by name"):
        put(tmp_path, AESTHETIC, {"state_dict": {"weight": torch.zeros(1)}}).state(AESTHETIC)


def test_all_names_that_do_not_fit_are_listed(tmp_path):
    state = {"weight": torch.zeros(2, 768), "scale": torch.zeros(1)}
    with pytest.raises(UserError) as caught:
        fill(torch.nn.Linear(768, 1), state, str(tmp_path / "head.pth"))
    assert str(caught.value).endswith(
        "head.pth: expected the 2 tensors of the network, got 2; 1 missing: bias; 1 unexpected: "
        "scale; 1 of another shape: weight (2, 768) (expected (1, 768))"
    )


def original_raft_names() -> list[str]:
    """Spell the original's names out, as its checkpoint has them."""
    names = []
    for encoder, normed in (("fnet", False), ("cnet", True)):
        convolutions, norms = ["conv1", "conv2"], ["norm1"]
        for layer in (1, 2, 3):
            for block in (0, 1):
                convolutions += [f"layer{layer}.{block}.conv{i}" for i in (1, 2)]
                norms += [f"layer{layer}.{block}.norm{i}" for i in (1, 2)]
        for layer in (2, 3):
            convolutions.append(f"layer{layer}.0.downsample.0")
            norms += [f"layer{layer}.0.norm3", f"layer{layer}.0.downsample.1"]
        names += [f"{encoder}.{n}.{kind}" for n in convolutions for kind in ("weight", "bias")]
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        names += [f"{encoder}.{n}.{kind}" for n in norms if normed for kind in kinds]
    update = [f"encoder.{n}" for n in ("convc1", "convc2", "convf1", "convf2", "conv")]
    update += [f"gru.conv{gate}{way}" for gate in "zrq" for way in (1, 2)]
    update += ["flow_head.conv1", "flow_head.conv2", "mask.0", "mask.2"]
    names += [f"update_block.{n}.{kind}" for n in update for kind in ("weight", "bias")]
    return [f"module.{name}" for name in names]


@pytest.fixture(scope="module")
def raft():
    flow = pytest.importorskip("torchvision.models.optical_flow", reason="needs torchvision")
    return flow.raft_large(weights=None, progress=False).eval()


def test_every_name_of_the_original_raft_has_a_place_and_every_place_a_name(raft):
    from rcm_bench.vbench.native.raft_names import torchvision_state

    values = {name: torch.zeros(1) for name in original_raft_names()}
    assert len(values) == 179
    renamed = torchvision_state(values, Path("raft-things.pth"))
    assert renamed.keys() == raft.state_dict().keys()


def test_a_raft_file_that_lacks_a_name_is_refused_by_that_name(raft, tmp_path):
    from rcm_bench.vbench.native.networks import load_flow

    names = original_raft_names()
    names.remove("module.update_block.gru.convz2.bias")
    files = put(tmp_path, RAFT, {name: torch.zeros(1) for name in [*names, "module.extra"]})
    with pytest.raises(
        UserError,
        match=r"1 missing: update_block\.recurrent_block\.convgru2\.convz\.bias; 1 unexpected",
    ):
        load_flow(files, "cpu")


def test_a_norm_with_two_values_is_refused(raft):
    from rcm_bench.vbench.native.raft_names import torchvision_state

    values = {name: torch.zeros(1) for name in original_raft_names()}
    values["module.cnet.layer2.0.norm3.weight"] = torch.ones(1)
    with pytest.raises(UserError, match=r"cnet\.layer2\.0\.norm3\.weight equal to"):
        torchvision_state(values, Path("raft-things.pth"))
