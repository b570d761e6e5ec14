"""VBench's result files, read strictly: ``{name}_eval_results.json``, ``{name}_full_info.json``.

A file is one JSON object: dimension to ``[aggregate, [{video_path, video_results, ...}, ...]]``;
VBench-I2V's camera motion has its results by type between the two. The submission script counts a
dimension that is not there as 0; nothing here does.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rcm_bench.errors import UserError, unknown_name
from rcm_bench.text_files import read_text
from rcm_bench.vbench import SHARES
from rcm_bench.vbench.dimensions import ALL, scale_of

EVAL_SUFFIX, INFO_SUFFIX = "_eval_results.json", "_full_info.json"
MAX_BYTES = 1 << 30
AGREEMENT = 1e-6
"""How far an aggregate may lie from the same mean taken again, in units of the aggregate."""
_NUMBERED = re.compile(r"(.*)-(\d+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoResult:
    """What VBench says of one video.

    Args:
        path: As the file gives it; text from outside, never opened by the reader.
        prompt: Text of the file name before its number.
        index: The number at the end of its name, None where there is none.
        numerator: Sum that enters the dimension; numerator over denominator, summed over videos,
            is the aggregate. Frames where VBench counts frames, else the video's own value.
        denominator: Number of frames, or 1.
        fields: All that the file says of it.
    """

    path: str
    prompt: str
    index: int | None
    numerator: float
    denominator: float
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The video's own value on the scale of the aggregate."""
        return self.numerator / self.denominator


@dataclass(frozen=True, kw_only=True, slots=True)
class DimensionResult:
    """One dimension of one model.

    Args:
        dimension: Its name, with underscores.
        aggregate: The number that VBench prints.
        videos: One for each scored video; those that VBench dropped are not there.
        by_type: Camera motion's aggregate of each type, empty for all others.
        remarks: What a reader should know, such as an aggregate that its videos do not give.
    """

    dimension: str
    aggregate: float
    videos: tuple[VideoResult, ...]
    by_type: Mapping[str, float | None] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class InfoRow:
    """One prompt of ``{name}_full_info.json``.

    Args:
        prompt: The prompt.
        dimensions: Dimensions that it belongs to.
        videos: Paths of the videos that VBench found for it.
        auxiliary: What it is judged by, by dimension.
        image: Name of the image that its videos start from (VBench-I2V).
    """

    prompt: str
    dimensions: tuple[str, ...]
    videos: tuple[str, ...]
    auxiliary: Mapping[str, Any] = field(default_factory=dict)
    image: str | None = None


def read_json(path: Path) -> Any:
    """Read a JSON file from outside.

    Raises:
        UserError: It is missing, too large, no UTF-8 or no JSON, or names a key twice.
    """
    if path.is_file() and (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(f"{path}: expected at most {MAX_BYTES} bytes, got {size}")
    text = read_text(path)
    if not text.strip():
        raise UserError(f"{path}: expected JSON, got an empty file")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UserError(f"{path}: key '{key}' comes twice")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as fault:
        raise UserError(f"{path}: expected JSON: {fault}") from None


def read_results(path: str | Path) -> dict[str, DimensionResult]:
    """Read ``*_eval_results.json``: one dimension or many.

    Raises:
        UserError: The file cannot be read, or a key of it is not as VBench writes it.
    """
    path = Path(path)
    data = read_json(path)
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: expected an object of dimensions, got {_kind(data)}")
    return {name: _dimension(name, entry, str(path)) for name, entry in data.items()}


def read_info(path: str | Path) -> list[InfoRow]:
    """Read ``*_full_info.json``: prompts and the videos found for each.

    Raises:
        UserError: The file cannot be read, or a row of it is not as VBench writes it.
    """
    path = Path(path)
    data = read_json(path)
    if not isinstance(data, list) or not data:
        raise UserError(f"{path}: expected a list of prompts, got {_kind(data)}")
    return [_info_row(row, f"{path}: [{i}]") for i, row in enumerate(data)]


def merge_results(
    parts: Iterable[tuple[str, Mapping[str, DimensionResult]]],
) -> dict[str, DimensionResult]:
    """Put files of single dimensions together.

    Args:
        parts: Each file's name and what it holds.

    Raises:
        UserError: Two files hold the same dimension.
    """
    found: dict[str, DimensionResult] = {}
    origin: dict[str, str] = {}
    for name, results in parts:
        for dimension, result in results.items():
            if dimension in found:
                raise UserError(
                    f"{name}: {dimension}: is in {origin[dimension]} too; keep one of them"
                )
            found[dimension], origin[dimension] = result, name
    return found


def _dimension(name: str, entry: Any, where: str) -> DimensionResult:
    if name not in ALL:
        raise unknown_name(where, "dimension", name, ALL)
    at = f"{where}: {name}"
    lengths = (3,) if name == "camera_motion" else (2,)
    if not isinstance(entry, list) or len(entry) not in lengths or not isinstance(entry[-1], list):
        shape = "[aggregate, types, videos]" if 3 in lengths else "[aggregate, videos]"
        raise UserError(f"{at}: expected {shape}, got {_kind(entry)}")
    aggregate = _number(entry[0], f"{at}[0]", "the aggregate")
    last = len(entry) - 1
    if not entry[-1]:
        raise UserError(f"{at}[{last}]: expected at least one scored video, got none")
    videos = tuple(_video(name, row, f"{at}[{last}][{i}]") for i, row in enumerate(entry[-1]))
    seen: dict[str, int] = {}
    for i, video in enumerate(videos):
        if seen.setdefault(video.path, i) != i:
            raise UserError(f"{at}[{last}][{i}]: repeats video {seen[video.path]}: {video.path!r}")
    types = _types(entry[1], f"{at}[1]") if len(entry) == 3 else {}
    return DimensionResult(
        dimension=name,
        aggregate=aggregate,
        videos=videos,
        by_type=types,
        remarks=_remarks(name, aggregate, videos),
    )


def _video(dimension: str, row: Any, at: str) -> VideoResult:
    if not isinstance(row, dict):
        raise UserError(f"{at}: expected an object, got {_kind(row)}")
    path = row.get("video_path")
    if not isinstance(path, str) or not path:
        raise UserError(f"{at}.video_path: expected text, got {_kind(path)}")
    value = _number(row.get("video_results"), f"{at}.video_results", "a number")
    if dimension in SHARES and not 0 <= value <= 1:
        raise UserError(f"{at}.video_results: expected a share from 0 to 1, got {value:g}")
    numerator, denominator = _parts(dimension, row, value, at)
    if abs(numerator / denominator - value * scale_of(dimension)) > AGREEMENT:
        raise UserError(
            f"{at}.video_results: expected what its frames give, {numerator / denominator:g}, "
            f"got {value:g}"
        )
    prompt, index = split_name(path)
    fields = {key: entry for key, entry in row.items() if key != "video_path"}
    return VideoResult(
        path=path,
        prompt=prompt,
        index=index,
        numerator=numerator,
        denominator=denominator,
        fields=fields,
    )


def _parts(dimension: str, row: Mapping[str, Any], value: float, at: str) -> tuple[float, float]:
    """Return numerator and denominator: frames where the row counts them, else the value and 1."""
    if "frame_count" in row:
        top = _number(row.get("success_frame_count"), f"{at}.success_frame_count", "a number")
        bottom = _number(row["frame_count"], f"{at}.frame_count", "a number")
        if bottom < 1 or not 0 <= top <= bottom:
            raise UserError(
                f"{at}.success_frame_count: expected 0 to frame_count, got {top:g} of {bottom:g}"
            )
        return top, bottom
    if "frame_results" in row:
        frames = row["frame_results"]
        if not isinstance(frames, list) or not frames:
            raise UserError(f"{at}.frame_results: expected numbers, got {_kind(frames)}")
        numbers = [_number(f, f"{at}.frame_results[{i}]", "a number") for i, f in enumerate(frames)]
        return math.fsum(numbers), float(len(numbers))
    if "cnt_per_video" in row:
        top = _number(row.get("video_sim"), f"{at}.video_sim", "a number")
        bottom = _number(row["cnt_per_video"], f"{at}.cnt_per_video", "a number")
        if bottom < 1:
            raise UserError(f"{at}.cnt_per_video: expected at least 1, got {bottom:g}")
        return top, bottom
    return value * scale_of(dimension), 1.0


def _remarks(dimension: str, aggregate: float, videos: Sequence[VideoResult]) -> tuple[str, ...]:
    """Say if the aggregate is not what the videos give, and which known fault gives it."""
    again = pooled(videos)
    mean = math.fsum(v.value for v in videos) / len(videos)
    tolerance = AGREEMENT * max(1.0, abs(aggregate))
    if abs(aggregate - again) <= tolerance:
        return ()
    if abs(aggregate - mean) <= tolerance:
        return ("aggregate is the mean over videos, not over frames, as on several GPUs",)
    if dimension == "subject_consistency":
        # Frames are not counted in its rows: videos of unequal length give another mean.
        return (f"videos give {again:.6f} if equally long; the aggregate weighs them by frames",)
    last = [c for v in videos if isinstance(c := v.fields.get("cur_sim"), float)]
    of_last = math.fsum(last) / len(last) if len(last) == len(videos) else math.nan
    if abs(aggregate - of_last) <= tolerance:  # the package's fault on several GPUs
        return (f"aggregate is that of last frames only; all frames give {again:.6f}",)
    return (f"aggregate {aggregate:.6f} is not what its videos give: {again:.6f}",)


def pooled(videos: Sequence[VideoResult]) -> float:
    """Return numerators over denominators, as one process of VBench takes them together."""
    return math.fsum(v.numerator for v in videos) / math.fsum(v.denominator for v in videos)


def split_name(path: str) -> tuple[str, int | None]:
    """Return the prompt and the number in a video's file name, ``{prompt}-{number}.mp4``."""
    name = re.split(r"[/\\]", path)[-1] if "\\" in path and "/" not in path else path.split("/")[-1]
    stem = name[: name.rfind(".")] if "." in name else name
    found = _NUMBERED.fullmatch(stem)
    return (found.group(1), int(found.group(2))) if found else (stem, None)


def _types(entry: Any, at: str) -> dict[str, float | None]:
    """Read camera motion's aggregates; a type without videos is NaN there and None here."""
    if not isinstance(entry, dict):
        raise UserError(f"{at}: expected an object of camera motions, got {_kind(entry)}")
    return {
        name: None
        if isinstance(value, float) and math.isnan(value)
        else _number(value, f"{at}.{name}", "a number")
        for name, value in entry.items()
    }


def _info_row(row: Any, at: str) -> InfoRow:
    if not isinstance(row, dict):
        raise UserError(f"{at}: expected an object, got {_kind(row)}")
    prompt = row.get("prompt_en")
    if not isinstance(prompt, str):
        raise UserError(f"{at}.prompt_en: expected text, got {_kind(prompt)}")
    auxiliary = row.get("auxiliary_info", {})
    if not isinstance(auxiliary, dict):
        raise UserError(f"{at}.auxiliary_info: expected an object, got {_kind(auxiliary)}")
    image = row.get("image_name")
    if image is not None and (not isinstance(image, str) or "/" in image):
        raise UserError(f"{at}.image_name: expected the name of a file, got {_kind(image)}")
    names = _texts(row.get("dimension"), f"{at}.dimension")
    for name in names:
        if name not in ALL:
            raise unknown_name(f"{at}.dimension", "dimension", name, ALL)
    videos = row.get("video_list", [])
    listed = [videos] if isinstance(videos, str) else videos
    return InfoRow(
        prompt=prompt,
        dimensions=names,
        videos=_texts(listed, f"{at}.video_list", empty=True),
        auxiliary=auxiliary,
        image=image,
    )


def _texts(value: Any, at: str, *, empty: bool = False) -> tuple[str, ...]:
    good = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    if not good or not (value or empty):
        raise UserError(f"{at}: expected a list of texts, got {_kind(value)}")
    return tuple(value)


def _number(value: Any, at: str, what: str) -> float:
    if not isinstance(value, bool | int | float):
        raise UserError(f"{at}: expected {what}, got {_kind(value)}")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        raise UserError(f"{at}: expected {what}, got one that no float can hold") from None
    if not finite:
        raise UserError(
            f"{at}: expected {what}, got {value}: VBench writes that where it scored no video, or "
            "where a network gave no number"
        )
    return float(value)


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    return repr(value)[:80] if value is not None else "nothing"
