"""Keep the files of the CI system that was chosen, and remove those of the others."""

import json
import shutil
from pathlib import Path

FILES = {
    "github": [".github", "datadog/retrain/github.yaml", "docs/ci/github.md"],
    "gitlab": [".gitlab-ci.yml", "datadog/retrain/gitlab.yaml", "docs/ci/gitlab.md"],
    "jenkins": [
        "Jenkinsfile",
        "Jenkinsfile.operate",
        "datadog/retrain/jenkins.yaml",
        "docs/ci/jenkins.md",
    ],
    "azure": [
        "azure-pipelines.yml",
        "azure-operate.yml",
        "datadog/retrain/azure.yaml",
        "docs/ci/azure.md",
    ],
    "aws": ["infra/aws/codepipeline", "buildspec", "datadog/retrain/aws.yaml", "docs/ci/aws.md"],
    "none": [],
}

# As JSON, because no answer can then break out of its quotes.
chosen: str = json.loads(r"""
{{ cookiecutter.ci | tojson }}
""")

for system, names in FILES.items():
    for path in map(Path, names if system != chosen else ()):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
for folder in map(Path, ("datadog/retrain", "docs/ci")):
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
