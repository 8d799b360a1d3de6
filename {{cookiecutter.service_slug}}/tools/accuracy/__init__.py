"""Live accuracy: what became of the model's answers, by the truth that callers sent later."""
