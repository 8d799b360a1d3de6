"""`make submit`: train on AWS Batch or Kubernetes, and follow; exits as the job does.

Behind make, which has exit codes of its own, every failure is 2: in CI call
`python -m tools.submit`. WHERE, STORE, RUN and the rest are environment variables: in a
command line, a shell would evaluate them.
"""

from __future__ import annotations

import os
import sys

from pipeline import exits
from tools.programs import Refused
from tools.submit.batch import Batch
from tools.submit.kubernetes import Kubernetes
from tools.submit.request import SubmitError, read


def main() -> int:
    job = back = ""
    try:
        request = read(os.environ)
        place = Batch() if request.where == "batch" else Kubernetes()
        job = request.job or place.submit(request)
        back = f"it goes on; to come back: make submit WHERE={request.where} JOB={job}"
        print(f"==> {job}: {place}", flush=True)
        return place.follow(job)
    except Refused as error:
        # The job does not end with the network that it was followed by.
        print(f"\nnot done: {error}\n{back}".rstrip(), file=sys.stderr)
        return exits.LATER if job else exits.MISUSED
    except SubmitError as error:
        print(f"\nnot done: {error}", file=sys.stderr)
        return exits.MISUSED
    except KeyboardInterrupt:
        print(f"\n{back}".rstrip())
        return exits.STOPPED


if __name__ == "__main__":
    sys.exit(main())
