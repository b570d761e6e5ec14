"""One dimension of VBench in one process: its result stored, its log kept, its time limited.

The package evaluates all dimensions in one process and writes its file at the very end, so that a
fault in the last one loses all, and it has no way to go on. Here each dimension is a folder
``<out>/<dimension>-<key>``, the key made of all that decides the result; a result that is there and
reads is taken, everything else is run again.

    job.json     what was asked       log.txt       what the process said, all attempts
    result.json  the package's file   failure.json  why there is no result
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rcm_bench.errors import MissingError, UserError
from rcm_bench.vbench import environment
from rcm_bench.vbench.environment import Environment, weights_folder
from rcm_bench.vbench.jobs import Job, Outcome, Status, weights_digests
from rcm_bench.vbench.results import (
    EVAL_SUFFIX,
    DimensionResult,
    read_json,
    read_results,
    split_name,
)
from rcm_bench.vbench.staging import stage
from rcm_bench.vbench.submission import write_info, write_json
from rcm_bench.vbench.whence import told

NAME = "vbench"
LOG_LINES, LOG_BYTES = 40, 16_384
STATIC = "filtered_static_video.json"
"""The static filter's own file: the first five static videos of each prompt, in its order."""


def run_dimension(built: Environment, job: Job, out: Path) -> Outcome:
    """Take the stored result of a dimension, or run it.

    Args:
        built: The package's environment.
        job: What to run.
        out: Folder for the folders of dimensions.

    Raises:
        UserError: The videos cannot be staged, or the dimension cannot run in this environment.
    """
    folder = out / f"{job.dimension}-{job.key()[:12]}"
    stored = _stored(folder, job)
    if stored is not None:
        return stored
    check_available(job.dimension, built)
    folder.mkdir(parents=True, exist_ok=True)
    attempt = folder / "attempt"
    shutil.rmtree(attempt, ignore_errors=True)
    stage(job.videos, attempt / "videos")
    (folder / "failure.json").unlink(missing_ok=True)
    write_json(folder / "job.json", _asked(job))
    start = time.monotonic()
    status, code = _process(built, job, folder, attempt)
    seconds = time.monotonic() - start
    outcome = _concluded(job, folder, attempt, status, code)
    shutil.rmtree(attempt, ignore_errors=True)
    return replace(outcome, seconds=seconds)


def _stored(folder: Path, job: Job) -> Outcome | None:
    """Return a stored result that reads and is complete; one that is damaged is run again."""
    path = folder / "result.json"
    if not path.is_file():
        return None
    try:
        result = _read(path, job, folder)
    except UserError:
        return None
    return Outcome(dimension=job.dimension, status="ok", folder=folder, result=result, reused=True)


def check_available(dimension: str, built: Environment | None = None) -> None:
    """Refuse what cannot work before minutes are spent on it.

    Args:
        dimension: Its name.
        built: The package's environment; the one that is found by default.

    Raises:
        MissingError: The environment, the dimension's module or its weights are not there.
    """
    built = environment.find() if built is None else built
    fault = built.faults.get(dimension)
    if fault is not None:
        raise MissingError(
            f"VBench's {dimension} cannot be imported in {built.root}: {fault}; see: "
            "python -m rcm_bench doctor"
        )
    missing = environment.missing_weights(dimension)
    if missing:
        raise MissingError(
            f"VBench's {dimension}: no weights at {' and '.join(map(str, missing))}; the package "
            "would fetch them while it runs; put them there, or name their folder as "
            f"VBENCH_CACHE_DIR ({told(missing)})"
        )


def _asked(job: Job) -> dict[str, Any]:
    return {
        "dimension": job.dimension,
        "kind": job.kind,
        "device": job.device,
        "filtered": job.filtered,
        "num_videos": len(job.videos),
        "weights": weights_digests(job.dimension),
        "key": job.key(),
    }


def _process(built: Environment, job: Job, folder: Path, attempt: Path) -> tuple[Status, int]:
    """Run the process; return how it ended and its exit code."""
    attempt = attempt.absolute()  # the process works in a folder of its own
    info, output, work = attempt / "info.json", attempt / "output", attempt / "work"
    write_info(info, job.info)
    work.mkdir()
    output.mkdir()
    asked = {
        "kind": job.kind,
        "dimension": job.dimension,
        "videos": str(attempt / "videos"),
        "info": str(info),
        "output": str(output),
        "name": NAME,
        "device": job.device,
        "filter": job.filtered,
        "prompts": [],
        "images": None if job.images is None else str(job.images.resolve()),
        "resolution": job.resolution,
    }
    write_json(attempt / "job.json", asked)
    command = [str(built.python), str(environment.driver()), str(attempt / "job.json")]
    with (folder / "log.txt").open("ab") as log:
        log.write(f"\n== {job.dimension}: {' '.join(command)}\n".encode())
        log.flush()
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=work,
            env={**environment.variables(), "VBENCH_CACHE_DIR": str(weights_folder().resolve())},
            start_new_session=True,
        )
        try:
            code = child.wait(timeout=job.seconds)
        except subprocess.TimeoutExpired:
            return "timeout", _kill(child)
        except BaseException:
            _kill(child)
            raise
    if code < 0:
        return "killed", code
    return ("error" if code else "ok"), code


def _kill(child: "subprocess.Popen[bytes]") -> int:
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def _concluded(job: Job, folder: Path, attempt: Path, status: Status, code: int) -> Outcome:
    """Store the result, or the failure with the end of the log."""
    made = attempt / "output" / f"{NAME}{EVAL_SUFFIX}"
    why = ""
    if status == "ok":
        try:
            if job.filtered:
                static = attempt / "output" / STATIC
                _check_static(read_json(static), static)
                os.replace(static, folder / STATIC)
            result = _read(made, job, folder)
            os.replace(made, folder / "result.json")
            return Outcome(dimension=job.dimension, status="ok", folder=folder, result=result)
        except UserError as fault:
            status, why = "incomplete", str(fault).replace(str(attempt), "")
    elif status == "timeout":
        why = f"took more than {job.seconds:g} s and was ended"
    elif status == "killed":
        why = f"ended by signal {-code} ({signal.Signals(-code).name})"
    elif job.filtered and _none_static(attempt / "output" / STATIC):
        why = f"the static filter kept none of {len(job.videos)} videos"
    else:
        why = f"ended with exit code {code}"
    end = log_end(folder / "log.txt")
    message = f"VBench's {job.dimension}: {why}; log: {folder / 'log.txt'}"
    failure = {"status": status, "exit_code": code, "why": why, "log_end": end}
    write_json(folder / "failure.json", failure)
    return Outcome(
        dimension=job.dimension, status=status, folder=folder, message=f"{message}\n{end}"
    )


def _read(path: Path, job: Job, folder: Path) -> DimensionResult:
    """Read a result and check that it is of every video that was given.

    Raises:
        UserError: It lacks the dimension or videos, or names others.
    """
    found = read_results(path)
    if list(found) != [job.dimension]:
        raise UserError(f"{path}: expected {job.dimension} alone, got {', '.join(found)}")
    result = found[job.dimension]
    wanted = {(video.prompt, video.index) for video in job.videos}
    if job.filtered:
        result, kept = _unfiltered(result, folder / STATIC)
        wanted &= kept
    got = {(video.prompt, video.index) for video in result.videos}
    foreign, missing = got - wanted, wanted - got
    if foreign:
        raise UserError(
            f"{path}: {job.dimension}: scores a video that was not given: {min(foreign)}"
        )
    if missing and not job.droppable:
        prompt, index = min(missing)
        raise UserError(
            f"{path}: {job.dimension}: {len(missing)} of {len(wanted)} videos have no score, such "
            f"as video {index} of {prompt!r}"
        )
    return result


def _check_static(data: Any, path: Path) -> dict[str, list[str]]:
    """Return the static videos of each prompt.

    Raises:
        UserError: The filter's file is not as the package writes it.
    """
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected an object of prompts")
    found = {}
    for prompt, entry in data.items():
        paths = entry.get("static_path") if isinstance(entry, dict) else None
        if not isinstance(paths, list) or not all(isinstance(p, str) for p in paths):
            raise UserError(f"{path}: {prompt!r}: expected a list of videos under 'static_path'")
        found[prompt] = paths
    return found


def _none_static(path: Path) -> bool:
    """Say whether the filter has run and kept nothing; the package then ends with an IndexError."""
    return path.is_file() and not any(_check_static(read_json(path), path).values())


def _unfiltered(
    result: DimensionResult, path: Path
) -> tuple[DimensionResult, set[tuple[str, int]]]:
    """Give filtered videos their own numbers back; return also which the filter kept."""
    static = _check_static(read_json(path), path)
    own: dict[tuple[str, int], tuple[str, int]] = {}
    for prompt, paths in static.items():
        for k, original in enumerate(paths):
            name, index = split_name(original)
            own[prompt, k] = name, -1 if index is None else index
    videos = []
    for video in result.videos:
        prompt, index = own.get((video.prompt, video.index or 0), (video.prompt, -1))
        videos.append(replace(video, prompt=prompt, index=index))
    return replace(result, videos=tuple(videos)), set(own.values())


def log_end(path: Path) -> str:
    """Return the last lines of a log as printable text."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    # Progress bars return to the start of the line; terminal colours say nothing here.
    lines = [part.split("\r")[-1] for part in text.replace("\r\n", "\n").split("\n")]
    clean = ["".join(c if c.isprintable() else " " for c in line).rstrip() for line in lines]
    return "\n".join([line for line in clean if line][-LOG_LINES:])


def failure_of(folder: Path) -> dict[str, Any] | None:
    """Return the stored failure of a dimension, None where there is none."""
    path = folder / "failure.json"
    found = read_json(path) if path.is_file() else None
    return found if isinstance(found, dict) else None
