"""VBench-I2V around a run: its prompts and images made ready, a run's videos laid out for it.

    python -m rcm_bench.diffusion.i2v inputs --info FILE --images DIR --out i2v
    python -m rcm_bench run i2v_cosmos --out RUN
    python -m rcm_bench.diffusion.i2v videos RUN --model student --steps 4 --out DIR
    python -m rcm_bench.vbench evaluate DIR --kind i2v --info FILE --images DIR --out DIR

``--info`` is vbench2_i2v_full_info.json and ``--images`` the folder that holds ``crop``, both of
VBench's repository; the package ships neither.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rcm_bench.errors import UserError, unknown_name
from rcm_bench.finish import open_run
from rcm_bench.vbench.prompts import distinct, read_i2v_rows
from rcm_bench.vbench.staging import Video, stage

_CROPS = ("1-1", "8-5", "7-4", "16-9")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.diffusion.i2v")
    verbs = parser.add_subparsers(dest="verb", required=True)
    own = verbs.add_parser("inputs", help="prompts.txt and images/00000.png, one for each line")
    own.add_argument("--info", type=Path, required=True)
    own.add_argument("--images", type=Path, required=True, help="folder that holds crop/16-9")
    own.add_argument("--crop", choices=_CROPS, default="16-9")
    own.add_argument("--resolution", type=int, nargs=2, default=(704, 1280))
    own.add_argument("--out", type=Path, required=True)
    own = verbs.add_parser("videos", help="a run's videos as {prompt}-{i}.mp4")
    own.add_argument("run", type=Path)
    own.add_argument("--model", required=True)
    own.add_argument("--steps", type=int, required=True)
    own.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        if given.verb == "inputs":
            height, width = given.resolution
            crops = given.images / "crop" / given.crop
            count = write_inputs(given.info, crops, (height, width), given.out)
            print(f"{given.out}: {count} prompts and images")
        else:
            count = lay_out(given.run, given.model, given.steps, given.out)
            print(f"{given.out}: {count} videos")
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


def write_inputs(info: Path, crops: Path, size: tuple[int, int], out: Path) -> int:
    """Write ``prompts.txt`` and ``images/00000.png``, ... for the kinds that take a first frame.

    Images are scaled to the size as diffusers' pipelines do it (Lanczos, both sides).

    Args:
        info: VBench-I2V's file of prompts and images.
        crops: Its images of one aspect ratio.
        size: Height and width.
        out: A folder that does not exist yet.

    Returns:
        How many.

    Raises:
        UserError: A file is missing or another, or a prompt has two images.
    """
    from PIL import Image

    if out.exists():
        raise UserError(f"{out}: expected a folder that does not exist yet")
    rows = distinct(read_i2v_rows(info))
    paths = {}
    for prompt, own in rows.items():
        names = sorted({str(row.image) for row in own})
        if len(names) > 1:
            raise UserError(f"{info}: expected one image of {prompt[:60]!r}, got {names}")
        paths[prompt] = crops / names[0]
    if lost := [path.name for path in paths.values() if not path.is_file()]:
        raise UserError(
            f"{crops}: expected one image for each prompt, {len(lost)} missing: "
            f"{', '.join(lost[:5])}"
        )
    (out / "images").mkdir(parents=True)
    for line, path in enumerate(paths.values()):
        with Image.open(path) as image:
            scaled = image.convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS)
        scaled.save(out / "images" / f"{line:05d}.png")
    (out / "prompts.txt").write_text("".join(f"{p}\n" for p in paths), encoding="utf-8")
    return len(paths)


def lay_out(run: Path, model: str, steps: int, out: Path) -> int:
    """Link the videos of one model at one number of steps under VBench's names.

    Args:
        run: A run folder.
        model: Name of a model in its suite.
        steps: A number of steps.
        out: A folder that does not exist yet.

    Returns:
        How many videos.

    Raises:
        UserError: There is no such model or number of steps, or samples are missing.
    """
    if out.exists():
        raise UserError(f"{out}: expected a folder that does not exist yet")
    opened = open_run(run)
    try:
        cells = list(opened.plan.cells())
        if (model, steps) not in cells:
            choices = [f"{name}@{count}" for name, count in cells]
            raise unknown_name(str(run), "cell", f"{model}@{steps}", choices)
        index = opened.store.index()
        items = [i for i in opened.plan.items if (i.model, i.steps) == (model, steps)]
        lost = [item for item in items if item.sample_key not in index.samples]
        if lost:
            raise UserError(
                f"{run}: expected {len(items)} videos of {model} at {steps} steps, "
                f"{len(lost)} are not sampled yet"
            )
        videos = [
            Video(
                prompt=item.prompt,
                index=item.seed_index,
                path=index.files(index.samples[item.sample_key or ""]["blob"]),
            )
            for item in items
        ]
        return len(stage(videos, out))
    finally:
        opened.store.close()


if __name__ == "__main__":
    raise SystemExit(main())
