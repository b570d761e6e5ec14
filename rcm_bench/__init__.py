"""rcm_bench: how close a few-step diffusion model is to its teacher, with an interval on every number."""
