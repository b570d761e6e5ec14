"""Addresses of views of the sample gallery: what stands behind a number is one click away."""

from collections.abc import Iterable
from urllib.parse import quote, urlencode


def gallery_link(
    *,
    model: str = "",
    sampler: str = "",
    steps: int | None = None,
    task: str = "",
    outcome: str = "",
    find: str = "",
    sort: str = "",
    prompt: str = "",
    seed: int | None = None,
    mode: str = "",
    frame: int | None = None,
) -> str:
    """Return the fragment of a view of the gallery, readable by ``URLSearchParams``.

    Keys come in the order of the arguments and are left out where they are empty; all but ASCII
    letters, digits and ``_.-~`` is percent-encoded, so that no name can leave its place.

    Args:
        model: Model as the suite calls it.
        sampler: Sampler as the suite calls it.
        steps: Number of sampling steps.
        task: Task of the prompts.
        outcome: ``"right"``, ``"wrong"`` or ``"lost"`` (right by the teacher, wrong here).
        find: Text within the prompts.
        sort: Order of the prompts.
        prompt: Id of one prompt.
        seed: Index of the seed.
        mode: How samples are compared.
        frame: Frame of a video.
    """
    keys: dict[str, str | int | None] = {
        "model": model,
        "sampler": sampler,
        "steps": steps,
        "task": task,
        "outcome": outcome,
        "find": find,
        "sort": sort,
        "prompt": prompt,
        "seed": seed,
        "mode": mode,
        "frame": frame,
    }
    given = {key: str(value) for key, value in keys.items() if value not in ("", None)}
    # Lone surrogates have no UTF-8; escaped they stay apart from one another.
    return "#" + urlencode(given, quote_via=quote, safe="", errors="backslashreplace")


def targets(links: Iterable[str]) -> list[str]:
    """Return the ids that make links land at the gallery where no script runs, each once."""
    return [link[1:] for link in dict.fromkeys(links) if len(link) > 1]
