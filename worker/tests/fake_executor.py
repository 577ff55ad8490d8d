#!/usr/bin/env python3
"""An executor without an engine: speaks the frames of proto/windrow/v1/executor.proto over file descriptor 3.

Its job copies: the output of a task is the bytes of its inputs, in every partition of an edge. The job's `program` makes it
misbehave. If it begins with `spool_`, outputs of edges go to the spool.
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


def ints(fields, number):
    """A packed list of varints."""
    out = []
    for packed in fields.get(number, []):
        n = shift = 0
        for byte in packed:
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                out.append(n)
                n = shift = 0
    return out


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


# Bytes before the content of a block.
HEAD = 20


def prefix(attempt):
    """How the names of an attempt's files begin."""
    attempt = parse(attempt)
    task = parse(one(attempt, 1))
    return f"{one(task, 2, 0)}-{one(task, 3, 0)}-{one(attempt, 2, 0)}-{one(attempt, 3, 0)}."


def identity(attempt, output, partition):
    """What the checksums of blocks and indexes cover besides their bytes."""
    attempt = parse(attempt)
    task = parse(one(attempt, 1))
    numbers = one(task, 2, 0), one(task, 3, 0), one(attempt, 2, 0), output, partition
    return one(parse(one(task, 1)), 1) + struct.pack("<Q5I", one(attempt, 3, 0), *numbers)


def block(data, attempt, output, partition):
    """A block with these bytes, of an attempt's output. The checksum of a large one would take long, and is not checked."""
    head = struct.pack("<4BIII", 0xB7, 1, 0, 0, len(data), len(data), 1)
    checked = crc32c(head + identity(attempt, output, partition) + data) if len(data) < 1 << 20 else 0
    return head + struct.pack("<I", checked) + data


def image(data, partitions, attempt, output):
    """A shuffle file whose segments all have one block with these bytes."""
    size = HEAD + len(data)
    index = b"".join(struct.pack("<IQQQQI", p, p * size, size, 1, len(data), 0) for p in range(partitions))
    tail = index + struct.pack("<QII", partitions * size, partitions, 5)
    blocks = b"".join(block(data, attempt, output, p) for p in range(partitions))
    return blocks + tail + struct.pack("<I8s", crc32c(tail + identity(attempt, output, 0)), b"windrowS")


class Lost(Exception):
    """An output cannot be read."""


def segment(path, base, length, partition):
    """The bytes of one partition of an image in a file; none if it is no image."""
    with open(path, "rb") as f:
        f.seek(base)
        whole = f.read(length)
    if len(whole) != length or whole[-8:] != b"windrowS":
        return None
    offset, entries = struct.unpack("<QI", whole[-28:-16])
    for at in range(entries):
        number, start, size = struct.unpack("<IQQ", whole[offset + 40 * at:][:20])
        if number == partition:
            return whole[start + HEAD:start + size]
    return b""


# The outputs in place, by stage and output.
placed = {}


def learn_places(message):
    columns = zip(*(ints(message, n) for n in (6, 7, 8, 9, 10, 11)))
    version = one(message, 3, 0), one(message, 4, 0)
    placed[one(message, 1, 0), one(message, 2, 0)] = version, message.get(5, []), list(columns)


def read_edge(job, ports, files, partition, names):
    """The segments of all ports, by task; `names` says where each was found."""
    out = b""
    assert len(ports) == len(files), "the files of every port are known"
    for number, port in enumerate(ports):
        at = files[number]
        version, paths, outputs = placed.get((one(port, 1, 0), one(port, 2, 0)), ((0, 0), [], []))
        if one(at, 3, 0):
            assert version == (one(port, 3, 0), one(port, 4, 0)), "places of this table came before the task"
            assert len(outputs) == one(at, 3, 0), (len(outputs), at)
        else:
            outputs = []
        found = []
        for task, number, epoch, file, base, length in outputs:
            data = segment(paths[file], base, length, partition)
            if data is None:
                task_id = field(1, job) + field(2, one(port, 1, 0)) + field(3, task)
                raise Lost(field(1, field(1, task_id) + field(2, number) + field(3, epoch)) + field(2, one(port, 2, 0)))
            found.append((task, b"in place " + os.path.basename(paths[file]), data))
        for file in map(parse, at.get(4, [])):
            with open(one(file, 1), "rb") as f:
                for task, length in zip(ints(file, 2), ints(file, 5)):
                    found.append((task, b"fetched", f.read(length)[HEAD:]))
                assert f.read() == b"", "a fetched file has nothing else"
        for _, name, data in sorted(found):
            names.append(name)
            out += data
    return out


def read_inputs(task, message, names):
    """Bytes of chunks where they lie, and of segments where they were staged."""
    out = b""
    task_id = parse(one(parse(one(task, 1)), 1))
    job, partition = one(task_id, 1), one(task_id, 3, 0)
    staged = {}
    for files in map(parse, message.get(20, [])):
        staged.setdefault(one(files, 1, 0), {})[one(files, 2, 0)] = files
    for number, raw in enumerate(task.get(2, [])):
        kind = parse(raw)
        for piece in parse(one(kind, 1)).get(1, []):
            piece = parse(piece)
            with open(one(piece, 1), "rb") as f:
                f.seek(one(piece, 2, 0))
                out += f.read(one(piece, 3, 0))
        if 20 in kind:
            ports = [parse(port) for port in parse(one(kind, 20)).get(1, [])]
            out += read_edge(job, ports, staged.get(number, {}), partition, names)
    return out


def run(message, spool, says_places):
    task = parse(one(message, 1))
    attempt = one(task, 1)
    path = f"{one(message, 2).decode()}/{prefix(attempt)}"
    names = []
    try:
        data = read_inputs(task, message, names)
    except Lost as lost:
        why = field(2, failure("SEGMENT_CORRUPT", "it is damaged"))
        return send(field(3, field(1, attempt) + why + field(20, lost.args[0])))
    if says_places and names:
        data = b"\n".join(names)
    reports = spooled = b""
    for i, raw in enumerate(task.get(3, [])):
        output = parse(raw)
        if 1 in output:
            partitions = one(output, 1, 0)
            size = HEAD + len(data) if data else 0
            reports += field(1, field(1, field(20, size * partitions) + field(21, partitions if data else 0)))
            if not data:
                continue
            whole = image(data, partitions, attempt, i)
            if spool:
                with open(spool, "ab") as f:
                    spooled += field(20, field(1, i) + field(2, f.tell()) + field(3, len(whole)))
                    f.write(whole)
            else:
                with open(f"{path}edge-{i}", "xb") as f:
                    f.write(whole)
        elif 2 in output:
            reports += field(1, field(2, data))
        else:
            sink = one(output, 3, 0)
            with open(f"{path}sink-{sink}", "xb") as f:
                f.write(data)
            reports += field(1, field(3, field(1, sink) + field(2, len(data)) + field(3, 1)))
    send(field(2, field(1, attempt) + field(2, reports) + spooled))


def main():
    assert sys.argv[1:] == ["__windrow-executor"], sys.argv
    setup = parse(one(receive(), 1))
    program = one(setup, 2).decode()
    spool = one(setup, 20) if program.startswith("spool_") else None
    program = program.removeprefix("spool_")
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
        if 20 in frame:
            learn_places(parse(one(frame, 20)))
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
        if program.endswith("crash_at_13") and index == 13:
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
        run(message, spool, program.startswith("places"))
        if program == "says_twice":
            send(field(2, field(1, attempt)))
        if program == "says_of_another":
            task_id = parse(one(parse(attempt), 1))
            other = field(1, one(task_id, 1)) + field(2, one(task_id, 2, 0)) + field(3, index + 1)
            send(field(2, field(1, field(1, other) + field(3, 1) + field(4, 1))))


main()
