"""Training: data, prompts that are simulated, losses, the trainer."""
