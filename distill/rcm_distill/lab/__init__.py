"""The shapes laboratory: a small world whose truth is known, with a grammar and an oracle."""
