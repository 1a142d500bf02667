"""What pages for operators show works as it stands, but for the ports and users of a machine."""

import grp
import hashlib
import os
import pwd
from socket import SHUT_WR

from click.testing import CliRunner

from host.cli.main import main
from support.asking import fresh_name
from walkthrough import ROOT, blocks


def toml(page: str, part: str) -> str:
    """Return the settings of a page that have this part."""
    [text] = [
        block.text
        for block in blocks(ROOT / page)
        if block.language == "toml" and part in block.text
    ]
    return text


def checked(*arguments: str) -> str:
    """Run `check`, which must find nothing wrong; return what it has said."""
    done = CliRunner().invoke(main, ["check", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_limits_for_clients_hold(host_server, tmp_path):
    text = toml("docs/limits.md", "max_per_client = 2\n")
    for port in (":7000", ":7001"):
        text = text.replace(port, ":0")
    (tmp_path / "host.toml").write_text(text)
    name = fresh_name()
    host = host_server(listen=(), flags=["--config", "host.toml", "--name", name])
    limited = host.addresses[1]
    with host.connect(limited) as first, host.connect(limited) as second:
        for client in (first, second):
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        with host.connect(limited):
            host.wait_for("connections_refused")
        said = CliRunner().invoke(main, ["status", "--clients", "--name", name]).output
        assert said.split()[-4:] == ["CLIENT", "CONNECTIONS", "127.0.0.1", "2"]
    assert host.stop() == 0


def test_the_section_of_privileges_is_right_for_a_user_that_exists(tmp_path):
    user = pwd.getpwuid(os.getuid()).pw_name
    text = toml("docs/privileges.md", "[process]").replace('"service"', f'"{user}"')
    (tmp_path / "host.toml").write_text(text)
    assert checked("--plugin", "echo", "--config", str(tmp_path / "host.toml")).startswith("ok\n")


def test_the_owner_of_a_unix_listener_is_set_as_the_page_says(tmp_path):
    group = grp.getgrgid(os.getgid()).gr_name
    text = toml("docs/privileges.md", "mode = 0o660").replace('"www-data"', f'"{group}"')
    (tmp_path / "host.toml").write_text(text.replace("/run/service", str(tmp_path)))
    assert checked("--plugin", "echo", "--config", str(tmp_path / "host.toml")).startswith("ok\n")


def test_the_plugin_of_the_page_on_pools_answers_in_the_order_of_the_lines(host_server, tmp_path):
    [text] = [block.text for block in blocks(ROOT / "docs/pools.md") if block.file == "strong.py"]
    (tmp_path / "strong.py").write_text(text)
    host = host_server("./strong.py", settings={"pools.default.size": 2})
    lines = [b"one", b"two", b"three"]
    with host.connect() as client, client.makefile("rb") as answers:
        client.sendall(b"".join(line + b"\n" for line in lines))
        client.shutdown(SHUT_WR)
        assert answers.read().split() == [
            hashlib.pbkdf2_hmac("sha256", line, b"salt", 100_000).hex().encode() for line in lines
        ]
    assert host.stop() == 0
