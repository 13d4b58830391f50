"""Sweeping what was stored in folders by day: a few files at a time, so that nobody waits long for it.

It is nobody's failure that something can't be deleted: another process may be quicker, or it may be another's to do.
"""

from __future__ import annotations

import logging
import re
import threading

log = logging.getLogger(__name__)
AT_ONCE = 4  # files; a put adds one, so what is too old gets less with each
LOOK_EVERY_S = 3600.0
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Sweep:
    """Deletes the folders of days that are over; safe to use from many threads.

    Args:
        url: the folder they are in.
    """

    def __init__(self, url: str) -> None:
        import fsspec  # with it comes asyncio, which nobody needs who has nothing to put

        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._folders: list[str] = []
        self._files: list[str] = []
        self._next_look_s = 0.0
        self._busy = threading.Lock()

    def step(self, *, before: str, now_s: float) -> None:
        """Deletes at most a few files of days before this one; looks for such days once an hour.

        Args:
            before: the first day that is kept, as in `2030-01-31`.
            now_s: epoch seconds.
        """
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._step(before, now_s)
        except Exception as error:  # noqa: BLE001 - a store's errors are of any kind, and a sweep is nobody's failure
            log.info("not swept", extra={"folder": self._root, "error": str(error)})
        finally:
            self._busy.release()

    def _step(self, before: str, now_s: float) -> None:
        if not self._files and not self._folders:
            if now_s < self._next_look_s:
                return
            self._next_look_s = now_s + LOOK_EVERY_S
            self._folders = [
                path for path in self._list(self._root) if _DAY.fullmatch(_name(path)) and _name(path) < before
            ]
        if not self._files and self._folders:
            self._files = self._list(self._folders[-1])
        for _ in range(min(AT_ONCE, len(self._files))):
            self._delete(self._files.pop())
        if not self._files and self._folders:
            self._delete_folder(self._folders.pop())

    def _list(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            return list(self._fs.ls(folder, detail=False))
        except FileNotFoundError:  # another process sweeps, too
            return []

    def _delete(self, path: str) -> None:
        try:
            self._fs.rm_file(path)
        except OSError as error:
            log.debug("not swept", extra={"path": path, "error": str(error)})

    def _delete_folder(self, path: str) -> None:
        try:
            self._fs.rmdir(path)
        except OSError as error:
            log.debug("not swept", extra={"path": path, "error": str(error)})


def _name(path: str) -> str:
    return path.rstrip("/").rsplit("/", maxsplit=1)[-1]
