"""A day of the autoscaler in a second: what the advice of a service's `make size` comes to."""


class PlanError(Exception):
    """Nothing can be planned from what was given; the message is one line for people."""
