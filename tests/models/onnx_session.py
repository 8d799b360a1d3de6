"""A model of scikit-learn, converted to ONNX: a session of onnxruntime with threads of its own."""

import numpy as np
import onnxruntime
import pandas as pd

NEEDS = ["onnxruntime"]
NEEDS_TO_TRAIN = ["skl2onnx"]

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.9"]
IMPORTANCE_SECONDS = 0

INPUTS = {"a": "number", "d": "number"}
OUTPUTS = {"label": "string", "score": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    frame = pd.DataFrame(rng.normal(size=(400, 4)), columns=["a", "b", "c", "d"])
    return frame, pd.Series(np.where(frame["a"] + frame["b"] > 0, "yes", "no"))


class Onnx:
    """Trains a forest, keeps its ONNX form, and opens a session for it wherever it is loaded."""

    def fit(self, frame, truth):
        from skl2onnx import to_onnx
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(random_state=SEED).fit(frame.to_numpy(), truth)
        onnx = to_onnx(forest, frame.to_numpy()[:1], options={"zipmap": False})
        self.__setstate__(onnx.SerializeToString())
        return self

    def __getstate__(self):
        return self.content

    def __setstate__(self, content):
        self.content = content
        options = onnxruntime.SessionOptions()
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        options.intra_op_num_threads = options.inter_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(content, options)

    def predict(self, frame):
        return self.session.run(None, {"X": frame.to_numpy()})


def build():
    return Onnx()


def predict(model, frame):
    label, probabilities = model.predict(frame)
    return {"label": label, "score": probabilities[:, 1]}
