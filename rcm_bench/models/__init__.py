"""Models: one file per kind, the file's stem is the kind; others come through entry points."""
