"""One listener: its parts, its file mode, and addresses that repeat."""

import pytest
from pydantic import ValidationError

from host.settings import Address, Listen, Settings


def test_listen_tells_its_parts():
    listen = Listen(address="unix:/a=echo")
    assert listen.plugin is None
    assert listen.parsed == Address("unix", path="/a=echo")


@pytest.mark.parametrize("mode", [0o660, "0660", "660", "0o660"])
def test_mode_is_octal_in_text(mode):
    settings = Settings.model_validate({"listen": [{"address": "unix:/a", "mode": mode}]})
    assert settings.listen[0].mode == 0o660


@pytest.mark.parametrize("mode", [True, 660, -1, "888", "rw-", 1.0])
def test_other_modes_are_refused(mode):
    with pytest.raises(ValidationError, match="expected file mode up to 0o777"):
        Listen.model_validate({"address": "unix:/a", "mode": mode})


def test_port_zero_may_repeat():
    text = "tcp://127.0.0.1:0"
    assert len(Settings.model_validate({"listen": [text, text]}).listen) == 2


def test_instances_are_checked_for_repetition_too():
    one = Listen(address="tcp://127.0.0.1:7000")
    with pytest.raises(ValidationError, match=r"same address as listen\[0\]"):
        Settings(listen=(one, Listen(address="tcp://localhost:7000")))
