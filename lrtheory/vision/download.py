"""A file from the network: gone on with where an earlier attempt ended, verified, whole or not there.

Lives here: receiving. Lives elsewhere: what is received, and where it is kept (cifar).
"""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lrtheory.spec import ConfigError


def fetch(url: str, to: Path, md5: str, tell: Callable[[str], None] = lambda text: None, *, attempts: int = 5,
          most: int = 2**30) -> None:
    """Download a file, going on where an earlier attempt ended, and verify it.

    What has arrived is kept beside it as NAME.part; the file itself appears only whole and verified.

    Args:
      url: where from.
      to: the file.
      md5: its checksum.
      tell: told of the course, every 10%.
      attempts: connections made before giving up.
      most: bytes that the file has at most.

    Raises:
      ConfigError: not reachable, ended early, or not the file that the checksum names.
    """
    part = to.with_name(to.name + ".part")
    for attempt in range(attempts):
        try:
            _receive(url, part, most, tell)
            break
        except (OSError, EOFError, http.client.HTTPException) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or attempt + 1 == attempts:
                size = part.stat().st_size if part.exists() else 0
                kept = f"{size:,} bytes are kept, the next attempt goes on from there" if size else "nothing was received"
                raise ConfigError(f"{url}: {error}; {kept}; or get the file by other means and give it with "
                                  "--data-dir") from None
            tell(f"{error}; trying again")
            time.sleep(min(2**attempt * 0.1, 5))
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        part.unlink()
        raise ConfigError(f"{url}: md5 {found}; must be {md5}; what was received is removed, try again or get the file by "
                          "other means")
    part.replace(to)


def _receive(url: str, part: Path, most: int, tell: Callable[[str], None]) -> None:
    """Append to a partial file what it lacks."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is lacking
            return
        raise
    with answer:
        resumed = answer.status == 206
        start = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdecimal() else None
        done, shown = start, 0
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(1 << 18):
                file.write(block)
                done += len(block)
                if done > most:
                    raise ConfigError(f"{answer.url}: sends more than {most:,} bytes; must send no more; get it by "
                                      "other means")
                if total and done * 10 // total > shown:
                    shown = done * 10 // total
                    tell(f"{done / 1e6:.0f} of {total / 1e6:.0f} MB")
        if total is not None and done < total:
            raise EOFError(f"ended after {done:,} of {total:,} bytes")
