"""The staircase of slo.toml: more users with every step."""

from locust import LoadTestShape

from loadtests.slo import Slo

slo = Slo.read()


class Steps(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        end = 0.0
        for users, seconds in slo.steps:
            end += seconds
            if self.get_run_time() < end:  # type: ignore[no-untyped-call]
                return users, users  # all of the step's users within a second
        return None
