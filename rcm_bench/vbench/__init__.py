"""VBench: its prompts, names and files, and the package itself in an environment of its own."""
