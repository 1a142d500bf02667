"""The protocol: images in, a line of progress and a thumbnail out for each width."""

from __future__ import annotations

from functools import partial

from pydantic import BaseModel, Field, PositiveInt

from host import Connection, Host, PoolFullError, Worker, hookimpl
from host.plugins.framing import FrameTooLongError, LengthFramer
from prefork_thumbnails.scaling import ImageError, scale


class Options(BaseModel):
    """What can be set."""

    widths: list[PositiveInt] = Field(
        default=[64, 256, 1024],
        min_length=1,
        max_length=16,
        description="Widths of the thumbnails.",
    )
    max_image_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1, description="Longest image that is taken."
    )
    max_pixels: int = Field(
        default=50_000_000, ge=1, description="Most pixels of an image that is scaled."
    )
    pool: str = Field(default="thumbnails", description="The pool that scales.")


class Thumbnails:
    """Scales each image that a client sends to several widths.

    Args:
        options: its options.
    """

    Options = Options

    def __init__(self, options: Options) -> None:
        self._options = options

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Declare what is counted."""
        metrics = host.metrics
        outcomes = {"outcome": ("made", "failed", "refused")}
        self._tasks = metrics.counter("tasks", "Thumbnails that were asked for.", outcomes)
        self._sizes = metrics.histogram(
            "image_bytes", "Images that have come.", start=16 * 1024, count=11
        )

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Have the processes started."""
        self._pool = worker.pool(self._options.pool)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Have a framer for what the client sends."""
        connection.data = LengthFramer(4, self._options.max_image_bytes)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Begin to scale the images that have come."""
        framer: LengthFramer = connection.data
        try:
            for image in framer.feed(connection.read()):
                self._scale(connection, image)
        except FrameTooLongError as error:
            connection.write(f"error: {error}\n".encode())
            connection.close()

    def _scale(self, connection: Connection, image: bytes) -> None:
        """Give one task for each width; their answers come in this order."""
        widths = self._options.widths
        self._sizes.observe(len(image))
        for number, width in enumerate(widths, 1):
            try:
                self._pool.apply_async(
                    scale,
                    (image, width, self._options.max_pixels),
                    callback=partial(self._answer, f"{number} of {len(widths)}"),
                    error_callback=partial(self._apologize, f"{number} of {len(widths)}"),
                    connection=connection,
                )
            except PoolFullError:
                self._tasks.add(1, "refused")
                connection.write(b"error: too many images wait; try again later\n")
                connection.close()
                return

    def _answer(self, progress: str, connection: Connection, made: tuple[int, int, bytes]) -> None:
        self._tasks.add(1, "made")
        width, height, data = made
        connection.write(f"{progress}: {width}x{height}, {len(data)} bytes\n".encode(), data)

    def _apologize(self, progress: str, connection: Connection, error: BaseException) -> None:
        self._tasks.add(1, "failed")
        text = str(error) if isinstance(error, ImageError) else "it could not be scaled"
        line = " ".join(text.split())
        connection.write(f"{progress}: error: {line}\n".encode(errors="replace"))
