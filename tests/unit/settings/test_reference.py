"""The reference page: made from the models, so that it cannot go stale."""

import re

from host import settings
from host.settings import CertificateFiles, Listen, PoolSettings, Tls
from host.settings.variables import variables


def test_reference_describes_every_key():
    page = settings.reference()
    for name, key in variables().items():
        assert f"`{name}`" in page
        assert f'<a id="{key}"></a>`{key.rpartition(".")[2]}`\n' in page
    for name in PoolSettings.model_fields:
        assert f'<a id="pools.NAME.{name}"></a>`{name}`\n' in page
    for name in Listen.model_fields:
        assert f'<a id="listen.{name}"></a>`{name}`\n' in page
    cpus = "default: the number of usable CPUs"
    assert f"`workers`\n:   integer, 1 to 1024 · {cpus} · `PREFORK_WORKERS`\n:   " in page
    assert "`mode`\n:   integer, up to 0o777 · default `0o600`\n:   " in page
    assert "## [limits]\n" in page
    assert page.endswith("`PREFORK_OPTIONS__NAME__KEY`.\n")


def test_reference_gives_every_key_its_facts_and_its_meaning():
    terms = re.findall(
        r'^<a id="[\w.]+"></a>`\w+`\n((?:.+\n)+)', settings.reference(), re.MULTILINE
    )
    free = (Listen, PoolSettings, Tls, CertificateFiles)
    assert len(terms) == len(variables()) + sum(len(each.model_fields) for each in free)
    for definitions in terms:
        assert re.fullmatch(
            r":   (string|integer|number|list|table|true or false|`).*\n:   .+\n", definitions
        )
