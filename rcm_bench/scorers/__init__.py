"""Scorers, one file each: stored samples in, per-sample scores out."""
