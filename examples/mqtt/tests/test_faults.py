"""Workers that are killed and reloads under load: no confirmed message with QoS 1 is lost."""

import signal

import pytest
from load import Load, wait_until


@pytest.mark.parametrize("fault", ["kill", "reload", "away"])
def test_nothing_that_was_confirmed_is_lost(host_server, fault):
    host = host_server("mqtt", workers=4, options={"mqtt": {"sys_seconds": 0}})
    load = Load(host.port, host.port)
    load.goes_on()
    if fault == "kill":
        for slot in range(4):
            host.kill_worker(slot)
            load.goes_on()
    elif fault == "reload":
        for _ in range(2):
            before = len(host.events("generation_ready"))
            host.signal(signal.SIGHUP)
            wait_until(lambda: len(host.events("generation_ready")) > before, lambda: "no reload")  # noqa: B023
            load.goes_on()
    else:
        load.hearer.finish()
        load.goes_on(500)
        load.come_back(host.port)
        load.goes_on()
    load.judge()
    assert load.confirmed() > 500
