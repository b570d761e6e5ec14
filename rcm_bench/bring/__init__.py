"""Bring what you have: samples and scores that were made elsewhere."""
