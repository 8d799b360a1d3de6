"""What runs on a laptop or in CI; nothing of it is in the image."""
