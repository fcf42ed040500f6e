#!/usr/bin/env python3
"""Recomputes Hubward's digests by docs/protocol.md, sharing no code with it.

    digest.py vectors FILE    checks every test vector (semantics/vectors/digests.json)
    digest.py export FILE     prints view digest and content digest of a `spoke export` file, `-` reads standard input

Needs Python 3.9 or later and pycryptodome (TurboSHAKE128).
"""

import hashlib
import json
import struct
import sys
from decimal import Decimal

from Crypto.Hash import TurboSHAKE128

SAFE_INTEGER_MAX = 2**53 - 1
LANES = 1024


# Canonical JSON (RFC 8785)


def canonical(value):
    """The canonical bytes of a parsed JSON value."""
    return canonical_text(value).encode("utf-8")


def canonical_text(value):
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{quoted(n)}:{canonical_text(value[n])}" for n in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical_text(item) for item in value) + "]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return number(value)


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def number(value):
    """A number as ECMAScript writes it."""
    if abs(value) > SAFE_INTEGER_MAX:
        raise ValueError(f"integer beyond 2^53 - 1: {value}")
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, digits)).lstrip("0")
    stripped = digits.rstrip("0")
    exponent += len(digits) - len(stripped)
    k, n = len(stripped), len(stripped) + exponent
    if k <= n <= 21:
        text = stripped + "0" * (n - k)
    elif 0 < n <= 21:
        text = stripped[:n] + "." + stripped[n:]
    elif -6 < n <= 0:
        text = "0." + "0" * -n + stripped
    else:
        mantissa = stripped[0] + ("." + stripped[1:] if k > 1 else "")
        text = f"{mantissa}e{'+' if n > 0 else '-'}{abs(n - 1)}"
    return "-" * sign + text


# The encoding under every digest


def digest(name, fields):
    """SHA-256 over (tag, length, bytes); `fields` is a list of (tag, bytes), where None is left out."""
    hasher = hashlib.sha256()
    for tag, data in [(0, name.encode())] + fields:
        if data is not None:
            hasher.update(struct.pack(">BI", tag, len(data)) + data)
    return hasher.digest()


def u64(value):
    return struct.pack(">Q", value)


def u32(value):
    return struct.pack(">I", value)


def text(value):
    return None if value is None else value.encode("utf-8")


def prefixed(value):
    return u32(len(value.encode("utf-8"))) + value.encode("utf-8")


def dot(value):
    return bytes.fromhex(value["writer"]["node"]) + u32(value["writer"]["epoch"]) + u64(value["n"])


def time(value):
    return u64(value["ms"]) + u32(value["counter"])


def stamp(value):
    return time(value["time"]) + dot(value["dot"])


def version(dots):
    return b"".join(sorted(map(dot, dots)))


def mutation_digest(m):
    op, base, group = m["op"], m["base"], m.get("group")
    body = set_ = remove = None
    if op == "delete":
        code = 3
    elif "put" in op:
        code, body = 1, bytes.fromhex(op["put"])
    else:
        code, set_ = 2, bytes.fromhex(op["set"])
        remove = b"".join(map(prefixed, op["remove"]))
    return digest(
        "hubward/mutation/1",
        [
            (1, bytes.fromhex(m["mutation_id"])),
            (2, dot(m["dot"])),
            (3, group and bytes.fromhex(group["id"]) + u32(group["index"]) + u32(group["size"])),
            (4, text(m["kind"])),
            (5, text(m["id"])),
            (6, bytes.fromhex(m["salt"])),
            (7, bytes([code])),
            (8, body),
            (9, set_),
            (10, remove),
            (11, text(m.get("domain"))),
            (12, text(m.get("subject"))),
            (13, u64(m["incarnation"])),
            (14, version(base["version"])),
            (15, u64(base["revision"])),
            (16, dot(base["own"]) if "own" in base else None),
            (17, time(m["time"])),
            (18, u64(m["written_ms"])),
            (19, bytes.fromhex(m["author"])),
            (20, u64(m["key_id"])),
        ],
    )


def record_digest(r):
    """Digest of a record as an export line states it."""
    body = None
    if "body" in r:
        body = canonical(r["body"])
    elif "body_hex" in r:
        body = bytes.fromhex(r["body_hex"])
    elif not r.get("deleted"):
        raise ValueError("a record has neither body nor body_hex and is not deleted")
    fields = sorted(r.get("fields", {}).items(), key=lambda item: item[0].encode("utf-8"))
    inputs = sorted(stamp(i["stamp"]) + bytes.fromhex(i["salt"]) for i in r.get("inputs", []))
    return digest(
        "hubward/record/1",
        [
            (1, text(r["kind"])),
            (2, text(r["id"])),
            (3, bytes.fromhex(r["salt"])),
            (4, body),
            (5, text(r["domain"])),
            (6, text(r.get("subject"))),
            (7, stamp(r["placement_stamp"])),
            (8, text(r.get("facet"))),
            (9, u64(r["incarnation"])),
            (10, version(r["version"])),
            (11, stamp(r["stamp"])),
            (12, bytes.fromhex(r["author"])),
            (13, u64(r["key_id"])),
            (14, b"".join(prefixed(n) + stamp(f["stamp"]) + bytes([f["removed"]]) for n, f in fields)),
            (15, b"".join(inputs)),
        ],
    )


def conflict_id(kind, record_id, path, first_loser):
    fields = [(1, text(kind)), (2, text(record_id)), (3, text(path)), (4, dot(first_loser))]
    return digest("hubward/conflict/1", fields)


def merged_salt(salts):
    return hashlib.sha256(b"merge" + b"".join(salts)).digest()[:16]


def merkle_root(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


# The multiset hash


# Lanes of 16 bits in slots of 32, so that a sum's carry stays in its slot and is masked away.
SLOTS = int.from_bytes(b"\xff\xff\x00\x00" * (LANES // 2), "little")


def multiset(elements):
    """The state: 1024 sums of 16 bits, little-endian."""
    even = odd = 0
    for element in elements:
        expanded = TurboSHAKE128.new(domain=0x1F).update(element).read(2 * LANES)
        lanes = int.from_bytes(expanded, "little")
        even = (even + (lanes & SLOTS)) & SLOTS
        odd = (odd + (lanes >> 16 & SLOTS)) & SLOTS
    return (even | odd << 16).to_bytes(2 * LANES, "little")


def view_digest(records):
    """Digest of a view's live records."""
    live = (record_digest(record) for record in records if not record.get("deleted"))
    return digest("hubward/view/1", [(1, multiset(live))])


HUB_KINDS = {"kind", "view", "node", "node_type", "policy", "operator", "conflict"}


def content_digest(record):
    """Digest of what a record says, whoever wrote it and wherever."""
    body = bytes.fromhex(record["body_hex"]) if "body_hex" in record else canonical(record["body"])
    return digest("hubward/content/1", [(1, text(record["kind"])), (2, text(record["id"])), (3, body)])


def contents_digest(records):
    said = [r for r in records if not r.get("deleted") and r["kind"] not in HUB_KINDS]
    return digest("hubward/contents/1", [(1, multiset(map(content_digest, said)))])


def cell_digest(cell, state):
    fields = [(1, text(cell["domain"])), (2, text(cell["kind"])), (3, text(cell.get("facet"))), (4, state)]
    return digest("hubward/cell/1", fields)


def commit_leaf(c):
    numbers = [c["commit"], c["first"], c["last"], c["time_ms"], c["horizon"]]
    roots = [c["mutations_root"], c["records_root"], c["cells_root"]]
    fields = [(tag, u64(n)) for tag, n in enumerate(numbers, 1)]
    return digest("hubward/commit/1", fields + [(tag, bytes.fromhex(r)) for tag, r in enumerate(roots, 6)])


def chain(previous, leaf):
    return digest("hubward/chain/1", [(1, previous), (2, leaf)])


# Commands


def unhex(texts):
    return [bytes.fromhex(t) for t in texts]


def vectors(data):
    """Yields (what, expected, found) for each test vector."""
    for v in data["canonical"]:
        yield "canonical", v["canonical_hex"], canonical(json.loads(v["input"]))
    for v in data["mutations"]:
        yield f"mutation: {v['name']}", v["digest"], mutation_digest(v["mutation"])
    for v in data["records"]:
        yield f"record: {v['name']}", v["digest"], record_digest(v["record"])
    for v in data["conflict_ids"]:
        yield "conflict id", v["conflict_id"], conflict_id(v["kind"], v["id"], v["path"], v["first_loser"])
    for v in data["merged_salts"]:
        yield "merged salt", v["salt"], merged_salt(unhex(v["salts"]))
    for v in data["merkle_roots"]:
        yield "merkle root", v["root"], merkle_root(unhex(v["leaves"]))
    for v in data["multisets"]:
        state = multiset(unhex(v["elements"]))
        yield "multiset state", v["state_sha256"], hashlib.sha256(state).digest()
        yield "multiset digest", v["digest"], digest("hubward/view/1", [(1, state)])
    for v in data["cells"]:
        yield "cell", v["digest"], cell_digest(v, multiset(unhex(v["elements"])))
    named = {v["name"]: v["record"] for v in data["records"]}
    for v in data["views"]:
        yield "view", v["digest"], view_digest(named[name] for name in v["records"])
    previous = bytes(32)
    for v in data["chains"]:
        yield "chain before", v["previous"], previous
        yield "commit leaf", v["leaf"], commit_leaf(v)
        previous = chain(previous, commit_leaf(v))
        yield "chain", v["chain"], previous


def check_vectors(path):
    with open(path, encoding="utf-8") as file:
        results = [(what, expected, found.hex()) for what, expected, found in vectors(json.load(file))]
    wrong = [result for result in results if result[1] != result[2]]
    for what, expected, found in wrong:
        print(f"WRONG {what}: expected {expected}, found {found}")
    print(f"{len(results) - len(wrong)} of {len(results)} vectors hold")
    return 1 if wrong else 0


def print_export(path):
    with open(0 if path == "-" else path, encoding="utf-8") as file:
        # Only a line feed ends a line: other separators stand inside texts.
        records = [json.loads(line) for line in file.read().split("\n") if line.strip()]
    live = sum(not record.get("deleted") for record in records)
    found, said = view_digest(records), contents_digest(records)
    print(json.dumps({"records": live, "digest": found.hex(), "content_digest": said.hex()}))
    return 0


def main(arguments):
    commands = {"vectors": check_vectors, "export": print_export}
    if len(arguments) != 2 or arguments[0] not in commands:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    return commands[arguments[0]](arguments[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
