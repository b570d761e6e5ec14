"""What do the intervals cover, and how often do tests cry wolf? Simulated, with a committed table.

``python -m rcm_bench.statistics_coverage`` writes ``reports/gallery/coverage``.
"""
