"""The tensors of a second time embedding, by which MeanFlow students are told where a jump ends.

NVlabs/FastGen (34f30e8) gives diffusers' Wan2.1 a module ``r_embedder`` beside its time embedding:
a copy of it without the text's part, whose outputs are added to those of the first. No public code
does so for Cosmos-Predict2; here it is the same there.
"""

from collections.abc import Iterable, Mapping, Sequence

from rcm_bench.errors import UserError

MODULE = "r_embedder"
_TEXT = "text_embedder"


def second_shapes(shapes: Mapping[str, Sequence[int]], time_embedding: str) -> dict[str, list[int]]:
    """Return shapes of the second time embedding by name, from those of a network's first.

    Args:
        shapes: Shapes of the network by diffusers' name.
        time_embedding: Its module that embeds the time.
    """
    head = f"{time_embedding}."
    return {
        f"{MODULE}.{name.removeprefix(head)}": list(shape)
        for name, shape in shapes.items()
        if name.startswith(head) and not name.startswith(f"{head}{_TEXT}.")
    }


def check_told(names: Iterable[str], second_time: str | None, where: str) -> None:
    """Refuse a second time embedding of which the suite does not say what it sees.

    Args:
        names: Names of a file's tensors, diffusers' ones.
        second_time: What the suite says.
        where: Place and file, for the message.

    Raises:
        UserError: There is one, and the suite says nothing.
    """
    if second_time is None and any(name.startswith(f"{MODULE}.") for name in names):
        raise UserError(
            f"{where}: has a second time embedding ({MODULE}): a student of mean velocities from t "
            "to r. Say what it sees, 'second_time: difference' (t - r, as NVlabs/FastGen trains) "
            "or 'second_time: end' (r), and give it a sampler of kind 'meanflow'"
        )
