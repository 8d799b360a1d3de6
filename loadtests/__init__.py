"""The benchmark of a generated service against other model servers: see bench.py."""
