"""VBench: its prompts, names and files, and the package itself in an environment of its own."""

SHARES = (
    *("dynamic_degree", "object_class", "multiple_objects", "human_action", "color", "scene"),
    "camera_motion",
)
"""Dimensions whose values are shares of frames or of videos, from 0 to 1."""
