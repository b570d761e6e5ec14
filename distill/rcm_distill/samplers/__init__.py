"""Samplers: one file per method, each with ``sample``, its time grid and ``nfe``."""
