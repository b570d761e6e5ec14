"""The stand-in against the package itself, and the package through the harness, where it is built.

Skipped where no environment is built (python -m rcm_bench.vbench build). Weights are random: this
proves the way, not the scores.
"""

import ast
import inspect
import json
import subprocess

import numpy as np
import pytest
import vbench_stand_in
from test_vbench_run import make_job

from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.vbench import environment
from rcm_bench.vbench.dimensions import NATIVE, T2V
from rcm_bench.vbench.jobs import Job
from rcm_bench.vbench.results import pooled
from rcm_bench.vbench.run import run_dimension

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def real():
    try:
        return environment.find()
    except UserError as fault:
        pytest.skip(str(fault))


def keys_of_rows(path):
    """Keys of the rows that a module of the package adds to its results, read from its source."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "video_results.append":
            return {key.value for key in node.args[0].keys}
    raise AssertionError(f"{path}: adds no rows")


@pytest.mark.parametrize("dimension", T2V)
def test_the_stand_in_writes_the_rows_of_the_package(dimension, real, tmp_path):
    for i in range(100):  # until a file that color does not leave out
        (tmp_path / "a.mp4").write_bytes(str(i).encode())
        if row := vbench_stand_in.row(dimension, tmp_path / "a.mp4"):
            break
    assert {"video_path", *row} == keys_of_rows(real.package / f"{dimension}.py")


def methods(path):
    """Arguments of each method of a file's class, with their defaults as text."""
    (found,) = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef)]
    return {m.name: ast.unparse(m.args) for m in found.body if isinstance(m, ast.FunctionDef)}


def test_the_stand_in_takes_the_arguments_of_the_package(real):
    own = inspect.signature(vbench_stand_in.VBench.evaluate)
    theirs = methods(real.package / "__init__.py")["evaluate"]
    assert list(own.parameters) == [part.split("=")[0].strip("* ") for part in theirs.split(",")]
    i2v = methods(real.package.parent / "vbench2_beta_i2v" / "__init__.py")["evaluate"]
    scope = {}
    exec(vbench_stand_in.I2V.replace("from vbench import VBench", "VBench = object"), scope)
    own = inspect.signature(scope["VBenchI2V"].evaluate)
    assert list(own.parameters) == [part.split("=")[0].strip("* ") for part in i2v.split(",")]


def make_videos(folder, rng, prompts, num, size=(96, 64), frames=17):
    """Write moving noise as H.264 with the ffmpeg that a wheel brings."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    folder.mkdir()
    draw = np.random.default_rng(rng.randrange(2**32))
    for p in range(len(prompts)):
        for i in range(num):
            blocks = draw.integers(0, 256, (size[1] // 8, size[0] // 8, 3))
            blocks = blocks.repeat(8, 0).repeat(8, 1)
            video = np.stack([np.roll(blocks, t * (i + 1), axis=1) for t in range(frames)])
            command = [ffmpeg, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
                       "-s", f"{size[0]}x{size[1]}", "-r", "16", "-i", "-", "-crf", "10",
                       str(folder / f"{p}-{i}.mp4")]  # fmt: skip
            subprocess.run(command, input=video.astype(np.uint8).tobytes(), check=True)


@pytest.fixture
def weights(real, tmp_path, monkeypatch):
    def make(*dimensions):
        from real_weights import __file__ as script

        command = [str(real.python), script, str(tmp_path / "cache"), *dimensions]
        (tmp_path / "cache").mkdir(exist_ok=True)
        monkeypatch.setenv("VBENCH_CACHE_DIR", str(tmp_path / "cache"))
        if dimensions:
            subprocess.run(command, check=True, env=environment.variables())

    return make


PROMPTS = ("a person is dancing", 'a "quoted" cat\'s day & night $(x), é')


@pytest.mark.parametrize(
    ("dimension", "kind"),
    [
        ("temporal_flickering", "vbench_standard"),
        ("temporal_flickering", "custom_input"),
        ("motion_smoothness", "vbench_standard"),
        ("motion_smoothness", "custom_input"),
        ("human_action", "vbench_standard"),
        ("temporal_style", "vbench_standard"),
        ("overall_consistency", "custom_input"),
        ("temporal_flickering", "i2v"),
    ],
)
def test_the_package_runs_through_the_harness(dimension, kind, real, weights, tmp_path, rng):
    weights(*({dimension} - set(NATIVE)))
    make_videos(tmp_path / "videos", rng, PROMPTS, 2)
    job = make_job(tmp_path / "videos", rng, dimension, PROMPTS, 2, kind=kind, seconds=1500.0,
                   images=tmp_path)  # fmt: skip
    done = run_dimension(real, job, tmp_path / "out")
    assert done.status == "ok", done.message
    assert len(done.result.videos) == 4
    assert pooled(done.result.videos) == pytest.approx(done.result.aggregate, rel=1e-9)
    assert all(-1 <= video.value <= 1 for video in done.result.videos)
    assert run_dimension(real, job, tmp_path / "out").reused


def test_the_static_filter_of_the_package_runs_through_the_harness(real, weights, tmp_path, rng):
    """Two of its own prompts, twelve videos each, where RAFT sees nothing move.

    The package keeps the first five in the order of text and gives them the numbers 0 to 4; under
    their own they have the scores that they have without the filter.
    """
    prompts = ("In a still frame, a stop sign", "a toilet, frozen in time")
    weights("dynamic_degree")
    make_videos(tmp_path / "videos", rng, prompts, 12, size=(128, 128), frames=5)
    found = {}
    for filtered in (True, False):
        job = make_job(tmp_path / "videos", rng, "temporal_flickering", prompts,
                       12 if filtered else 5, filtered=filtered, seconds=1500.0)  # fmt: skip
        done = run_dimension(real, job, tmp_path / str(filtered))
        assert done.status == "ok", done.message
        found[filtered] = {(v.prompt, v.index): v.value for v in done.result.videos}
    assert found[True].keys() == {(p, i) for p in prompts for i in (0, 1, 10, 11, 2)}
    for key in found[True].keys() & found[False].keys():
        assert found[True][key] == pytest.approx(found[False][key], abs=1e-12)


def test_the_stand_in_leaves_the_files_that_the_package_leaves(real, weights, tmp_path, rng):
    """Both through the same driver: names and shapes of what they write, output folder whole."""
    weights()
    make_videos(tmp_path / "videos", rng, PROMPTS, 2)
    fake = vbench_stand_in.standing(tmp_path / "stand-in", {}, tmp_path / "cache")
    job = make_job(tmp_path / "videos", rng, "temporal_flickering", PROMPTS, 2)
    kept = {}
    for name, built in (("real", real), ("fake", environment.find(fake))):
        folder = tmp_path / name
        driven(built, job, folder)
        files = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
        kept[name] = {file: _shape(data) for file, data in files.items()}
    assert kept["real"] == kept["fake"] and len(kept["real"]) == 2


def driven(built, job: Job, output):
    from rcm_bench.vbench.staging import stage
    from rcm_bench.vbench.submission import write_info

    stage(job.videos, output / "videos")
    write_info(output.with_suffix(".info"), job.info)
    asked = {"kind": job.kind, "dimension": job.dimension, "videos": str(output / "videos"),
             "info": str(output.with_suffix(".info")), "output": str(output), "name": "vbench",
             "device": "cpu", "filter": False, "prompts": []}  # fmt: skip
    output.with_suffix(".job").write_text(json.dumps(asked))
    command = [str(built.python), str(environment.driver()), str(output.with_suffix(".job"))]
    subprocess.run(command, check=True, env={**environment.variables(), "VBENCH_CACHE_DIR":
                                             str(output)}, capture_output=True)  # fmt: skip


def _shape(data):
    if isinstance(data, dict):
        return {key: _shape(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_shape(value) for value in data]
    return type(data).__name__


def test_a_fault_of_the_package_is_a_record(real, weights, tmp_path, rng):
    weights()
    job = make_job(tmp_path / "videos", rng, "temporal_flickering", PROMPTS, 2)
    done = run_dimension(real, job, tmp_path / "out")  # files that are no videos
    assert done.status == "incomplete" and "got nan" in done.message


def test_the_prompts_are_those_of_the_package(real):
    assert file_digest(real.info).startswith("5dd2de80ee43cda7")
