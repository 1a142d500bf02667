"""What the page on monitoring shows of plugins does what the page says, in a real host."""

from host.testing.machine import patience
from support.scraping import scrape, total
from walkthrough import ROOT, Block, blocks

PAGE = ROOT / "docs" / "monitoring.md"
FILES: dict[str, Block] = {block.file: block for block in blocks(PAGE) if block.file}


def test_each_file_has_a_test():
    assert {file for file in FILES if file.endswith(".py")} == {"shouting.py"}


def test_a_plugin_counts_in_tests(harness, tmp_path):
    (tmp_path / "shouting.py").write_text(FILES["shouting.py"].text, encoding="utf-8")
    started = harness(str(tmp_path / "shouting.py"), workers=2)
    for worker in (0, 1):
        started.connect(worker).feed(b"a\n\nb\n")
    found = started.metrics()
    assert found['prefork_shouting_lines_total{kind="ok"}'] == 4
    assert found['prefork_shouting_lines_total{kind="empty"}'] == 2
    assert found["prefork_shouting_size_bytes_count"] == 2
    assert found["prefork_shouting_size_bytes_sum"] == 10


def test_what_a_plugin_counts_is_shown(host_server, tmp_path):
    (tmp_path / "shouting.py").write_text(FILES["shouting.py"].text, encoding="utf-8")
    host = host_server(
        str(tmp_path / "shouting.py"), workers=2, flags=["--ops", "tcp://127.0.0.1:0"]
    )
    with host.connect() as client:
        client.settimeout(patience(20))
        client.sendall(b"a\n")
        assert client.recv(10) == b"A\n"
        (listening,) = host.events("ops_listening")
        found = scrape(listening["address"])
    assert total(found, "prefork_shouting_lines_total", kind="ok") == 1
    assert total(found, "prefork_shouting_size_bytes_bucket", le="64.0") == 1
