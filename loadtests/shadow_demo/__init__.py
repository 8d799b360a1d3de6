"""Shadow traffic, seen at work: a good candidate and a subtly worse one, beside a live service."""
