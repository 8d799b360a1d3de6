"""Dashboard, monitors, objective and catalog entry of this service: `datadog/` -> Datadog."""
