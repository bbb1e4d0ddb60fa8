"""Unlearning in image generation: diffusion models, their training, sampling, unlearning and scores."""
