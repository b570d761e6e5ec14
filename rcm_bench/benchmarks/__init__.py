"""Benchmarks, one file each: the stem is the name, the class `Benchmark` its settings.

A benchmark declares its metrics, names the scorer that gives the per-sample scores, and sums them
per prompt (`measure`); `rcm_bench.aggregate` makes numbers with intervals of the sums.
"""
