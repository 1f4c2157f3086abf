"""Receives one file on a node, block by block, and passes its blocks on to another node while it does.

Started over SSH for one file and gone with that connection. Orders come as lines of JSON on the standard input, each
followed by the bytes that it announces; answers go to the standard output. Nothing that lies here already is believed
before its digest was looked at, and the file has its name only when the whole of it has the digest that was ordered.
"""

import errno
import fcntl
import hashlib
import hmac
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

BLOCK = 1 << 20
# What is read, looked at and written in one go: so little that it is still in the processor's cache.
PIECE = 1 << 17
# What the pipe from sshd is to hold, so that many of its writes are read at once; fcntl's name for it is of Python 3.10.
PIPE, SET_PIPE_SIZE = 1 << 20, 1031
# How often it is said how much is here.
TELL = 4 << 20
# Seconds without a byte after which a sender is taken for gone.
SILENCE = 120
# Seconds until another node answers, and until its next block comes.
CONNECT, NEXT_BLOCK = 5, 60
# How many strangers may knock before the door stays closed, and seconds until the right one must have come.
STRANGERS, DOOR = 16, 120
ROOM_LEFT = 1 << 20


def say(said, **more):
    print(json.dumps({"said": said, **more}), flush=True)


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


class Other(Exception):
    """What came is not what was ordered."""


class File:
    """The file that is to be here, and what there is of it: `have[i]` only when block `i` was verified."""

    def __init__(self, path, size, digest, mode):
        self.path, self.size, self.digest, self.mode = path, size, digest, mode
        self.partial = path + ".partial"
        self.count = (size + BLOCK - 1) // BLOCK
        self.have = [False] * self.count
        self.blocks = None
        self.fd = None
        self.whole, self.hashed = hashlib.sha256(), 0
        self.got = self.told = 0
        self.changed = threading.Condition()

    def look(self):
        """Says what is here: the whole file, or how many bytes may be of use."""
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            os.makedirs(directory)
            os.chmod(directory, 0o755)
        if self.is_there():
            os.chmod(self.path, self.mode)
            if os.path.lexists(self.partial):
                os.unlink(self.partial)
            self.fd = os.open(self.path, os.O_RDONLY)
            self.have = [True] * self.count
            return say("there")
        self.lock()
        state = os.fstat(self.fd)
        free = os.statvfs(directory)
        free = free.f_bavail * free.f_frsize
        if self.size - min(self.size, state.st_blocks * 512) + ROOM_LEFT > free:
            os.unlink(self.partial)
            say("full", free=free)
            sys.exit(0)
        old = os.path.getsize(self.path) if os.path.isfile(self.path) else 0
        say("found", bytes=max(state.st_size, old))

    def is_there(self):
        if not os.path.isfile(self.path) or os.path.getsize(self.path) != self.size:
            return False
        whole = hashlib.sha256()
        with open(self.path, "rb", buffering=0) as file:
            while True:
                data = file.read(BLOCK)
                if not data:
                    return whole.hexdigest() == self.digest
                whole.update(data)

    def lock(self):
        """Opens the part that is here for itself alone. Who holds it has lost its sender and does not know it yet."""
        for _ in range(200):
            if self.fd is not None:
                os.close(self.fd)
            self.fd = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _, _, _, holder = struct.unpack("hhqqi", fcntl.fcntl(self.fd, fcntl.F_GETLK, asked))
                if kind != fcntl.F_UNLCK and holder > 1:
                    os.kill(holder, signal.SIGKILL)
                time.sleep(0.05)
                continue
            # It may have become whole and got its name since it was opened.
            if os.path.lexists(self.partial) and os.path.samestat(os.fstat(self.fd), os.lstat(self.partial)):
                return
        raise SystemExit(f"`{self.partial}` is held by another process")

    def length(self, index):
        return min(BLOCK, self.size - index * BLOCK)

    def keep(self, blocks):
        """Looks at each block that is here, in the part and in the file of that name, and keeps what is right."""
        if len(blocks) != self.count:
            raise SystemExit(f"{len(blocks)} blocks were told, the file has {self.count}")
        self.blocks = blocks
        old = os.open(self.path, os.O_RDONLY) if os.path.isfile(self.path) else None
        for index, wanted in enumerate(blocks):
            for place in (self.fd, old):
                if place is None:
                    continue
                data = os.pread(place, self.length(index), index * BLOCK)
                if len(data) == self.length(index) and digest_of(data) == wanted:
                    self.put(index, data, place == self.fd)
                    break
        if old is not None:
            os.close(old)

    def put(self, index, data, is_placed=False):
        """Takes a block whose digest was looked at."""
        if not is_placed:
            write(self.fd, data, index * BLOCK)
        if index == self.hashed:
            self.whole.update(data)
        self.mark(index)

    def mark(self, index):
        """From now on the block is here; the digest of the whole has gone past it if it had come so far."""
        if index == self.hashed:
            self.hashed += 1
        with self.changed:
            self.have[index] = True
            self.changed.notify_all()
        self.tell(self.length(index))

    def tell(self, more):
        self.got += more
        if self.got - self.told >= TELL:
            self.told = self.got
            say("has", bytes=self.got)

    def lacking(self):
        return [index for index in range(self.count) if not self.have[index]]

    def need(self, **more):
        """Says which bytes are lacking, as ranges."""
        ranges = []
        for index in self.lacking():
            start, end = index * BLOCK, index * BLOCK + self.length(index)
            if ranges and ranges[-1][1] == start:
                ranges[-1][1] = end
            else:
                ranges.append([start, end])
        say("need", ranges=ranges, **more)

    def take(self, stream):
        """Reads what is lacking, in order; ends with the file under its name."""
        room = memoryview(bytearray(PIECE))
        for index in self.lacking():
            block = hashlib.sha256()
            place, end = index * BLOCK, index * BLOCK + self.length(index)
            while place < end:
                signal.alarm(SILENCE)
                count = stream.readinto1(room[: end - place])
                if not count:
                    raise SystemExit("the sender is gone")
                piece = room[:count]
                if self.blocks:
                    block.update(piece)
                if index == self.hashed:
                    self.whole.update(piece)
                write(self.fd, piece, place)
                place += len(piece)
            if self.blocks and block.hexdigest() != self.blocks[index]:
                raise Other(f"block {index} has the digest {block.hexdigest()}")
            self.mark(index)
        signal.alarm(0)
        self.finish()

    def finish(self):
        for index in range(self.hashed, self.count):
            self.whole.update(os.pread(self.fd, self.length(index), index * BLOCK))
        if self.whole.hexdigest() != self.digest:
            raise Other(f"what arrived has the digest {self.whole.hexdigest()}")
        os.ftruncate(self.fd, self.size)
        os.fchmod(self.fd, self.mode)
        os.rename(self.partial, self.path)
        say("done")

    def drop(self):
        if self.fd is not None and os.path.lexists(self.partial):
            os.unlink(self.partial)


def widen(fd):
    try:
        fcntl.fcntl(fd, SET_PIPE_SIZE, PIPE)
    except OSError:
        # It is no pipe, or this user has used up what pipes may hold: it works as it is.
        return


def drain(stream, length):
    room = memoryview(bytearray(PIECE))
    while length:
        more = stream.readinto1(room[:length])
        if not more:
            raise SystemExit("the sender is gone")
        length -= more


def write(fd, data, place):
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, place)
        view, place = view[written:], place + written


def exactly(connection, length):
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise OSError("it ended the connection")
        view = view[count:]
    return data


def proof(secret, nonce):
    return hmac.new(bytes.fromhex(secret), nonce, hashlib.sha256).digest()


def listen(file, order):
    """Opens a door for one other node and its one secret, on the address under which this node is known."""
    family = socket.AF_INET6 if ":" in order["address"] else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.settimeout(DOOR)
    try:
        door.bind((order["address"], order["port"]))
        door.listen(1)
    except OSError as error:
        door.close()
        return say("closed", why=str(error))
    threading.Thread(target=serve, args=(file, door, order["from"], order["secret"]), daemon=True).start()
    say("listening")


def serve(file, door, successor, secret):
    try:
        with door:
            for _ in range(STRANGERS):
                connection, (address, *_) = door.accept()
                connection.settimeout(CONNECT)
                nonce = os.urandom(32)
                try:
                    if address == successor:
                        connection.sendall(nonce)
                        if hmac.compare_digest(bytes(exactly(connection, 32)), proof(secret, nonce)):
                            break
                except OSError:
                    pass
                connection.close()
            else:
                return
        with connection:
            connection.settimeout(NEXT_BLOCK)
            (length,) = struct.unpack(">I", exactly(connection, 4))
            for first, last in json.loads(exactly(connection, min(length, BLOCK))):
                for index in range(first, last):
                    with file.changed:
                        if not file.changed.wait_for(lambda index=index: file.have[index], NEXT_BLOCK):
                            return
                    connection.sendall(os.pread(file.fd, file.length(index), index * BLOCK))
    except OSError:
        # The other one asks its sender for what it did not get.
        return


def pull(file, order):
    """Gets what is lacking from another node; what it does not give stays lacking."""
    runs = []
    for index in file.lacking():
        if runs and runs[-1][1] == index:
            runs[-1][1] = index + 1
        else:
            runs.append([index, index + 1])
    try:
        there, here = (order["address"], order["port"]), (order["own"], 0)
        with socket.create_connection(there, CONNECT, here) as connection:
            connection.settimeout(NEXT_BLOCK)
            connection.sendall(proof(order["secret"], bytes(exactly(connection, 32))))
            wanted = json.dumps(runs).encode()
            connection.sendall(struct.pack(">I", len(wanted)) + wanted)
            for index in file.lacking():
                data = exactly(connection, file.length(index))
                if digest_of(data) != file.blocks[index]:
                    raise OSError(f"it sent another block than number {index}")
                file.put(index, data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return file.need(why=str(error))
    file.need()


def main():
    widen(sys.stdin.fileno())
    stream = sys.stdin.buffer
    first = json.loads(stream.readline())
    file = File(first["path"], first["size"], first["digest"], first["mode"])
    try:
        file.look()
        for line in iter(stream.readline, b""):
            order = json.loads(line)
            if order["do"] == "probe":
                drain(stream, order["bytes"])
                say("probed")
            elif order["do"] == "blocks":
                file.keep(order["digests"])
                file.need()
            elif order["do"] == "listen":
                listen(file, order)
            elif order["do"] == "pull":
                pull(file, order)
            elif order["do"] == "take":
                file.take(stream)
    except Other as other:
        file.drop()
        say("other", why=str(other))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        file.drop()
        say("full", free=0)


main()
