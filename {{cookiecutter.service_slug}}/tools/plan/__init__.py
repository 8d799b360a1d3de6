"""A day of the autoscaler in a second: what the advice of `make size` does with real traffic."""
