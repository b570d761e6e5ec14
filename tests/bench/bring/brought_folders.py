"""Small sets of samples as labs have them, in GenEval's layout."""

import io

import numpy as np
from PIL import Image

RECORDS = [
    {
        "tag": ("single_object", "two_object")[i % 2],
        "include": [{"class": "cup", "count": 1}],
        "prompt": f"a photo of number {i}",
    }
    for i in range(24)
]
SUITE = """\
suite: bring
models:
  teacher: {kind: folder, role: teacher, layout: geneval, path: "teacher/{steps}", steps: [8]}
  student: {kind: folder, layout: geneval, path: "student/{steps}"}
samplers: {unused: {kind: euler}}
steps: [1, 2]
prompts: {file: prompts.jsonl, samples_per_prompt: 3}
benchmarks: {brightness: {}}
"""


def image_bytes(rng, size=(12, 16), file_format="PNG"):
    """Return an image of noise as a file."""
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format=file_format)
    return buffer.getvalue()
