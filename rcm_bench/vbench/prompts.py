"""VBench's prompts: 946 rows of the package's own file, 944 prompts, and how many videos of each.

The file is the package's (``VBench_full_info.json`` of vbench 0.1.5) and is never shipped here: it
is taken from the package's environment, or from a path. Two prompts stand in two rows each; they
are sampled once, under their first row, and their videos serve both rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rcm_bench.canonical import digest_of, file_digest
from rcm_bench.errors import UserError
from rcm_bench.vbench.dimensions import group_name
from rcm_bench.vbench.presets import REWRITTEN, Preset, find_preset
from rcm_bench.vbench.results import read_info

INFO_NAME = "VBench_full_info.json"
INFO_SHA256 = "5dd2de80ee43cda750b2b72ea7023657c0b90d3702041c7e4608c65dbe50dccd"
I2V_NAME = "vbench2_i2v_full_info.json"
I2V_SHA256 = "8cf4d34dc11779a336c216a1a71d482927cfa24a1bf736ab5c92425609f129f8"
FLICKERING = "temporal_flickering"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of VBench's file.

    Args:
        row: Its place, from 0: the i of the seeds, and the line of a rewritten prompt.
        prompt: The original prompt, which names the videos.
        dimensions: What its videos are scored for.
        auxiliary: What they are judged by beside the prompt, by dimension.
        image: Name of the image that they start from (VBench-I2V).
    """

    row: int
    prompt: str
    dimensions: tuple[str, ...]
    auxiliary: Mapping[str, Any] = field(default_factory=dict)
    image: str | None = None

    @property
    def group(self) -> str:
        """Name of the group of prompts that the row belongs to."""
        return group_name(self.dimensions)


def read_rows(path: Path) -> list[Row]:
    """Read VBench's file of prompts.

    Raises:
        UserError: It is not there, or is not the file of vbench 0.1.5.
    """
    return _read_rows(path, INFO_SHA256, f"{INFO_NAME} of vbench 0.1.5")


def read_i2v_rows(path: Path) -> list[Row]:
    """Read VBench-I2V's file of prompts and images; it is in VBench's repository alone.

    Raises:
        UserError: It is not there, or is another file.
    """
    return _read_rows(path, I2V_SHA256, f"{I2V_NAME} of VBench's repository")


def _read_rows(path: Path, expected: str, what: str) -> list[Row]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected the {what}")
    if (digest := file_digest(path)) != expected:
        raise UserError(
            f"{path}: expected the {what} (SHA-256 {expected[:16]}), got {digest[:16]}; scores on "
            "other prompts would be another quantity"
        )
    return [
        Row(
            row=i,
            prompt=info.prompt,
            dimensions=info.dimensions,
            auxiliary=info.auxiliary,
            image=info.image,
        )
        for i, info in enumerate(read_info(path))
    ]


def read_rewritten(path: Path, rows: Sequence[Row], preset: Preset) -> list[str]:
    """Read rewritten prompts: line i is what the model sees of row i.

    Args:
        path: A text file; lines may end as on Windows, as some of VBench's do.
        rows: VBench's rows.
        preset: Names the file; one that names none takes any file of as many lines.

    Raises:
        UserError: It is not there, not the file that the preset names, or has other lines.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if preset.rewriting != "none":
        name, expected = REWRITTEN[preset.rewriting]
        if (digest := file_digest(path)) != expected:
            raise UserError(
                f"{path}: expected {name} of VBench's prompts/augmented_prompts "
                f"(SHA-256 {expected[:16]}), got {digest[:16]}"
            )
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: expected UTF-8, byte {fault.start} is not") from None
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len(lines) != len(rows):
        raise UserError(f"{path}: expected {len(rows)} lines, one for each row, got {len(lines)}")
    empty = [i for i, line in enumerate(lines, 1) if not line.strip()]
    if empty:
        raise UserError(f"{path}:{empty[0]}: expected a prompt, got an empty line")
    return lines


def distinct(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each prompt, in the order of their first rows."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.prompt, []).append(row)
    return found


def num_videos(rows: Sequence[Row], preset: Preset) -> int:
    """Return how many videos the rows of one prompt need."""
    flickers = any(FLICKERING in row.dimensions for row in rows)
    return preset.flickering_videos if flickers else preset.videos


def vbench_metadata(
    rows: Sequence[Row], name: str, preset: Preset, rewritten: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return one record for each distinct prompt, as a prompt set takes them.

    Beside ``prompt`` and ``tag`` (the groups of its rows): ``vbench`` with preset, fingerprint,
    rows, dimensions and auxiliary information, and of VBench-I2V the name of the ``image``;
    ``seeds``, one for each video; ``rewritten``.

    Args:
        rows: VBench's rows.
        name: Name of the convention.
        preset: The convention.
        rewritten: What the model sees of each row; the prompts themselves by default.

    Raises:
        UserError: The preset needs rewritten prompts and has none.
    """
    if preset.rewriting != "none" and rewritten is None:
        file = REWRITTEN[preset.rewriting][0]
        raise UserError(
            f"preset '{name}' needs the rewritten prompts {file} of VBench's "
            "prompts/augmented_prompts; give the file as 'rewritten'"
        )
    own = rewritten is not None and preset.rewriting == "none"
    rewriting = f"own, {digest_of(list(rewritten or ()))[:12]}" if own else preset.rewriting
    mark = {
        "preset": name,
        "fingerprint": digest_of([preset.fingerprint(), rewriting])[:12],
        "rewriting": rewriting,
        "seeds": preset.seeds,
    }
    return [_record(twins, mark, preset, rewritten) for twins in distinct(rows).values()]


def _record(
    own: Sequence[Row], mark: Mapping[str, str], preset: Preset, rewritten: Sequence[str] | None
) -> dict[str, Any]:
    first = own[0]
    auxiliary: dict[str, Any] = {}
    for row in own:
        auxiliary |= row.auxiliary
    return {
        "prompt": first.prompt,
        "tag": "+".join(row.group for row in own),
        "vbench": {
            **mark,
            "rows": [row.row for row in own],
            "dimensions": [d for row in own for d in row.dimensions],
            "auxiliary_info": auxiliary,
            **({} if first.image is None else {"image": first.image}),
        },
        "seeds": [preset.seed(first.prompt, first.row, j) for j in range(num_videos(own, preset))],
        **({} if rewritten is None else {"rewritten": rewritten[first.row]}),
    }


def with_videos(preset: Preset, videos: int) -> Preset:
    """Return a preset with another number of videos of each prompt, as for a pilot."""
    flickering = videos * preset.flickering_videos // preset.videos
    return replace(preset, videos=videos, flickering_videos=flickering)


def video_names(rows: Sequence[Row], preset: Preset) -> Iterator[str]:
    """Yield the names of all videos that a complete flat folder holds."""
    for prompt, own in distinct(rows).items():
        for index in range(num_videos(own, preset)):
            yield f"{prompt}-{index}.mp4"


def write_prompts(path: Path, out: Path) -> list[Path]:
    """Write the prompts in VBench's own formats.

    Args:
        path: The package's file of prompts.
        out: Folder for ``VBench_full_info.json`` and ``all_dimension.txt`` (946 lines, in order)
            and ``videos.txt`` (the names that a complete folder holds under the default preset).

    Returns:
        The files written.
    """
    rows = read_rows(path)
    out.mkdir(parents=True, exist_ok=True)
    info, lines, names = out / INFO_NAME, out / "all_dimension.txt", out / "videos.txt"
    info.write_bytes(path.read_bytes())
    lines.write_text("".join(f"{row.prompt}\n" for row in rows), encoding="utf-8")
    preset = find_preset("vbench", "preset")
    names.write_text("".join(f"{n}\n" for n in video_names(rows, preset)), encoding="utf-8")
    return [info, lines, names]
