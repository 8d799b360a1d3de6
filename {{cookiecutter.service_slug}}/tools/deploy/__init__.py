"""From artifact to image to cluster: build, release, deploy, and what is in the way of it."""
