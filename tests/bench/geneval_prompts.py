"""GenEval's 553 prompts, drawn again from the recipe of its code (arXiv 2310.11513)."""

import numpy as np

_COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,"
    "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,computer mouse,tv remote,computer keyboard,"
    "cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,"
    "hair drier,toothbrush"
)
NAMES = _COCO.split(",")
COLORS = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"]
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = {2: "two", 3: "three", 4: "four"}


def _a(text):
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _record(tag, include, prompt, exclude=None):
    extra = {} if exclude is None else {"exclude": exclude}
    return {"tag": tag, "include": include, **extra, "prompt": f"a photo of {prompt}"}


def official_metadata():
    """One record for each prompt, in the official order."""
    rng = np.random.default_rng(43)
    made = [
        _record("single_object", [{"class": NAMES[i], "count": 1}], _a(NAMES[i]))
        for i in rng.choice(80, size=80, replace=False)
    ]
    for _ in range(100):
        a, b = (NAMES[i] for i in rng.choice(80, size=2, replace=False))
        include = [{"class": a, "count": 1}, {"class": b, "count": 1}]
        made.append(_record("two_object", include, f"{_a(a)} and {_a(b)}"))
    for _ in range(100):
        name, n = NAMES[rng.choice(80)], int(rng.integers(2, 4, endpoint=True))
        plural = name + ("es" if name.endswith("s") else "s")
        made.append(
            _record(
                "counting", [{"class": name, "count": n}], f"{NUMBERS[n]} {plural}",
                [{"class": name, "count": n + 1}],
            )
        )  # fmt: skip
    for _ in range(100):
        name, color = NAMES[rng.choice(79) + 1], COLORS[rng.choice(10)]
        include = [{"class": name, "count": 1, "color": color}]
        made.append(_record("colors", include, f"{_a(color)} {name}"))
    for _ in range(100):
        a, b = (NAMES[i] for i in rng.choice(80, size=2, replace=False))
        relation = RELATIONS[rng.choice(4)]
        include = [
            {"class": b, "count": 1},
            {"class": a, "count": 1, "position": [relation, 0]},
        ]
        made.append(_record("position", include, f"{_a(a)} {relation} {_a(b)}"))
    for _ in range(100):
        a, b = (NAMES[i + 1] for i in rng.choice(79, size=2, replace=False))
        x, y = (COLORS[i] for i in rng.choice(10, size=2, replace=False))
        include = [{"class": a, "count": 1, "color": x}, {"class": b, "count": 1, "color": y}]
        made.append(_record("color_attr", include, f"{_a(x)} {a} and {_a(y)} {b}"))
    found = {}
    for record in made:
        found.setdefault((record["tag"], record["prompt"]), record)
    return list(found.values())
