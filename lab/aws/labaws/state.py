"""The emulator's whole memory as one file: written after changes and at the end, read at the start.

All services go into one pickle, because they refer to each other's objects. A write goes to a temporary file, is
synced and renamed, so a killed emulator finds either the last or the one before.
"""

import io
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moto.backends
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from moto.core.base_backend import BackendDict

from . import machines, network, settings, tokens, world

FORMAT = 1
WRITE_AFTER = 0.3  # seconds in which further changes share one write
dirty = threading.Event()
written = b""


def memory() -> bytes:
    """What there is to keep, as bytes; a service that cannot be kept is left out, loudly."""
    try:
        return pickled(lambda service, backend: True)
    except Exception:
        return pickled(can_be_kept)


def pickled(wanted: Callable[[str, Any], bool]) -> bytes:
    backends: dict = {}
    for service, account, region, backend in world.in_use():
        if wanted(service, backend):
            backends.setdefault(service, {}).setdefault(account, {})[region] = backend
    return dumped({"format": FORMAT, "backends": backends, "tokens": dict(tokens.MEMORY)})


def private_key(pem: bytes) -> object:
    return serialization.load_pem_private_key(pem, None)


class Pickler(pickle.Pickler):
    """Keeps private keys (moto's KMS has some) as PEM: the library's own objects cannot be pickled."""

    def reducer_override(self, thing: object) -> object:
        if isinstance(thing, PrivateKeyTypes):
            form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            return private_key, (thing.private_bytes(*form),)
        return NotImplemented


def dumped(thing: object) -> bytes:
    made = io.BytesIO()
    Pickler(made).dump(thing)
    return made.getvalue()


def can_be_kept(service: str, backend: Any) -> bool:
    try:
        dumped(backend)
    except Exception as why:
        world.say(f"state: `{service}` cannot be kept:", repr(why)[:200])
        return False
    return True


def put_back(data: bytes) -> None:
    kept = pickle.loads(data)
    if kept["format"] != FORMAT:
        raise ValueError(f"the state has format {kept['format']}, this emulator writes {FORMAT}")
    BackendDict.reset()
    for service, accounts in kept["backends"].items():
        shelves = moto.backends.get_backend(service)
        for account, regions in accounts.items():
            for region, backend in regions.items():
                dict.__setitem__(shelves[account], region, backend)
    tokens.MEMORY.clear()
    tokens.MEMORY.update(kept["tokens"])
    network.told = ""


def write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def follow() -> None:
    """A follower of world.change."""
    dirty.set()


def keep() -> None:
    """Writes the state if it differs from what was written."""
    global written
    with world.LOCK:
        data = memory()
    if data != written:
        write(settings.current.dir / "state", data)
        written = data


def keeper() -> None:
    """A thread: writes soon after a change."""
    while True:
        dirty.wait()
        threading.Event().wait(WRITE_AFTER)
        dirty.clear()
        try:
            keep()
        except OSError as why:
            world.say("state: not written:", why)


def begin() -> None:
    """Reads the state of an earlier emulator, asks again for machine calls it left open, starts the keeper."""
    path = settings.current.dir / "state"
    if path.exists():
        put_back(path.read_bytes())
        machines.resume()
    threading.Thread(target=keeper, name="state", daemon=True).start()


def save(file: str) -> dict:
    with world.LOCK:
        data = memory()
    write(Path(file), data)
    return {"file": file, "bytes": len(data)}


def restore(file: str) -> dict:
    data = Path(file).read_bytes()
    with world.change():
        put_back(data)
    machines.resume()
    return {"file": file, "bytes": len(data)}


def changed(deed: Callable[..., Any], *words: Any) -> Any:
    """Does something that is no API call, with all that follows a change."""
    with world.change():
        return deed(*words)
