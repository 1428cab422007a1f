"""What a machine can lack, memory or a place to write, and what to do about it."""

import errno
import shutil
from pathlib import Path

KEPT = "Finished results are saved: run the same command again."
MEMORY = (
    "out of memory? Try smaller batches (batch_size of attribution, alignment and "
    f"evaluation) or fewer jobs at once (--cores). {KEPT}"
)
FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def advice(error: BaseException) -> str | None:
    """Return what to do about an error of memory or disk space, None for others."""
    if _out_of_memory(error):
        return MEMORY
    number = getattr(error, "errno", None)
    if number in FULL:
        return f"the disk is full{_room(error.filename)}. Make room. {KEPT}"
    if number == errno.EFBIG:
        return f"files may not be that large here (ulimit -f). {KEPT}"
    if number in CLOSED:
        return f"this needs a place that may be read and written. {KEPT}"
    return None


def existing(path: Path | str) -> Path:
    """Find what a path leads to, or the nearest folder above that is there."""
    path = Path(path).absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _out_of_memory(error: BaseException) -> bool:
    # The exceptions of torch are known by their names: it need not be there.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or getattr(error, "errno", None) == errno.ENOMEM
        or "can't allocate memory" in str(error)
    )


def _room(path: str | None) -> str:
    if path is None:
        return ""
    folder = existing(path).parent
    disk = shutil.disk_usage(folder)
    return f": {folder} has {disk.free / 1e6:.1f} of {disk.total / 1e6:.1f} MB left"
