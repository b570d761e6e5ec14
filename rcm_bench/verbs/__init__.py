"""The verbs of the command line as functions; each prints nothing and returns what it found."""
