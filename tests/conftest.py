"""Tests run two at a time on two cores: one thread each is faster than four that compete."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
