"""An onnxruntime session: it does not pickle, and its threads do not survive a fork."""

import numpy as np
import onnxruntime
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

ORIGIN = "Iris, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.8"]
IMPORTANCE_SECONDS = 0

NEEDS = ["onnxruntime"]
NEEDS_TO_TRAIN = ["skl2onnx"]
OUTPUTS = {"label": "string", "score": "number"}


def load_data():
    data = load_iris(as_frame=True)
    return data.data, data.target.map(dict(enumerate(data.target_names)))


class Session:
    """Keeps the model as bytes, and makes a session of them wherever it is loaded."""

    def fit(self, frame, truth):
        from skl2onnx import to_onnx

        model = LogisticRegression(max_iter=1000).fit(frame.to_numpy("float32"), truth)
        onnx = to_onnx(model, frame.to_numpy("float32")[:1], options={"zipmap": False})
        self.__setstate__(onnx.SerializeToString())
        return self

    def __getstate__(self):
        return self.content

    def __setstate__(self, content):
        self.content = content
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def predict(self, frame):
        return self.run(frame)[0]

    def run(self, frame):
        return self.session.run(None, {"X": frame.to_numpy(np.float32)})


def build():
    return Session()


def predict(model, frame):
    label, probability = model.run(frame)
    return {"label": label, "score": probability.max(axis=1)}
