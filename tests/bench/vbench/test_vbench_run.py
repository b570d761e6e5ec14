"""One dimension in one process: results, every kind of failure, resuming, nothing left running."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from vbench_stand_in import row, share

from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.vbench import environment
from rcm_bench.vbench.dimensions import CUSTOM, DELEGATED, T2V, WEIGHTS
from rcm_bench.vbench.jobs import Job
from rcm_bench.vbench.results import InfoRow, pooled
from rcm_bench.vbench.run import failure_of, log_end, run_dimension
from rcm_bench.vbench.staging import Video

PROMPTS = ("a person is dancing", "well-known: a dog's & cat's \"day\" $(x) é", "Turtle.")


def make_job(folder, rng, dimension="scene", prompts=PROMPTS, num=5, **changed):
    """Describe a job on the folder's videos; without any, on files of noise for a stand-in."""
    folder.mkdir(exist_ok=True)
    invented = not any(folder.iterdir())
    videos = []
    for p, prompt in enumerate(prompts):
        for i in range(num):
            path = folder / f"{p}-{i}.mp4"
            # The first is one that the stand-in's colour does not leave out.
            while invented and (not path.exists() or (p == i == 0 and share(path) <= 0.25)):
                path.write_bytes(rng.randbytes(64))
            videos.append(Video(prompt=prompt, index=i, path=path))
    settings = {
        "dimension": dimension,
        "videos": videos,
        "digests": [file_digest(video.path) for video in videos],
        "info": [
            InfoRow(prompt=p, dimensions=(dimension,), videos=(), auxiliary={dimension: {}})
            for p in prompts
        ],
        "device": "cpu",
        "seconds": 60.0,
        "droppable": dimension == "color",
    }
    return Job(**{**settings, **changed})


@pytest.mark.parametrize("dimension", DELEGATED)
def test_each_delegated_dimension_gives_every_video_its_score(dimension, built, tmp_path, rng):
    job = make_job(tmp_path / "samples", rng, dimension)
    done = run_dimension(built, job, tmp_path / "out")
    assert (done.status, done.reused) == ("ok", False) and done.seconds > 0
    found = {(v.prompt, v.index): v for v in done.result.videos}
    for video in job.videos:
        expected = row(dimension, video.path)
        if expected is None:
            assert share(video.path) <= 0.25 and (video.prompt, video.index) not in found
        else:
            value = found[video.prompt, video.index].value
            assert value == pytest.approx(float(expected["video_results"]), rel=1e-12)
    assert pooled(done.result.videos) == pytest.approx(done.result.aggregate, rel=1e-9)
    assert not (done.folder / "attempt").exists()
    asked = json.loads((done.folder / "job.json").read_text())
    assert set(asked["weights"]) == set(WEIGHTS[dimension])
    assert "Evaluation results saved" in log_end(done.folder / "log.txt")


def test_folders_may_be_named_from_the_working_folder(built, tmp_path, rng, monkeypatch):
    """As `run SUITE` names its own by default: runs/<suite>-<hash>."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RCM_BENCH_VBENCH", "environment")
    monkeypatch.setenv("VBENCH_CACHE_DIR", "weights")
    job = make_job(Path("samples"), rng)
    done = run_dimension(environment.find(), job, Path("runs/one"))
    assert done.status == "ok", done.message
    assert len(done.result.videos) == len(job.videos)


@pytest.mark.parametrize(
    ("how", "status", "why"),
    [
        ("crash", "error", "ended with exit code 1"),
        ("killed", "killed", "ended by signal 9 (SIGKILL)"),
        ("quiet", "incomplete", "_eval_results.json: no such file"),
        ("torn", "incomplete", "expected JSON: "),
        ("partial", "incomplete", "1 of 15 videos have no score, such as video 4 of 'Turtle.'"),
        ("nothing", "incomplete", "expected the aggregate, got nan"),
    ],
)
def test_failures_are_records_and_are_run_again(
    how, status, why, built, tmp_path, rng, monkeypatch
):
    job = make_job(tmp_path / "samples", rng)
    monkeypatch.setenv("STAND_IN", how)
    done = run_dimension(built, job, tmp_path / "out")
    assert (done.status, done.result) == (status, None)
    assert why in done.message and str(done.folder / "log.txt") in done.message
    stored = failure_of(done.folder)
    assert stored["status"] == status and why in stored["why"]
    assert not (done.folder / "result.json").exists() and not (done.folder / "attempt").exists()
    if how == "crash":
        assert stored["log_end"].splitlines()[-1] == (
            "RuntimeError: CUDA out of memory.  [31mTried to allocate 2.00 GiB"
        )
        assert "\r" not in stored["log_end"] and "\x1b" not in stored["log_end"]
    monkeypatch.delenv("STAND_IN")
    again = run_dimension(built, job, tmp_path / "out")
    assert (again.status, again.reused, failure_of(again.folder)) == ("ok", False, None)
    assert (again.folder / "log.txt").read_text().count("== scene:") == 2


def alive(pid):
    """Whether a process runs; one that has ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid, seconds=10.0):
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def child_of(log):
    return int(log.read_text().rpartition("child ")[2].split()[0])


def test_a_process_that_hangs_is_ended_with_all_its_children(built, tmp_path, rng, monkeypatch):
    monkeypatch.setenv("STAND_IN", "hang")
    job = make_job(tmp_path / "samples", rng, seconds=2.0)
    start = time.monotonic()
    done = run_dimension(built, job, tmp_path / "out")
    assert time.monotonic() - start < 20
    assert done.status == "timeout" and "took more than 2 s and was ended" in done.message
    assert gone(child_of(done.folder / "log.txt"))


SCRIPT = """
import pickle, sys
from pathlib import Path
from rcm_bench.vbench import environment
from rcm_bench.vbench.run import run_dimension
job, out = pickle.loads(Path(sys.argv[1]).read_bytes())
run_dimension(environment.find(), job, out)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_harness_that_dies_leaves_nothing_running_and_goes_on(
    sent, built, tmp_path, rng, monkeypatch, environment
):
    import pickle

    from tiny_suite import interruptible

    job, out = make_job(tmp_path / "samples", rng), tmp_path / "out"
    (tmp_path / "job").write_bytes(pickle.dumps((job, out)))
    variables = {**environment, **{k: os.environ[k] for k in ("RCM_BENCH_VBENCH",
                 "VBENCH_CACHE_DIR")}, "STAND_IN": "hang"}  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "job")]
    harness = subprocess.Popen(
        command, env=variables, preexec_fn=interruptible, stderr=subprocess.DEVNULL
    )
    log = out / f"scene-{job.key()[:12]}" / "log.txt"
    while not (log.is_file() and "child " in log.read_text()):
        assert harness.poll() is None
        time.sleep(0.05)
    own = next(
        int(p.name)
        for p in Path("/proc").iterdir()
        if p.name.isdigit() and _parent(p) == harness.pid
    )
    harness.send_signal(sent)
    assert harness.wait(10) != 0
    assert gone(own)
    if sent is signal.SIGINT:
        assert gone(child_of(log))
    else:
        os.kill(child_of(log), signal.SIGKILL)  # the stand-in's own child; ours alone to end
    done = run_dimension(built, job, out)
    assert (done.status, done.reused) == ("ok", False)


def _parent(folder):
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def test_a_stored_result_is_taken_and_a_damaged_one_is_not(built, tmp_path, rng, monkeypatch):
    job, out = make_job(tmp_path / "samples", rng), tmp_path / "out"
    first = run_dimension(built, job, out)
    monkeypatch.setenv("STAND_IN", "crash")
    again = run_dimension(built, job, out)
    assert (again.status, again.reused, again.seconds) == ("ok", True, 0)
    assert again.result == first.result
    monkeypatch.delenv("STAND_IN")
    path = first.folder / "result.json"
    path.write_text(path.read_text()[:-40])
    mended = run_dimension(built, job, out)
    assert (mended.reused, mended.result) == (False, first.result)


def test_what_decides_the_result_decides_its_place(built, tmp_path, rng):
    job = make_job(tmp_path / "samples", rng)
    same = make_job(tmp_path / "samples", rng, seconds=1.0)
    assert same.key() == job.key()
    others = [make_job(tmp_path / "samples", rng, dimension="color")]
    others.append(make_job(tmp_path / "samples", rng, kind="custom_input"))
    others.append(make_job(tmp_path / "samples", rng, num=4))
    job.videos[3].path.write_bytes(b"another video")
    others.append(make_job(tmp_path / "samples", rng))
    weights = environment.weights_folder() / WEIGHTS["scene"][0]
    weights.write_bytes(b"other weights")
    others.append(make_job(tmp_path / "samples", rng))
    keys = [job.key() for job in others]
    assert len({job.key(), *keys}) == len(keys)  # the last job's key is that of today's weights


def test_what_cannot_run_is_refused_before_a_process_starts(built, tmp_path, rng):
    job, out = make_job(tmp_path / "samples", rng), tmp_path / "out"
    faults = {"scene": "ModuleNotFoundError: No module named 'x'"}
    broken = environment.Environment(root=built.root, faults=faults)
    with pytest.raises(UserError, match="scene cannot be imported in .*No module named 'x'"):
        run_dimension(broken, job, out)
    (environment.weights_folder() / WEIGHTS["scene"][0]).unlink()
    with pytest.raises(UserError, match="scene: no weights at .*tag2text_swin_14m.pth: https:"):
        run_dimension(built, make_job(tmp_path / "samples", rng), out)
    assert not out.exists()


def test_custom_input_takes_any_prompt_and_refuses_what_needs_more(built, tmp_path, rng):
    prompts = ("any prompt of mine",)
    job = make_job(tmp_path / "a", rng, "overall_consistency", prompts, 7, kind="custom_input")
    done = run_dimension(built, job, tmp_path / "out")
    assert len(done.result.videos) == 7
    job = make_job(tmp_path / "a", rng, "scene", prompts, 7, kind="custom_input")
    refused = run_dimension(built, job, tmp_path / "out")
    assert refused.status == "error" and "not supported for custom input" in refused.message
    assert set(T2V) - set(CUSTOM) == {"object_class", "multiple_objects", "color", "scene",
                                      "spatial_relationship", "appearance_style"}  # fmt: skip


def test_image_to_video_finds_its_images(built, tmp_path, rng):
    from rcm_bench.vbench.dimensions import I2V

    images = tmp_path / "data"
    (images / "crop" / "16-9").mkdir(parents=True)
    job = make_job(tmp_path / "a", rng, "i2v_subject", kind="i2v", images=images)
    job = replace(job, info=[replace(row, image="a.jpg") for row in job.info])
    with pytest.raises(UserError, match="16-9/a.jpg: no such image"):
        run_dimension(built, job, tmp_path / "out")
    (images / "crop" / "16-9" / "a.jpg").write_bytes(b"x")
    for dimension in I2V:
        info = [replace(row, dimensions=(dimension,)) for row in job.info]
        one = replace(job, dimension=dimension, info=info)
        done = run_dimension(built, one, tmp_path / "out")
        assert done.status == "ok" and len(done.result.videos) == 15, done.message
    key = job.key()
    (images / "crop" / "16-9" / "a.jpg").write_bytes(b"y")
    assert job.key() != key


def test_the_static_filter_gives_videos_their_own_numbers(built, tmp_path, rng):
    """Of 25 videos the filter keeps the first five static ones, 0, 1, 10, 11, ... in order."""
    folder = tmp_path / "a"
    folder.mkdir()
    static = {3, 10, 12, 4, 20, 21, 24}
    for i in range(25):
        mark = b"static" if i in static else b"moving"
        (folder / f"0-{i}.mp4").write_bytes(mark + rng.randbytes(32))
    job = make_job(folder, rng, "temporal_flickering", ("a still frame",), 25, filtered=True)
    done = run_dimension(built, job, tmp_path / "out")
    assert [v.index for v in done.result.videos] == [10, 12, 20, 21, 24]
    for video in done.result.videos:
        assert video.value == pytest.approx(share(folder / f"0-{video.index}.mp4"), rel=1e-12)
    again = run_dimension(built, job, tmp_path / "out")
    assert again.reused and again.result == done.result
    for i in range(25):
        (folder / f"0-{i}.mp4").write_bytes(b"moving" + rng.randbytes(32))
    job = make_job(folder, rng, "temporal_flickering", ("a still frame",), 25, filtered=True)
    done = run_dimension(built, job, tmp_path / "out")
    assert done.status == "error" and "the static filter kept none of 25 videos" in done.message
