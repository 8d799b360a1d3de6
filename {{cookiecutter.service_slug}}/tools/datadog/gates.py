"""The gates of model.py that monitors hold the truth from /feedback against."""

from __future__ import annotations

import operator

from training.errors import TrainingError
from training.gates import Gate

# What a monitor may ask for; it is left out where the gate is not there.
NAMES = {"gate_accuracy_percent", "gate_mae", "gate_rmse", "gate_rmse_squared"}


def bounds() -> dict[str, float]:
    """Return those of NAMES that model.py has a gate for; raises ValueError for one unreadable."""
    import model

    found = {}
    try:
        gates = [Gate.parse(text) for text in model.GATES]
    except TrainingError as error:
        raise ValueError(f"model.py: {error}") from None
    for gate in gates:
        if gate.metric == "accuracy" and gate.compare is operator.ge:
            found["gate_accuracy_percent"] = round(100 * gate.bound, 9)
        elif gate.metric in ("mae", "rmse") and gate.compare is operator.le:
            found[f"gate_{gate.metric}"] = gate.bound
    if "gate_rmse" in found:
        found["gate_rmse_squared"] = round(found["gate_rmse"] ** 2, 9)
    return found
