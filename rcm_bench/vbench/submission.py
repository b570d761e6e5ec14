"""Result files as VBench itself writes them, and the archive that its leaderboard takes.

The leaderboard's script puts 0 for a dimension that is not in the archive, without a word. So an
archive is made of all sixteen dimensions, or not at all.
"""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rcm_bench.errors import UserError
from rcm_bench.vbench.dimensions import T2V
from rcm_bench.vbench.results import EVAL_SUFFIX, INFO_SUFFIX, DimensionResult, InfoRow

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_results(path: Path, results: Mapping[str, DimensionResult]) -> None:
    """Write ``{name}_eval_results.json`` as VBench does; the same results give the same bytes."""
    data: dict[str, list[Any]] = {}
    for name, result in results.items():
        middle = [dict(result.by_type)] if result.by_type else []
        videos = [{"video_path": v.path, **v.fields} for v in result.videos]
        data[name] = [result.aggregate, *middle, videos]
    write_json(path, data)


def write_info(path: Path, rows: Sequence[InfoRow]) -> None:
    """Write ``{name}_full_info.json`` as VBench does."""
    data = []
    for row in rows:
        entry: dict[str, Any] = {"prompt_en": row.prompt, "dimension": list(row.dimensions)}
        if row.image is not None:
            entry["image_name"] = row.image
        if row.auxiliary:
            entry["auxiliary_info"] = dict(row.auxiliary)
        data.append({**entry, "video_list": list(row.videos)})
    write_json(path, data)


def write_json(path: Path, data: Any) -> None:
    """Write JSON with VBench's indent, whole or not at all; never NaN."""
    text = json.dumps(data, indent=4, allow_nan=False)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def submission(
    folder: Path, name: str, results: Mapping[str, DimensionResult], info: Sequence[InfoRow]
) -> list[Path]:
    """Write both files of a model and the archive for the leaderboard.

    Args:
        folder: Where to; made if it is not there.
        name: Stem of the files, made by us and never of a prompt.
        results: All sixteen dimensions.
        info: The prompts and the videos that were scored.

    Returns:
        The files written.

    Raises:
        UserError: A dimension is missing: the leaderboard would count it as 0.
    """
    missing = [dimension for dimension in T2V if dimension not in results]
    if missing:
        raise UserError(
            f"{folder}: no archive for the leaderboard: {', '.join(missing)} not scored, and its "
            "script would count that as 0; score them, or write the results without an archive"
        )
    folder.mkdir(parents=True, exist_ok=True)
    scores, rows = folder / f"{name}{EVAL_SUFFIX}", folder / f"{name}{INFO_SUFFIX}"
    write_results(scores, {dimension: results[dimension] for dimension in T2V})
    write_info(rows, info)
    packed = folder / f"{name}.zip"
    archive(packed, (scores, rows))
    return [scores, rows, packed]


def archive(path: Path, files: Sequence[Path]) -> None:
    """Pack files without a clock: the same results give the same bytes.

    Args:
        path: The archive, whole or not there.
        files: What goes in, under its own name.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.writestr(zipfile.ZipInfo(file.name, _EPOCH), file.read_bytes())
    os.replace(temporary, path)
