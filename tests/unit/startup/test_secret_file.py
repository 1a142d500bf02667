"""A secret is the whole first line of a file, or none."""

import os

import pytest

from host.startup.secret_file import first_line


@pytest.mark.parametrize(
    "text", ["secret", "secret\n", " secret \r\nmore\n", "secret\n" + "x" * 9000]
)
def test_it_is_the_first_line_without_space_around_it(tmp_path, text):
    (file := tmp_path / "file").write_text(text)
    assert first_line(str(file)) == "secret"


@pytest.mark.parametrize("end", ["", "\n"])
def test_one_that_is_too_long_is_refused_rather_than_cut(tmp_path, end):
    (file := tmp_path / "file").write_text("x" * 8191 + end)
    assert first_line(str(file)) == "x" * 8191
    file.write_text("x" * 8192 + "y" + end)
    with pytest.raises(ValueError, match=r"^it has more than 8192 bytes$"):
        first_line(str(file))


def test_what_is_no_text_is_refused_and_not_shown(tmp_path):
    (file := tmp_path / "file").write_bytes(b"\xff\xfesecret")
    with pytest.raises(ValueError, match=r"^it is no text$"):
        first_line(str(file))


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(fifo := tmp_path / "fifo")
    with pytest.raises(ValueError, match=r"^it is no regular file$"):
        first_line(str(fifo))
