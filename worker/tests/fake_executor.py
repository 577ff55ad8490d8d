#!/usr/bin/env python3
"""An executor without an engine: speaks the frames of proto/windrow/v1/executor.proto over file descriptor 3.

Its job copies: the output of a task is the bytes of its inputs. The job's `program` makes it misbehave.
"""
import os
import signal
import socket
import struct
import sys
import time

sock = socket.socket(fileno=3)


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    return varint(number << 3 | 2) + varint(len(value)) + value


def parse(data):
    """Fields by number, each a list of ints or bytes."""
    fields, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        elif key & 7 == 2:
            size = number()
            value = data[at:at + size]
            at += size
        else:
            size = {1: 8, 5: 4}[key & 7]
            value = data[at:at + size]
            at += size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def one(fields, number, default=b""):
    return fields.get(number, [default])[0]


def read_exactly(n):
    data = b""
    while len(data) < n:
        got = sock.recv(n - len(data))
        if not got:
            sys.exit(0)
        data += got
    return data


def receive():
    (size,) = struct.unpack("<I", read_exactly(4))
    return parse(read_exactly(size))


def send(message):
    sock.sendall(struct.pack("<I", len(message)) + message)


def failure(code, message):
    return field(1, code.encode()) + field(2, message.encode())


def read_inputs(task, local):
    """Bytes of chunks where they lie, and of segments where they were staged."""
    out = b""
    staged = {one(l, 1, 0): l.get(2, []) for l in map(parse, local)}
    for number, raw in enumerate(task.get(2, [])):
        kind = parse(raw)
        for piece in parse(one(kind, 1)).get(1, []):
            piece = parse(piece)
            with open(one(piece, 1), "rb") as f:
                f.seek(one(piece, 2, 0))
                out += f.read(one(piece, 3, 0))
        refs = parse(one(kind, 2)).get(1, [])
        for ref, place in zip(refs, staged.get(number, [])):
            length = one(parse(one(parse(ref), 4)), 3, 0)
            place = parse(place)
            with open(one(place, 1), "rb") as f:
                f.seek(one(place, 2, 0))
                got = f.read(length)
            assert len(got) == length, (len(got), length)
            out += got
    return out


def run(message):
    task = parse(one(message, 1))
    folder = one(message, 2).decode()
    os.makedirs(folder, exist_ok=True)
    assert set(os.listdir(folder)) <= {"in"}, "the folder has more than inputs"
    attempt = one(task, 1)
    data = read_inputs(task, message.get(3, []))
    reports = b""
    for i, raw in enumerate(task.get(3, [])):
        output = parse(raw)
        if 1 in output:
            with open(f"{folder}/edge-{i}", "wb") as f:
                f.write(data)
            segment = field(3, len(data)) + field(4, 1) + field(5, len(data))
            reports += field(1, field(1, field(1, segment)))
        elif 2 in output:
            reports += field(1, field(2, data))
        else:
            sink = one(output, 3, 0)
            with open(f"{folder}/sink-{sink}", "wb") as f:
                f.write(data)
            reports += field(1, field(3, field(1, sink) + field(2, len(data)) + field(3, 1)))
    send(field(2, field(1, attempt) + field(2, reports)))


def main():
    assert sys.argv[1:] == ["__windrow-executor"], sys.argv
    setup = parse(one(receive(), 1))
    program = one(setup, 2).decode()
    if program == "fds":
        # Listing opens one more, which is closed when the link is looked at.
        links = [n for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]
        print("fds", sorted(map(int, links)), "env", sorted(os.environ), "cwd", os.getcwd(), flush=True)
    if program == "setup_fails":
        return send(field(4, field(1, failure("PLAN_INVALID", "no such plan"))))
    if program == "dies_early":
        sys.stderr.write("cannot plan\n")
        sys.stderr.flush()
        os._exit(5)
    fingerprint = one(setup, 4) if program != "other_plan" else field(1, bytes(32))
    send(field(1, field(1, one(setup, 1, 0)) + field(2, fingerprint)))
    seen = 0
    while True:
        frame = receive()
        if 2 not in frame:
            continue
        message = parse(one(frame, 2))
        task = parse(one(message, 1))
        attempt = one(task, 1)
        index = one(parse(one(parse(attempt), 1)), 3, 0)
        if program == "segv":
            sys.stderr.write("about to crash\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        if program == "segv_at_13":
            # The first executor of the job takes two tasks and dies of one of them, without saying which.
            if not os.path.exists("died"):
                seen += 1
                if seen < 2:
                    continue
                open("died", "w").close()
                os.kill(os.getpid(), signal.SIGSEGV)
            if index == 13:
                os.kill(os.getpid(), signal.SIGSEGV)
        if program == "exit3":
            sys.stderr.write("".join(f"line {i}\n" for i in range(50)) + "last words\n")
            sys.stderr.flush()
            os._exit(3)
        if program == "flood":
            for _ in range(300):
                os.write(1, b"x" * 99999 + b"\n")
            sys.stderr.write("done flooding\n")
            sys.stderr.flush()
        if program == "garbage":
            sock.sendall(b"\xff" * 64)
            time.sleep(60)
        if program == "user_error":
            sys.stderr.write("the record is bad\n")
            sys.stderr.flush()
            send(field(3, field(1, attempt) + field(2, failure("USER_ERROR", "bad record"))))
            continue
        if program == "gated":
            open("begun", "w").close()
            while not os.path.exists("open"):
                time.sleep(0.005)
        if program == "hang" or program == "hang_at_13" and index == 13:
            continue
        run(message)


main()
