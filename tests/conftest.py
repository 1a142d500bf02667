"""What holds for all tests: property tests have no deadlines, and Ctrl-C is not ignored."""

import signal

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's affair.
settings.register_profile(
    "unit", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")

# A shell starts what is to run in the background with SIGINT ignored (POSIX, Shell Command
# Language, 2.11), and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
