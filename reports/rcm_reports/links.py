"""Links to a view of the gallery: the part of the address after ``#``."""

from urllib.parse import quote

KEYS = (
    *("model", "sampler", "steps", "task", "outcome", "find", "sort", "prompt", "seed"),
    *("mode", "frame"),
)


def gallery_link(**keys: object) -> str:
    """Return the fragment of a view, such as ``#model=rcm&steps=2&outcome=wrong``.

    Args:
        keys: Any of KEYS; None leaves a key out.

    Raises:
        ValueError: A key that the gallery does not know.
    """
    unknown = sorted(set(keys) - set(KEYS))
    if unknown:
        raise ValueError(f"unknown gallery key(s) {', '.join(unknown)}; known: {', '.join(KEYS)}")
    given = [(key, keys[key]) for key in KEYS if keys.get(key) is not None]
    return "#" + "&".join(f"{key}={quote(str(v), safe='', errors='replace')}" for key, v in given)
