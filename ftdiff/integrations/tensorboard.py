"""Event files for TensorBoard, written without torch."""

from __future__ import annotations

import os
import struct
import time

from ftdiff.errors import require
from ftdiff.integrations.entries import Entry

EXTRA = "tensorboard"


class TensorBoard:
    """Event files of one folder, which TensorBoard shows as one run.

    Parameters
    ----------
    folder
        Where to; it is made.

    Raises
    ------
    MissingExtra
        tensorboard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        needed = "logging to TensorBoard"
        files = require("tensorboard.summary.writer.event_file_writer", EXTRA, needed)
        self._event = require("tensorboard.compat.proto.event_pb2", EXTRA, needed).Event
        self._summary = require("tensorboard.compat.proto.summary_pb2", EXTRA, needed).Summary
        self._writer = files.EventFileWriter(os.fspath(folder))

    def log(self, entry: Entry) -> None:
        """Write one entry through to the disk."""
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in entry.numbers.items()
        ]
        for name, png in entry.pictures.items():
            width, height = _size(png)
            image = self._summary.Image(
                width=width, height=height, colorspace=4, encoded_image_string=png
            )
            values.append(self._summary.Value(tag=name, image=image))
        summary = self._summary(value=values)
        self._writer.add_event(self._event(wall_time=time.time(), step=entry.step, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _size(png: bytes) -> tuple[int, int]:
    """Return the width and height that a PNG's header says."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height
