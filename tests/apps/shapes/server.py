"""An HTTP server that reads and writes by the system call that it is told to use.

    server.py [--port N] [--reuse-port] [--also] [--serve here|fork|wait|pass] [--linger SECONDS] [--beside N]
              [--upstream PORT] SHAPE...

Prints "listening on PORT"; before that, with `--also` "also on PORT" for a second port, and with `--serve pass`
"worker PID". The connections are served one after
another, until the client closes; the Nth by the Nth SHAPE, around and around. A SHAPE is `key=value,...`:

    accept=  accept4 | accept
    fd=      plain | dup | dup2 | dup3 | dupfd | close_range
    read=    read | readv | recvfrom | recvmsg | recvmmsg | peek | peekmsg | splice
    write=   write | writev | sendto | sendmsg | sendmmsg | sendfile | splice
    speak=   http | echo

`--serve` says who serves a connection: this process; a child that is forked for it, while this process closes it at
once or waits; or another process that it is passed to (SCM_RIGHTS), `--beside` N other descriptors in one message.
`/NAME/STATUS/LENGTH` is answered with that status and so many bytes; `/touch-N/200/0` touches N fresh pages first,
`/io_uring/200/0` sets up an io_uring, and with `--upstream` `/waits/200/0` and `/blocks/200/0` ask another such server,
with a wait for its answer or without, and touch 300 fresh pages when they have it.
Needs Python 3.10 and the C library of glibc 2.34 on x86-64 or arm64.
"""

import argparse
import ctypes
import fcntl
import mmap
import os
import select
import signal
import socket
import sys
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)
SYS_IO_URING_SETUP = 425
SYS_CLOSE_RANGE = 436
PR_SET_THP_DISABLE = 41


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", Msghdr), ("len", ctypes.c_uint)]


def checked(result):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def messages(buffers):
    """One message for each buffer."""
    vectors = [Iovec(ctypes.cast(b, ctypes.c_void_p), len(b)) for b in buffers]
    array = (Mmsghdr * len(buffers))()
    for message, vector in zip(array, vectors):
        message.hdr.iov = ctypes.pointer(vector)
        message.hdr.iovlen = 1
    return array


# Reading: (connection's descriptor, how many bytes at most) -> bytes, none of them at the end.


def readv(fd, most):
    buffers = [bytearray(7), bytearray(20), bytearray(most)]
    length = os.readv(fd, buffers)
    return b"".join(buffers)[:length]


def recvmmsg(fd, most):
    buffers = [ctypes.create_string_buffer(most) for _ in range(2)]
    array = messages(buffers)
    # MSG_WAITFORONE: what is there, and no waiting for more.
    count = checked(libc.recvmmsg(fd, array, len(array), 0x10000, None))
    return b"".join(buffers[i].raw[: array[i].len] for i in range(count))


def peek(fd, most):
    with borrowed(fd) as connection:
        connection.recv(most, socket.MSG_PEEK)
        connection.recv(most, socket.MSG_PEEK)
    return os.read(fd, most)


def peekmsg(fd, most):
    with borrowed(fd) as connection:
        connection.recvmsg(most, 0, socket.MSG_PEEK)
        return connection.recvmsg(most)[0]


def splice_from(fd, most):
    """A head is read up to its end and no further; bodies go through a pipe."""
    with borrowed(fd) as connection:
        ahead = connection.recv(most, socket.MSG_PEEK)
        head = ahead.find(b"\r\n\r\n")
        if ahead[:4] in (b"GET ", b"POST"):
            return connection.recv(head + 4)
    source, sink = os.pipe()
    length = os.splice(fd, sink, most)
    data = os.read(source, length) if length else b""
    os.close(source)
    os.close(sink)
    return data


def method(name):
    def call(fd, most):
        with borrowed(fd) as connection:
            got = getattr(connection, name)(most)
        return got[0] if isinstance(got, tuple) else got

    return call


READ = {
    "read": os.read,
    "readv": readv,
    "recvfrom": method("recv"),
    "recvmsg": method("recvmsg"),
    "recvmmsg": recvmmsg,
    "peek": peek,
    "peekmsg": peekmsg,
    "splice": splice_from,
}

# Writing: (connection's descriptor, head, body), all of it.


def write(fd, data):
    while data:
        data = data[os.write(fd, data) :]


def writev(fd, head, body):
    pieces = [head[:10], head[10:], body[:1000], body[1000:]]
    rest = b"".join(pieces)[os.writev(fd, pieces) :]
    while rest:
        rest = rest[os.writev(fd, [rest]) :]


def send(fd, head, body):
    rest = head + body
    with borrowed(fd) as connection:
        while rest:
            rest = rest[connection.send(rest) :]


def sendmsg(fd, head, body):
    with borrowed(fd) as connection:
        rest = (head + body)[connection.sendmsg([head, body]) :]
        while rest:
            rest = rest[connection.sendmsg([rest]) :]


def sendmmsg(fd, head, body):
    buffers = [ctypes.create_string_buffer(data, len(data)) for data in (head, body) if data]
    array = messages(buffers)
    sent = checked(libc.sendmmsg(fd, array, len(array), 0))
    length = sum(array[i].len for i in range(sent))
    write(fd, (head + body)[length:])


def sendfile(fd, head, body):
    write(fd, head)
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        at = 0
        while at < len(body):
            at += os.sendfile(fd, file.fileno(), at, len(body) - at)


def splice_to(fd, head, body):
    write(fd, head)
    source, sink = os.pipe()
    while body:
        piece, body = body[:4096], body[4096:]
        write(sink, piece)
        left = len(piece)
        while left:
            left -= os.splice(source, fd, left)
    os.close(source)
    os.close(sink)


WRITE = {
    "write": lambda fd, head, body: write(fd, head + body),
    "writev": writev,
    "sendto": send,
    "sendmsg": sendmsg,
    "sendmmsg": sendmmsg,
    "sendfile": sendfile,
    "splice": splice_to,
}

# Descriptors: a connection's, and the one to serve it on.

HIGH = 200

FD = {
    "plain": lambda fd: fd,
    "dup": lambda fd: moved(fd, checked(libc.dup(fd))),
    "dup2": lambda fd: moved(fd, checked(libc.dup2(fd, HIGH))),
    "dup3": lambda fd: moved(fd, checked(libc.dup3(fd, HIGH + 1, os.O_CLOEXEC))),
    "dupfd": lambda fd: moved(fd, fcntl.fcntl(fd, fcntl.F_DUPFD, HIGH + 2)),
    "close_range": lambda fd: fd,
}


def moved(old, new):
    os.close(old)
    return new


class borrowed:
    """A socket object on a descriptor that is somebody else's."""

    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)

    def __enter__(self):
        return self.socket

    def __exit__(self, *_):
        self.socket.detach()


def accept(listener, how):
    if how == "accept":
        return checked(libc.accept(listener.fileno(), None, None))
    return listener.accept()[0].detach()  # accept4


def ask(port, waits):
    """What a server does that needs another one's answer: 300 faults after it has it."""
    with socket.socket() as upstream:
        upstream.connect(("127.0.0.1", port))
        upstream.sendall(b"GET /upstream/200/1000 HTTP/1.1\r\n\r\n")
        if waits:
            select.select([upstream], [], [])
        upstream.recv(65536)
        touch(300)


def touch(count):
    """As many faults."""
    with mmap.mmap(-1, count * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        for page in range(count):
            pages[page * mmap.PAGESIZE] = 1


def serve(fd, shape, upstream=None):
    """Requests until the client closes; then closes too."""
    read = READ[shape.get("read", "read")]
    write = WRITE[shape.get("write", "write")]
    while shape.get("speak") == "echo":
        piece = read(fd, 65536)
        if not piece:
            return os.close(fd)
        write(fd, piece, b"")
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            piece = read(fd, 65536)
            if not piece:
                if shape.get("fd") == "close_range":
                    checked(libc.syscall(SYS_CLOSE_RANGE, fd, fd, 0))
                else:
                    os.close(fd)
                return
            data += piece
        head, data = data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        length = 0
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        while len(data) < length:
            data += read(fd, 65536)
        data = data[length:]
        _, name, status, size = lines[0].split(" ")[1].split("/")
        if name == "io_uring":
            parameters = ctypes.create_string_buffer(120)
            checked(libc.syscall(SYS_IO_URING_SETUP, 4, parameters))
        if name.startswith("touch-"):
            touch(int(name.removeprefix("touch-")))
        if upstream and name in ("waits", "blocks"):
            ask(upstream, name == "waits")
        answer = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {size}\r\n\r\n"
        write(fd, answer.encode(), b"x" * int(size))


def worker(channel):
    """Serves what it is passed."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 1000, 253)
        if not message:
            return
        for beside in descriptors[:-1]:
            os.close(beside)
        serve(descriptors[-1], parsed(message.decode()))


def listen(port, reuse_port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    return listener


def parsed(shape):
    return dict(pair.split("=") for pair in shape.split(",") if pair)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--reuse-port", action="store_true")
    parser.add_argument("--also", action="store_true")
    parser.add_argument("--serve", choices=["here", "fork", "wait", "pass"], default="here")
    parser.add_argument("--linger", type=float, default=0, help="a forked child waits before it reads")
    parser.add_argument("--beside", type=int, default=0, help="other descriptors that are passed before a connection")
    parser.add_argument("--upstream", type=int, help="where the server listens that is asked")
    parser.add_argument("shapes", nargs="*", default=[""])
    args = parser.parse_args()
    shapes = args.shapes or [""]
    # A fault maps one page.
    checked(libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
    if args.serve == "pass":
        here, there = socket.socketpair()
        child = os.fork()
        if child == 0:
            here.close()
            return worker(there)
        there.close()
        print("worker", child, flush=True)
    listeners = [listen(args.port, args.reuse_port)]
    if args.also:
        listeners.append(listen(0, False))
        print("also on", listeners[1].getsockname()[1], flush=True)
    if args.serve == "fork":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("listening on", listeners[0].getsockname()[1], flush=True)
    number = 0
    while True:
        shape = parsed(shapes[number % len(shapes)])
        ready = select.select(listeners, [], [])[0] if args.also else listeners
        fd = accept(ready[0], shape.get("accept", "accept4"))
        number += 1
        if args.serve in ("fork", "wait"):
            child = os.fork()
            if child == 0:
                time.sleep(args.linger)
                serve(FD[shape.get("fd", "plain")](fd), shape)
                os._exit(0)
            if args.serve == "wait":
                os.waitpid(child, 0)
            os.close(fd)
        elif args.serve == "pass":
            beside = [listeners[0].fileno()] * args.beside
            socket.send_fds(here, [shapes[(number - 1) % len(shapes)].encode() or b","], [*beside, fd])
            os.close(fd)
        else:
            serve(FD[shape.get("fd", "plain")](fd), shape, args.upstream)


if __name__ == "__main__":
    sys.exit(main())
