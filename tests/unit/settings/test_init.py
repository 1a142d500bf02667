"""The public names."""

from host import settings


def test_public_names_exist():
    assert [name for name in settings.__all__ if not hasattr(settings, name)] == []
    assert settings.__all__ == sorted(settings.__all__)
