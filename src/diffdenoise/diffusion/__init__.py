"""The diffusion process: schedule, samplers, fusion; pure functions over tensors and a network."""
