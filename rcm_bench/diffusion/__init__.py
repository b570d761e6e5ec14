"""Sampling of diffusers' own networks: where weights lie, text, samplers, decoding, memory."""
