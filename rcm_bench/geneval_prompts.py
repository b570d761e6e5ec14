"""GenEval's 553 prompts, drawn again from the published recipe and held to its published files.

Recipe (Ghosh et al. 2023, arXiv 2310.11513, and the benchmark's prompt script): one
``numpy.random.default_rng(43)``, the six tasks in order, 100 draws each (80 classes for single
objects), repeated prompts dropped. The two files that come of it are checked byte for byte by their
SHA-256, so that a random generator that draws otherwise is an error and not another benchmark.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rcm_bench.errors import UserError

SAMPLES_PER_PROMPT = 4
"""The official number of images for each prompt."""
METADATA_FILE = "evaluation_metadata.jsonl"
PROMPTS_FILE = "generation_prompts.txt"
SHA256 = {
    METADATA_FILE: "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
    PROMPTS_FILE: "55b6e3650e980c13daf30569eb666e000faf19bfc2b7b4cbe999fcdb7aa9d680",
}
_CLASSES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,"
    "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,computer mouse,tv remote,computer keyboard,"
    "cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,"
    "hair drier,toothbrush"
)
NAMES = tuple(_CLASSES.split(","))
"""The detector's classes by id: COCO's 80 in COCO's order, three of them renamed by GenEval."""
COCO_NAMES = {"computer mouse": "mouse", "tv remote": "remote", "computer keyboard": "keyboard"}
"""COCO's own names of the renamed classes."""
COLORS = (
    *("red", "orange", "yellow", "green", "blue"),
    *("purple", "pink", "brown", "black", "white"),
)
RELATIONS = ("left of", "right of", "above", "below")
_SEED = 43
_DRAWS = 100
_NUMBERS = {2: "two", 3: "three", 4: "four"}


def official_metadata() -> list[dict[str, Any]]:
    """Return one record for each of the 553 prompts, in the official order.

    Raises:
        UserError: This numpy draws other prompts than the published ones.
    """
    rng = np.random.default_rng(_SEED)
    made = [
        *_single_objects(rng),
        *(_two_objects(rng) for _ in range(_DRAWS)),
        *(_counting(rng) for _ in range(_DRAWS)),
        *(_colors(rng) for _ in range(_DRAWS)),
        *(_position(rng) for _ in range(_DRAWS)),
        *(_color_attribution(rng) for _ in range(_DRAWS)),
    ]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in made:
        found.setdefault((record["tag"], record["prompt"]), record)
    records = list(found.values())
    check_files(official_files(records))
    return records


def official_files(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the text of the official files of some records, by name."""
    return {
        PROMPTS_FILE: "".join(f"{record['prompt']}\n" for record in records),
        METADATA_FILE: "".join(json.dumps(record) + "\n" for record in records),
    }


def check_files(texts: Mapping[str, str]) -> None:
    """Hold the official files to their published SHA-256.

    Raises:
        UserError: A file differs.
    """
    for name, text in texts.items():
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        if digest != SHA256[name]:
            raise UserError(
                f"geneval: {name}: expected SHA-256 {SHA256[name]}, got {digest}; numpy "
                f"{np.__version__} draws other prompts than those published"
            )


def _single_objects(rng: np.random.Generator) -> list[dict[str, Any]]:
    order = rng.choice(len(NAMES), size=len(NAMES), replace=False)
    names = [NAMES[i] for i in order]
    return [_record("single_object", [_clause(name)], _article(name)) for name in names]


def _two_objects(rng: np.random.Generator) -> dict[str, Any]:
    a, b = (NAMES[i] for i in rng.choice(len(NAMES), size=2, replace=False))
    return _record("two_object", [_clause(a), _clause(b)], f"{_article(a)} and {_article(b)}")


def _counting(rng: np.random.Generator) -> dict[str, Any]:
    name = NAMES[rng.choice(len(NAMES))]
    number = int(rng.integers(2, 4, endpoint=True))
    # "benchs" and "toothbrushs" are part of the benchmark.
    plural = f"{name}{'es' if name.endswith('s') else 's'}"
    text, exclude = f"{_NUMBERS[number]} {plural}", [_clause(name, number + 1)]
    return _record("counting", [_clause(name, number)], text, exclude=exclude)


def _colors(rng: np.random.Generator) -> dict[str, Any]:
    name, color = _coloured_class(rng.choice(len(NAMES) - 1)), COLORS[rng.choice(len(COLORS))]
    return _record("colors", [{**_clause(name), "color": color}], f"{_article(color)} {name}")


def _position(rng: np.random.Generator) -> dict[str, Any]:
    a, b = (NAMES[i] for i in rng.choice(len(NAMES), size=2, replace=False))
    relation = RELATIONS[rng.choice(len(RELATIONS))]
    include = [_clause(b), {**_clause(a), "position": [relation, 0]}]
    return _record("position", include, f"{_article(a)} {relation} {_article(b)}")


def _color_attribution(rng: np.random.Generator) -> dict[str, Any]:
    names = [_coloured_class(i) for i in rng.choice(len(NAMES) - 1, size=2, replace=False)]
    colors = [COLORS[i] for i in rng.choice(len(COLORS), size=2, replace=False)]
    pairs = list(zip(names, colors, strict=True))
    include = [{**_clause(name), "color": color} for name, color in pairs]
    text = " and ".join(f"{_article(color)} {name}" for name, color in pairs)
    return _record("color_attr", include, text)


def _coloured_class(index: int) -> str:
    """Leave out the first class: a person is never asked for in a colour."""
    return NAMES[index + 1]


def _clause(name: str, count: int = 1) -> dict[str, Any]:
    return {"class": name, "count": count}


def _article(text: str) -> str:
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _record(tag: str, include: list[dict[str, Any]], text: str, **extra: Any) -> dict[str, Any]:
    return {"tag": tag, "include": include, **extra, "prompt": f"a photo of {text}"}
