"""What runs in production, and nothing else."""
