"""A folder of videos in VBench's own layout, scored by the package: one dimension a process.

Names and numbers of videos are checked before anything runs, and every video is read whole. What is
done is kept below the output folder and is not done again; at the end VBench's own result files are
written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.vbench import environment
from rcm_bench.vbench.dimensions import ALL, CUSTOM, I2V, T2V
from rcm_bench.vbench.jobs import HOURS, Job, Kind, Outcome
from rcm_bench.vbench.presets import DEFAULT, I2V_DEFAULT, I2V_PRESETS, Preset, find_preset
from rcm_bench.vbench.prompts import FLICKERING, Row, distinct, num_videos, read_i2v_rows, read_rows
from rcm_bench.vbench.readable import check_videos
from rcm_bench.vbench.results import EVAL_SUFFIX, INFO_SUFFIX, DimensionResult, InfoRow, split_name
from rcm_bench.vbench.run import run_dimension
from rcm_bench.vbench.staging import SUFFIXES, Video, check_names
from rcm_bench.vbench.submission import submission, write_info, write_results
from rcm_bench.vbench.summary import Edition, Number, summarise


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """How a folder is to be scored.

    Args:
        kind: VBench's own prompts, any prompts, or VBench-I2V.
        dimensions: Their names; all of the kind by default.
        preset: Convention of VBench's own prompts.
        info: The file of prompts; the package's own by default, needed for VBench-I2V.
        images: Folder of VBench-I2V's images, holding ``crop/<resolution>``.
        resolution: Aspect ratio of these images.
        device: Torch device of the processes.
        hours: Time limit of each dimension.
        incomplete: Whether missing videos are accepted; there is no archive then.
    """

    kind: Kind = "vbench_standard"
    dimensions: Sequence[str] = ()
    preset: str = DEFAULT
    info: Path | None = None
    images: Path | None = None
    resolution: str = "16-9"
    device: str = "cuda"
    hours: float = HOURS
    incomplete: bool = False

    def names(self) -> tuple[str, ...]:
        """Return the dimensions in VBench's order.

        Raises:
            UserError: A name is unknown, or not of this kind.
        """
        allowed = {"vbench_standard": T2V, "custom_input": CUSTOM, "i2v": I2V}[self.kind]
        for name in self.dimensions:
            if name not in allowed:
                what = f"dimension of {self.kind}" if name in ALL else "dimension"
                raise UserError(f"{name}: unknown {what}. Available: {', '.join(allowed)}.")
        return tuple(name for name in allowed if not self.dimensions or name in self.dimensions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What a folder came to.

    Args:
        results: Dimensions that have a result.
        failures: Those that have none, with the reason.
        totals: Totals, missing with the reason where a dimension is; empty for custom input.
        files: VBench's own result files.
    """

    results: Mapping[str, DimensionResult]
    failures: Mapping[str, str]
    totals: Mapping[str, Number] = field(default_factory=dict)
    files: Sequence[Path] = ()


def score_folder(
    folder: Path, out: Path, asked: Asked, told: Callable[[Outcome], None] = lambda outcome: None
) -> Scored:
    """Score a folder of videos.

    Args:
        folder: Videos named ``{prompt}-{i}.mp4``, all in one folder.
        out: Where results, logs and the result files go.
        asked: What is scored, and by which convention.
        told: Is told each dimension's outcome.

    Raises:
        UserError: Videos are missing, foreign, damaged, empty, short or of another size than the
            rest; a dimension or a file is unknown.
    """
    names = asked.names()
    there = _listed(folder)
    built = environment.find()
    rows = _rows(asked, built)
    i2v = I2V_PRESETS[I2V_DEFAULT]
    preset = i2v if asked.kind == "i2v" else find_preset(asked.preset, "preset")
    _check(there, rows, names, preset, asked, str(folder))
    check_videos(list(there.values()), folder, mixed=asked.kind == "custom_input")
    results: dict[str, DimensionResult] = {}
    failures: dict[str, str] = {}
    for name in names:
        job = _job(name, there, rows, preset, asked)
        try:
            outcome = run_dimension(built, job, out / "dimensions")
        except UserError as fault:
            failures[name] = str(fault)
            continue
        told(outcome)
        if outcome.result is None:
            failures[name] = outcome.message
        else:
            results[name] = outcome.result
    totals: Mapping[str, Number] = {}
    if asked.kind != "custom_input":
        edition: Edition = "i2v" if asked.kind == "i2v" else "t2v"
        totals = summarise(results, edition)
    files = _write(out, results, failures, _info(names, there, rows), asked)
    return Scored(results=results, failures=failures, totals=totals, files=files)


def _listed(folder: Path) -> dict[tuple[str, int], Path]:
    """Return the videos of a folder by prompt and number.

    Raises:
        UserError: There is no such folder, nothing in it, or something else than videos.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found: dict[tuple[str, int], Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_file() or path.suffix.lower() not in SUFFIXES:
            raise UserError(
                f"{path}: expected videos ({' or '.join(SUFFIXES)}) and nothing else in this folder"
            )
        prompt, index = split_name(path.name)
        key = (prompt, 0 if index is None else index)
        if key in found:
            raise UserError(f"{path}: is video {key[1]} of {prompt!r}, as is {found[key].name}")
        found[key] = path
    if not found:
        raise UserError(f"{folder}: expected videos, got an empty folder")
    return found


def _rows(asked: Asked, built: environment.Environment) -> list[Row]:
    """Return the prompts that the videos must be of; none for custom input."""
    if asked.kind == "custom_input":
        return []
    if asked.kind == "i2v":
        if asked.info is None or asked.images is None:
            raise UserError(
                "i2v: needs vbench2_i2v_full_info.json of VBench's repository as 'info' and its "
                "images (the folder that holds 'crop') as 'images'; the package ships neither"
            )
        return read_i2v_rows(asked.info)
    return read_rows(asked.info or built.info)


def _check(
    there: Mapping[tuple[str, int], Path],
    rows: Sequence[Row],
    names: Sequence[str],
    preset: Preset,
    asked: Asked,
    where: str,
) -> None:
    if asked.kind == "custom_input":
        return
    known, needed = [], []
    for prompt, own in distinct(rows).items():
        every = [(prompt, i) for i in range(num_videos(own, preset))]
        known += every
        if any(d in names for row in own for d in row.dimensions):
            needed += every
    check_names(there, [] if asked.incomplete else needed, known, where)


def _job(
    name: str,
    there: Mapping[tuple[str, int], Path],
    rows: Sequence[Row],
    preset: Preset,
    asked: Asked,
) -> Job:
    own = [row for row in rows if name in row.dimensions]
    prompts = {row.prompt for row in own}
    videos = [
        Video(prompt=prompt, index=index, path=path)
        for (prompt, index), path in there.items()
        if asked.kind == "custom_input" or prompt in prompts
    ]
    if not videos:
        raise UserError(f"{name}: the folder holds no video of its prompts")
    return Job(
        dimension=name,
        videos=videos,
        digests=[file_digest(video.path) for video in videos],
        info=[
            InfoRow(
                prompt=row.prompt,
                dimensions=(name,),
                videos=(),
                auxiliary={k: v for k, v in row.auxiliary.items() if k == name},
                image=row.image,
            )
            for row in own
        ],
        kind=asked.kind,
        device=asked.device,
        seconds=asked.hours * 3600,
        filtered=name == FLICKERING and preset.static_filter and asked.kind == "vbench_standard",
        droppable=name == "color",
        images=asked.images,
        resolution=asked.resolution,
    )


def _info(
    names: Sequence[str], there: Mapping[tuple[str, int], Path], rows: Sequence[Row]
) -> list[InfoRow]:
    """Return the prompts of the dimensions with the videos that are there, as VBench lists them."""
    by_prompt: dict[str, list[str]] = {}
    for (prompt, _), path in there.items():
        by_prompt.setdefault(prompt, []).append(str(path))
    if not rows:
        return [
            InfoRow(prompt=prompt, dimensions=tuple(names), videos=tuple(paths))
            for prompt, paths in by_prompt.items()
        ]
    return [
        InfoRow(
            prompt=row.prompt,
            dimensions=row.dimensions,
            videos=tuple(by_prompt.get(row.prompt, ())),
            auxiliary=row.auxiliary,
            image=row.image,
        )
        for row in rows
        if set(row.dimensions) & set(names)
    ]


def _write(
    out: Path,
    results: Mapping[str, DimensionResult],
    failures: Mapping[str, str],
    info: Sequence[InfoRow],
    asked: Asked,
) -> list[Path]:
    """Write VBench's result files; the archive only of all sixteen dimensions of a whole folder."""
    if not results:
        return []
    whole = asked.kind == "vbench_standard" and set(T2V) <= set(results) and not asked.incomplete
    if whole:
        return submission(out, "vbench", results, info)
    scores, rows = out / f"vbench{EVAL_SUFFIX}", out / f"vbench{INFO_SUFFIX}"
    write_results(scores, results)
    write_info(rows, info)
    return [scores, rows]
