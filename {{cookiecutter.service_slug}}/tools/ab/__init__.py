"""A share of the users, judged by what live logged and by the truth that came later."""
