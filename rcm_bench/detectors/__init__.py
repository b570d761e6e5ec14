"""Detectors: what finds objects in images; none of them is imported before it is asked for."""
