"""Load tests: one user, a staircase of users, and the promise they check."""
