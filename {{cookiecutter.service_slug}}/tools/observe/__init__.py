"""`make observe`: the service's metrics as they arrive, in the terminal; its traces on a page."""
