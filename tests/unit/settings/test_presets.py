"""The presets that ship."""

import pytest

from host import settings
from host.settings import Listen, PoolSettings, Settings
from host.settings.fields import leaves
from host.settings.keys import join

KEYS = [join(path) for path, _ in leaves(Settings)]


@pytest.mark.parametrize("name", settings.preset_names())
def test_presets_load(load, name):
    assert load(preset=name).settings.plugins == ("echo",)


def test_the_full_preset_has_every_key_with_its_default(load):
    loaded = load(preset="everything")
    differing = {"workers", "plugins", "listen", "pools"}
    assert loaded.settings.model_dump(exclude=differing) == Settings().model_dump(exclude=differing)
    assert {key for key in KEYS if loaded.is_default(key)} == {"options", "pools", "tls"}
    assert loaded.settings.pools == {"default": PoolSettings()}
    assert loaded.settings.pools["default"].model_fields_set == set(PoolSettings.model_fields)
    (listen,) = loaded.settings.listen
    assert listen.model_fields_set == set(Listen.model_fields)
    assert (listen.backlog, listen.mode) == (4096, 0o600)


def test_presets_exist_to_be_read():
    assert settings.preset_names() == ["echo", "everything"]
