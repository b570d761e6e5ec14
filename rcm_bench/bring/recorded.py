"""What a user knows of how samples were made; what is not said stays unknown."""

from typing import Any

from pydantic import Field

from rcm_bench.suite import Name, Strict


class Recorded(Strict):
    """What is known of samples from elsewhere, in the user's words."""

    checkpoint: Name | None = Field(default=None, description="Name or SHA-256 of the weights")
    seeds: Name | None = Field(default=None, description="How seeds were drawn, such as '42 + i'")
    noise: Name | None = Field(default=None, description="How noise was drawn, and on what device")
    rewriting: Name | None = Field(
        default=None, description="Who rewrote the prompts for the model; 'none' if nobody"
    )
    negative_prompt: str | None = Field(
        default=None, description="Negative prompt under guidance; an empty text for none"
    )
    dtype: Name | None = Field(default=None, description="Number format of the network")

    def given(self) -> dict[str, Any]:
        """Return what is said; a negative prompt that is empty is none."""
        found = {key: value for key, value in self.model_dump().items() if value is not None}
        if found.get("negative_prompt") == "":
            found["negative_prompt"] = None
        return found
