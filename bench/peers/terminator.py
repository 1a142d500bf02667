"""nginx or HAProxy with TLS before uvloop's echo: `terminator PROGRAM CERTIFICATE KEY FOLDER`.

FOLDER is for its configuration, and is the caller's to remove. The echo is no descendant of this
process, so what is measured is the program alone; all are in the process group that is ended.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

CONNECTIONS = 4096
START_SECONDS = 10.0
NGINX = """\
load_module modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
stream {{
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    tcp_nodelay on;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_session_cache shared:tls:10m;
    proxy_pass 127.0.0.1:{backend};
  }}
}}
"""
HAPROXY = """\
global
  nbthread 1
  maxconn {connections}
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen tls
  bind 127.0.0.1:{port} ssl crt {pem} backlog 1024
  server echo 127.0.0.1:{backend}
"""
COMMANDS = {
    "nginx": (NGINX, ("nginx", "-e", "stderr", "-c", "{file}")),
    "haproxy": (HAPROXY, ("haproxy", "-W", "-f", "{file}")),
}


def start_echo() -> int:
    """Start uvloop's echo as a process whose parent has ended; return its port."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        if not os.fork():
            os.dup2(writer, sys.stdout.fileno())
            os.execv(sys.executable, [sys.executable, "-m", "bench.peers.uvloop_protocol"])
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as said:
        return int(said.readline().partition(" ")[2])


def wait_until_served(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens.

    Raises:
        SystemExit: the program has ended, or nobody listens in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("it does not serve")


def main(program: str, certificate: str, key: str, folder: str) -> None:
    """Serve."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = Path(folder)
    pem = place / "haproxy.pem"
    pem.touch(0o600)
    pem.write_bytes(Path(certificate).read_bytes() + Path(key).read_bytes())
    text, command = COMMANDS[program]
    file = place / f"{program}.conf"
    values = {"certificate": certificate, "key": key, "pem": pem, "folder": folder, "port": port}
    file.write_text(text.format(**values, backend=start_echo(), connections=CONNECTIONS))
    process = subprocess.Popen([part.format(folder=folder, file=file) for part in command])
    wait_until_served(port, process)
    print("port", port, flush=True)
    process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
