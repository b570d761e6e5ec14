"""Small videos that meet the readers' and the networks' corners; run in the harness's environment.

Usage: python make_videos.py FOLDER (parity | speed | full | gpu)

Names are those of prompts of appearance_style, so that all seven dimensions take them. ``gpu``:
the five videos that VBench scores of each prompt.
"""

import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

STYLES = ("Van Gogh style", "oil painting", "black and white", "watercolor painting")
PARITY = (
    # width, height, frames, rate, pixels a frame, colour matrix that the file names
    (208, 160, 9, 16, 3, None),
    (202, 150, 10, 8, 0, None),
    (640, 360, 4, 24, 5, None),
    (176, 144, 6, 16, 2, 1),
)
SPEED = ((256, 160, 17, 16, 2, None),)
FULL = ((832, 480, 9, 16, 2, None),)
GPU = tuple((832, 480, 81, 16, speed, None) for speed in (2, 0, 3, 0, 1))


def textured(width, height, frames, speed, seed):
    """Return frames of a smooth random texture that slides, with a little noise."""
    random = np.random.default_rng(seed)
    side = max(width, height) + speed * frames
    coarse = random.integers(0, 256, (side // 12, side // 12, 3), dtype=np.uint8)
    whole = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    for index in range(frames):
        x = speed * index
        frame = whole[x // 2 : x // 2 + height, x : x + width].astype(np.float64)
        yield np.clip(frame + random.normal(0, 4, frame.shape), 0, 255).astype(np.uint8)


def write(path, frames, rate, matrix, quality="12"):
    """Write H.264 in MP4."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options={"crf": quality})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                if matrix is not None:
                    stream.codec_context.colorspace = matrix
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if matrix is not None:
                picture = picture.reformat(format="yuv420p", dst_colorspace=matrix)
                picture.colorspace = matrix
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for index, (width, height, frames, rate, speed, matrix) in enumerate(
        {"parity": PARITY, "speed": SPEED, "full": FULL, "gpu": GPU}[sys.argv[2]]
    ):
        style, number = (STYLES[0], index) if sys.argv[2] == "gpu" else (STYLES[index], 0)
        name = f"A beautiful coastal beach in spring, waves lapping on sand, {style}-{number}.mp4"
        pictures = textured(width, height, frames, speed, index)
        write(folder / name, pictures, rate, matrix, "30" if sys.argv[2] == "gpu" else "12")
