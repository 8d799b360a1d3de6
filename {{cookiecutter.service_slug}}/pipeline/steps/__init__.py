"""The steps of a run, a file each: data, prepare, validate, fit, evaluate, compare, package.

What they do is in training/; here is what each needs, and what its result depends on.
"""
