"""Training as a pipeline: Luigi tasks over training/, and the store that they resume from."""

import os
from pathlib import Path

# Before anything imports luigi, which reads it then.
os.environ.setdefault("LUIGI_CONFIG_PATH", str(Path(__file__).with_name("luigi.cfg")))
