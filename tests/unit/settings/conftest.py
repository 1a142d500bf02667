"""Loads settings from texts, with no environment but the one a test gives."""

import pytest

from host import settings


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(toml=None, **given):
        given.setdefault("environ", {})
        if toml is not None:
            (tmp_path / "host.toml").write_text(toml)
            given["file"] = "host.toml"
        return settings.load(**given)

    return load


@pytest.fixture
def problems(load):
    def problems(*args, **given):
        with pytest.raises(settings.SettingsError) as caught:
            load(*args, **given)
        return [(p.key, p.found, p.message, p.where) for p in caught.value.problems]

    return problems
