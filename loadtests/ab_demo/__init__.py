"""A share of the users, seen at work: a good candidate, a subtly worse one, and the truth."""
