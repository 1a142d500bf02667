"""Property tests have no deadlines: how long an example takes is the machine's affair."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")
