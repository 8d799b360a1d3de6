"""How much one pod can do, and what to ask of the cluster for the traffic that is expected."""


class SizingError(Exception):
    """A pod cannot be measured, or nothing can be advised; the message is one line for people."""
