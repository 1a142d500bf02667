import io
import re
import socket
import struct
import zlib

import pytest
from PIL import Image
from prefork_thumbnails.scaling import ImageError, scale

POOL = {"pools.thumbnails.size": 2}


def photo(width=800, height=600, kind="JPEG"):
    with io.BytesIO() as made:
        Image.effect_noise((width, height), 60).convert("RGB").save(made, kind)
        return made.getvalue()


def bomb():
    """Return a PNG image that says that it has 20,000 × 20,000 pixels."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def framed(image):
    return len(image).to_bytes(4, "big") + image


def parse(answer):
    """Return progress, width and image of each thumbnail, or progress and text of an error."""
    found = []
    while answer:
        line, _, answer = answer.partition(b"\n")
        if match := re.fullmatch(rb"(\d+ of \d+): (\d+)x\d+, (\d+) bytes", line):
            size = int(match[3])
            data, answer = answer[:size], answer[size:]
            with Image.open(io.BytesIO(data)) as image:
                assert image.width == int(match[2])
            found.append((match[1].decode(), int(match[2])))
        else:
            found.append(line.decode())
    return found


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_scaled(kind):
    width, height, data = scale(photo(kind=kind), 100, 10**6)
    assert (width, height) == (100, 75)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (100, 75))


def test_a_small_image_is_not_made_larger():
    assert scale(photo(40, 30), 100, 10**6)[:2] == (40, 30)


@pytest.mark.parametrize("data", [b"", b"no image", photo()[:1000], b"GIF89a" + bytes(100)])
def test_what_is_no_image_is_an_error(data):
    with pytest.raises(ImageError, match="no image that can be read") as found:
        scale(data, 100, 10**6)
    assert " at 0x" not in str(found.value)


def test_an_image_of_too_many_pixels_is_not_decoded():
    with pytest.raises(ImageError, match="more than 50000000 pixels"):
        scale(bomb(), 100, 50_000_000)


def test_a_client_has_a_line_for_each_width(harness):
    started = harness("thumbnails", options={"thumbnails": {"widths": [32, 64]}}, settings=POOL)
    client = started.connect()
    client.feed(framed(photo()) + framed(b"no image") + framed(photo()))
    found = parse(client.take())
    assert found[:2] == found[4:] == [("1 of 2", 32), ("2 of 2", 64)]
    assert found[2].startswith("1 of 2: error: this is no image that can be read")
    client.feed_eof()
    assert client.reason is not None


def test_an_image_that_is_too_long_ends_the_connection(harness):
    options = {"thumbnails": {"max_image_bytes": 1000}}
    client = harness("thumbnails", options=options, settings=POOL).connect()
    client.feed(b"\xff\xff\xff\xff")
    assert client.take().startswith(b"error: ")
    assert client.closed


def test_a_client_that_sends_too_much_is_told(harness):
    settings = POOL | {"pools.thumbnails.max_queued": 4}
    started = harness("thumbnails", settings=settings)
    started.workers[0].pool("thumbnails").paused = True
    client = started.connect()
    client.feed(framed(photo()))
    assert client.take() == b"error: too many images wait; try again later\n"


def test_others_are_served_while_an_image_is_scaled(host_server):
    host = host_server("thumbnails", settings=POOL)
    with host.connect() as client, client.makefile("rb") as answers:
        client.sendall(framed(photo(3000, 2000)) * 2)
        with host.connect() as other:
            other.sendall(framed(b"no image"))
            other.shutdown(socket.SHUT_WR)
            assert other.recv(1000).startswith(b"1 of 3: error: ")
        client.shutdown(socket.SHUT_WR)
        assert [each[0] for each in parse(answers.read())] == ["1 of 3", "2 of 3", "3 of 3"] * 2
