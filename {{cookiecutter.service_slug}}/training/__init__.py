"""From model.py to artifact/: runs on a laptop or in CI, never in production."""
