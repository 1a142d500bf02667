"""What the processes of the pool do: scale one image to one width."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
"""The formats that are read: Pillow knows many more, whose decoders few have looked at."""


Image.MAX_IMAGE_PIXELS = None  # `scale` has a limit of its own


class ImageError(Exception):
    """An image cannot be read; the text is for the client."""


def scale(data: bytes, width: int, max_pixels: int) -> tuple[int, int, bytes]:
    """Return width, height and bytes of a JPEG image that is no wider than `width`.

    Args:
        data: an image in one of the `FORMATS`.
        width: how many pixels wide the result is at most.
        max_pixels: how many pixels the image may have: a few bytes can stand for gigabytes.

    Raises:
        ImageError: it is no such image, or has more pixels.
    """
    with io.BytesIO() as made:
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise ImageError(f"the image has more than {max_pixels} pixels")
                image.draft("RGB", (width, width))  # a JPEG is decoded at a fraction of its size
                height = max(1, round(image.height * width / image.width))
                smaller = image.convert("RGB")
                if image.width > width:
                    smaller = smaller.resize((width, height), Image.Resampling.LANCZOS)
        except UnidentifiedImageError:  # its text has an address of this process
            kinds = ", ".join(FORMATS)
            raise ImageError(f"this is no image that can be read: none of {kinds}") from None
        except (OSError, ValueError, SyntaxError) as error:
            raise ImageError(f"this is no image that can be read: {error}") from None
        smaller.save(made, "JPEG", quality=80)
        return smaller.width, smaller.height, made.getvalue()
