"""Datadog's client with the keys of the environment, and its exceptions as one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tools.datadog.definitions import Invalid

# What to do about a status with which Datadog refuses.
HINTS = {
    401: "is DD_API_KEY a key of this site (DD_SITE)?",
    403: "may DD_APP_KEY's owner read and write dashboards, monitors, SLOs, metric tags, webhooks "
    "and the catalog, and are the keys of this site (DD_SITE)?",
    429: "too many requests to Datadog from your organisation; try again in a minute",
}
TIMEOUT_SECONDS = 30


class DatadogError(Exception):
    """Datadog refused, or did not answer; the message is one line."""


class NoAnswer(DatadogError):
    """It may answer if it is asked again later."""


def configured(environ: Mapping[str, str]) -> Configuration:
    """Return the client's configuration. Raises Invalid for a missing key or an unknown site."""
    if missing := [name for name in ("DD_API_KEY", "DD_APP_KEY") if not environ.get(name)]:
        raise Invalid(
            f"set {' and '.join(missing)} (Datadog: Organization Settings, API and application "
            f"keys), and DD_SITE unless it is datadoghq.com"
        )
    keys = {"apiKeyAuth": environ["DD_API_KEY"], "appKeyAuth": environ["DD_APP_KEY"]}
    configuration = Configuration(api_key=keys)
    configuration.server_variables["site"] = environ.get("DD_SITE") or "datadoghq.com"
    try:
        configuration.get_host_from_settings(0, configuration.server_variables)
    except ValueError as error:
        raise Invalid(f"DD_SITE: {error}") from None
    return configuration


@contextmanager
def connected(configuration: Configuration) -> Iterator[ApiClient]:
    configuration.preload_content = False  # answers are read as plain JSON, see kind.py
    configuration.request_timeout = TIMEOUT_SECONDS
    configuration.is_iac = True
    with ApiClient(configuration) as client:
        yield client


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn the client's exceptions into a DatadogError that names the object."""
    try:
        yield
    except ApiException as error:
        hint = HINTS.get(error.status, "")
        said = f"{what}: Datadog answered {reason(error)}{hint and ' - ' + hint}"
        later = error.status == 429 or error.status >= 500
        raise (NoAnswer if later else DatadogError)(said) from None
    except HTTPError as error:
        raise NoAnswer(f"{what}: no answer from Datadog: {' '.join(str(error).split())}") from None


def reason(error: ApiException) -> str:
    """Return what Datadog said in one line."""
    errors = error.body.get("errors", error.body) if isinstance(error.body, dict) else error.body
    said = errors if isinstance(errors, list) else [errors]
    texts = [str(one.get("detail") or one) if isinstance(one, dict) else str(one) for one in said]
    return " ".join(f"{error.status} {error.reason}: {'; '.join(texts)}".split())[:500]
