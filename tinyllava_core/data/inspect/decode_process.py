"""A process of its own that decodes what strangers send: what takes too long or too much memory ends it, and nothing else.

Through its pipes go, each behind its length in 8 bytes: to it a name and an image file; from it a head as JSON, and pixels.
"""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
import threading
from typing import IO

import numpy as np

from tinyllava_core.data.inspect.decode import decode_stranger
from tinyllava_core.errors import BadInput

TIME_LIMIT_S = 20.0  # of one picture: the largest that is allowed takes 8 s
MEMORY_BYTES = 6 << 30  # of the process: the largest picture, mended, takes 2.5 GB


class DecoderProcess:
    """Decodes as `decode_stranger` does, one picture at a time; a process that was ended is started again for the next."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._time_limit_s = time_limit_s
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, image: bytes, name: str) -> np.ndarray:
        """Decode -> [H, W, 3] uint8 RGB. Raises BadInput, with the picture's name."""
        with self._one_at_a_time:
            process = self._started()
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(self._time_limit_s, end)
            timer.start()
            try:
                return _ask(process, image, name)
            except (OSError, EOFError, struct.error):
                self.close()
                why = (
                    f"took longer than {self._time_limit_s:g} s" if late.is_set() else "ended the process that reads it"
                )
                raise BadInput(f"{name}: cannot be read as a picture: it {why}; send a smaller one") from None
            finally:
                timer.cancel()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "tinyllava_core.data.inspect.decode_process"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self._process


def _ask(process: subprocess.Popen[bytes], image: bytes, name: str) -> np.ndarray:
    assert process.stdin is not None
    assert process.stdout is not None
    _write(process.stdin, name.encode(errors="replace"), image)
    head = json.loads(_read(process.stdout))
    if "fault" in head:
        raise BadInput(head["fault"])
    return np.frombuffer(_read(process.stdout), np.uint8).reshape(head["shape"])


def _write(pipe: IO[bytes], *parts: bytes | memoryview) -> None:
    for part in parts:
        pipe.write(struct.pack("<Q", len(part)))
        pipe.write(part)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    """Read one part. Raises EOFError, or struct.error, where the other side is gone."""
    (length,) = struct.unpack("<Q", pipe.read(8))
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def main() -> None:
    """Serve until the other side is gone."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked, told = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            name, image = _read(asked).decode(), _read(asked)
        except (EOFError, struct.error):
            return
        try:
            rgb_HW3 = np.ascontiguousarray(decode_stranger(image, name))
        except BadInput as error:
            _write(told, json.dumps({"fault": str(error)}).encode())
        else:
            _write(told, json.dumps({"shape": rgb_HW3.shape}).encode(), rgb_HW3.reshape(-1).data)


if __name__ == "__main__":
    main()
