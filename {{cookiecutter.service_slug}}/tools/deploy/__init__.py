"""From artifact to image to cluster: what `make image`, `deploy`, `diff` and `rollback` run."""
