"""Sends an image, shows the progress, and saves the thumbnails: `python client.py photo.jpg`."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path


def main(path: Path, port: int = 7000) -> None:
    """Have an image scaled by a host on this machine."""
    image = path.read_bytes()
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as answers:
        sock.sendall(len(image).to_bytes(4, "big") + image)
        sock.shutdown(socket.SHUT_WR)
        for line in answers:
            print(line.decode().rstrip())
            if found := re.fullmatch(rb"\d+ of \d+: (\d+)x\d+, (\d+) bytes\n", line):
                width, size = map(int, found.groups())
                path.with_name(f"{path.stem}-{width}.jpg").write_bytes(answers.read(size))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
