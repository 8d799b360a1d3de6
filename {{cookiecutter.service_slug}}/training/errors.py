"""Why training stopped, in one line that says what to do."""


class TrainingError(Exception):
    pass
