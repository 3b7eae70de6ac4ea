"""The key of a workspace's Prefect server: a random text that its owner alone can read. Without it nobody is let in.

Whoever reaches a Prefect server can have its workers start programs: an open one is a shell for every user of the machine,
and for every page that a browser on it shows.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import stat
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tasks.running.alive import home
from tinyllava_core.data.web.door import LOOPBACK
from tinyllava_core.data.web.opener import proxy_of
from tinyllava_core.errors import BadInput

VARIABLE = "PREFECT_API_AUTH_STRING"  # where Prefect's own programs look for it first


def key_file(workspace: Path) -> Path:
    """Say where the key of a workspace lies."""
    return home(workspace) / "auth"


def key_of(workspace: Path) -> str:
    """Give the workspace's key, made if there is none yet. Raises BadInput if others could have read it."""
    file = key_file(workspace)
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        aside = file.with_name(f".auth.{secrets.token_hex(6)}")
        write_private(aside, secrets.token_urlsafe(24))
        with contextlib.suppress(FileExistsError):  # another run was faster: its key is the one
            os.link(aside, file)
        aside.unlink()
    about = file.lstat()
    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise BadInput(
            f"{file}: the key of Prefect's server must be a file that you own and you alone can read (mode 600); remove it, "
            "and a new one is made, or use a workspace of your own"
        )
    return file.read_text()


def write_private(file: Path, text: str) -> None:
    """Write a new file that no other user can read. Raises FileExistsError."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)


def fitting(api_url: str, workspace: Path) -> tuple[bool, str | None]:
    """Find the key that a server takes -> (does it let us in, with which key). One that asks for none is told none.

    The workspace's key and that of `make up` go to a server of our own user on this machine only.
    """
    known = [None, os.environ.get(VARIABLE)]
    if is_ours(api_url):
        with contextlib.suppress(OSError):
            known.append(key_file(workspace).read_text())
        with contextlib.suppress(OSError, tomllib.TOMLDecodeError):
            known.append(tomllib.loads(Path("prefect.toml").read_text()).get("api", {}).get("auth_string"))
    for key in dict.fromkeys(known[:1] + [key for key in known if key]):
        if lets_in(api_url, key):
            return True, key
    return False, None


def lets_in(api_url: str, key: str | None) -> bool:
    """Tell whether a server does what it is asked with this key, or with none."""
    return status(f"{api_url}/hello", key) == 200


def status(url: str, key: str | None = None, timeout_s: float = 5.0) -> int | None:
    """Ask for a page, past the environment's proxy where it is this machine's -> HTTP's status, or None without an answer."""
    headers = {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"} if key is not None else {}
    try:
        proxy = proxy_of(url)
        return httpx.get(url, headers=headers, timeout=timeout_s, proxy=proxy, trust_env=False).status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        return None


def is_ours(api_url: str) -> bool:
    """Tell whether it is our own user who listens at this address, on this machine. Only Linux can say: others are believed."""
    parts = urlsplit(api_url)
    if parts.hostname not in LOOPBACK:
        return False
    tables = [table for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if table.exists()]
    port, owners = f":{parts.port or 80:04X}", []
    for table in tables:
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, _, _, _, owner, *_ = line.split()
            if local.endswith(port) and state == "0A":  # it listens
                owners.append(int(owner))
    return not tables or (bool(owners) and set(owners) == {os.getuid()})
