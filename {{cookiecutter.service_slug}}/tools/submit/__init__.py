"""Training elsewhere: started from a laptop or a CI system, and followed to its end."""
