"""Few-step distillation of diffusion models: time, denoisers, objectives, samplers."""
