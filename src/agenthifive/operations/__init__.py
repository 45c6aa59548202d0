"""Running the instance: limits, health, metrics, jobs, reference pages."""
