"""Training objectives: one file per method, each with a dataclass ``Objective``."""
