"""Prompts of the shapes laboratory: GenEval's six task templates over eight shapes.

Templates, articles, naive plurals, colours, relations and the metadata records follow GenEval
(Ghosh et al. 2023, "GenEval: An Object-Focused Framework", section 3 and its prompt files).
"""

import difflib
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
COLORS = (
    *("red", "orange", "yellow", "green", "blue"),
    *("purple", "pink", "brown", "black", "white"),
)
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = {"two": 2, "three": 3, "four": 4}
MAX_OBJECTS = 4
MAX_WORDS = 12
PAD = 0


def plural(name: str) -> str:
    """Form GenEval's naive plural: "es" after an s, otherwise "s"."""
    return name + ("es" if name.endswith("s") else "s")


def with_article(phrase: str) -> str:
    """Put "an" before a vowel and "a" before anything else."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


VOCAB = (
    *("<pad>", "a", "an", "photo", "of", "and", *NUMBERS, "left", "right", "above", "below"),
    *SHAPES,
    *(plural(name) for name in SHAPES),
    *COLORS,
)
VOCAB_SIZE = len(VOCAB)
NULL = VOCAB_SIZE  # the id that stands for "no prompt"; embeddings need VOCAB_SIZE + 1 rows
_IDS = {word: index for index, word in enumerate(VOCAB) if index != PAD}


@dataclass(frozen=True, kw_only=True, slots=True)
class Clause:
    """One group of objects that a prompt asks for (or, in ``exclude``, forbids).

    Attributes:
        name: Shape.
        count: How many; in ``exclude`` the first number that is too many.
        color: Required colour, None where the prompt leaves it open.
        position: (relation, index of the reference clause), None outside position prompts.
    """

    name: str
    count: int
    color: str | None = None
    position: tuple[str, int] | None = None

    def record(self) -> dict[str, Any]:
        """Return the clause as GenEval writes it, optional keys left out."""
        record: dict[str, Any] = {"class": self.name, "count": self.count}
        if self.color is not None:
            record["color"] = self.color
        if self.position is not None:
            record["position"] = list(self.position)
        return record


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A sentence and what GenEval's rule asks of an image of it.

    Attributes:
        text: The sentence.
        task: One of TASKS.
        include: What must be there. Position prompts name the reference object first.
        exclude: What must not be there (counting only).
    """

    text: str
    task: str
    include: tuple[Clause, ...]
    exclude: tuple[Clause, ...] = ()

    def metadata(self) -> dict[str, Any]:
        """Return GenEval's metadata record, in GenEval's key order."""
        record: dict[str, Any] = {"tag": self.task, "include": [c.record() for c in self.include]}
        if self.exclude:
            record["exclude"] = [c.record() for c in self.exclude]
        record["prompt"] = self.text
        return record


def _photo(phrase: str) -> str:
    return f"a photo of {phrase}"


def _single(name: str) -> Prompt:
    include = (Clause(name=name, count=1),)
    return Prompt(text=_photo(with_article(name)), task="single_object", include=include)


def _two(a: str, b: str) -> Prompt:
    include = (Clause(name=a, count=1), Clause(name=b, count=1))
    text = _photo(f"{with_article(a)} and {with_article(b)}")
    return Prompt(text=text, task="two_object", include=include)


def _counting(number: str, name: str) -> Prompt:
    count = NUMBERS[number]
    return Prompt(
        text=_photo(f"{number} {plural(name)}"),
        task="counting",
        include=(Clause(name=name, count=count),),
        exclude=(Clause(name=name, count=count + 1),),
    )


def _colored(color: str, name: str) -> Prompt:
    include = (Clause(name=name, count=1, color=color),)
    return Prompt(text=_photo(with_article(f"{color} {name}")), task="colors", include=include)


def _position(a: str, relation: str, b: str) -> Prompt:
    include = (Clause(name=b, count=1), Clause(name=a, count=1, position=(relation, 0)))
    text = _photo(f"{with_article(a)} {relation} {with_article(b)}")
    return Prompt(text=text, task="position", include=include)


def _color_attr(color_a: str, a: str, color_b: str, b: str) -> Prompt:
    include = (Clause(name=a, count=1, color=color_a), Clause(name=b, count=1, color=color_b))
    text = _photo(f"{with_article(f'{color_a} {a}')} and {with_article(f'{color_b} {b}')}")
    return Prompt(text=text, task="color_attr", include=include)


def _enumerate(task: str) -> Iterator[Prompt]:
    """Yield every prompt of a task; shapes differ within a prompt, and so do two given colours."""
    pairs = itertools.permutations(SHAPES, 2)
    if task == "single_object":
        yield from map(_single, SHAPES)
    elif task == "two_object":
        yield from itertools.starmap(_two, pairs)
    elif task == "counting":
        yield from itertools.starmap(_counting, itertools.product(NUMBERS, SHAPES))
    elif task == "colors":
        yield from itertools.starmap(_colored, itertools.product(COLORS, SHAPES))
    elif task == "position":
        for (a, b), relation in itertools.product(pairs, RELATIONS):
            yield _position(a, relation, b)
    else:
        for (a, b), (color_a, color_b) in itertools.product(
            pairs, itertools.permutations(COLORS, 2)
        ):
            yield _color_attr(color_a, a, color_b, b)


@functools.cache
def all_prompts(task: str) -> tuple[Prompt, ...]:
    """Return every prompt of a task in a fixed order.

    Raises:
        ValueError: The task is not one of TASKS.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    return tuple(_enumerate(task))


@functools.cache
def _by_text() -> dict[str, Prompt]:
    return {prompt.text: prompt for task in TASKS for prompt in all_prompts(task)}


def _hint(word: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, choices, n=1)
    return f". Did you mean {near[0]!r}?" if near else ""


def _token(word: str, text: str) -> int:
    if word not in _IDS:
        raise ValueError(f"{text!r}: unknown word {word!r}{_hint(word, VOCAB[1:])}")
    return _IDS[word]


def word_ids(text: str) -> list[int]:
    """Turn a sentence into word ids.

    Any order of known words is accepted: networks may be asked for what the grammar lacks.

    Raises:
        ValueError: A word is unknown (the nearest known word is named) or the sentence is too long.
    """
    ids = [_token(word, text) for word in text.split()]
    if len(ids) > MAX_WORDS:
        raise ValueError(f"{text!r}: expected at most {MAX_WORDS} words, got {len(ids)}")
    return ids


def encode(texts: Sequence[str]) -> "Tensor":
    """Turn sentences into token ids, one per word, right-padded with PAD.

    Args:
        texts: Sentences of known words, at most MAX_WORDS each.

    Returns:
        Token ids, int64 (B, MAX_WORDS).

    Raises:
        ValueError: As in ``word_ids``.
    """
    import torch  # here, so that plans are made without it

    rows = [word_ids(text) for text in texts]
    padded = [ids + [PAD] * (MAX_WORDS - len(ids)) for ids in rows]
    return torch.tensor(padded, dtype=torch.long).reshape(len(texts), MAX_WORDS)


def parse(text: str) -> Prompt:
    """Read a sentence of the grammar back; the inverse of ``Prompt.text``.

    Raises:
        ValueError: The sentence is not one that the grammar makes.
    """
    prompt = _by_text().get(text)
    if prompt is None:
        for word in text.split():
            _token(word, text)
        hint = _hint(text, tuple(_by_text()))
        raise ValueError(f"expected a sentence of the grammar, got {text!r}{hint}")
    return prompt


def prompt_set(per_task: int, seed: int = 0) -> list[Prompt]:
    """Draw distinct prompts for each task, in the order of TASKS.

    A smaller set with the same seed is a subset of a larger one, task by task.

    Args:
        per_task: How many prompts of each task; all there are where fewer exist.
        seed: Seed of the draw.

    Raises:
        ValueError: per_task is smaller than 1.
    """
    if per_task < 1:
        raise ValueError(f"per_task must be at least 1, got {per_task}")
    prompts: list[Prompt] = []
    for index, task in enumerate(TASKS):
        choices = all_prompts(task)
        order = np.random.default_rng([seed, index]).permutation(len(choices))
        prompts.extend(choices[i] for i in order[:per_task])
    return prompts
