"""Property tests have no deadlines: how long an example takes is the machine's affair."""

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
