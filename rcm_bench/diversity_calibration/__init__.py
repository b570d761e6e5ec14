"""Measures of diversity against the truth: generators of the shapes laboratory collapse by dose."""
