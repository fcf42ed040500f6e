"""What each part of the hub costs, from what perf or callgrind wrote: a table, the dearest part first.

profile_parts.py perf SYMBOLS EACH      of `perf report -F overhead,dso,symbol -t '~'`; EACH: microseconds of an operation
profile_parts.py callgrind FILE ENTRY   of callgrind's own file; an operation is a call of the function whose name ENTRY fits
"""

import re
import sys
from collections import defaultdict

# The first that fits; of a generic function the crate that is named first counts.
PARTS = [
    ("kernel", r"kernel"),
    ("copies and comparisons of bytes", r"^(__)?mem(cpy|move|cmp|set)|memmove|memcpy|memcmp|memset"),
    ("allocator", r"mi_|malloc|realloc|__rust_(de|re)?alloc|calloc|\bfree\b"),
    ("sums of cells (LtHash)", r"\bpulp\b|lthash|keccak|sha3"),
    ("digests (SHA-256, BLAKE3, HMAC)", r"\b(sha2|blake3|hmac|digest::)\b"),
    ("hub: deciding and appending", r"gateway::(hub|store)"),
    ("hub: calls and sessions", r"gateway::"),
    ("rules (semantics)", r"semantics::"),
    ("messages (prost)", r"\b(prost|proto)::"),
    ("database driver (sqlx)", r"\b(sqlx\w*|libsqlite3_sys)::"),
    ("HTTP/2 (h2, hyper, tonic, axum)", r"\b(h2|hyper\w*|tonic|axum\w*|tower\w*|http\w*|matchit)::"),
    ("compression", r"\b(zstd\w*|flate2|miniz_oxide)::|^ZSTD_"),
    ("JSON", r"\bserde_json::"),
    ("runtime (tokio)", r"\b(tokio\w*|mio|futures\w*|parking_lot\w*)::|pthread|futex|epoll"),
    ("SQLite", r"^(sqlite3|pager|btree|balance|pcache|vdbe|wal)"),
    ("bytes and maps", r"\b(bytes|hashbrown|indexmap|alloc|core|std)::"),
]


def part(name: str) -> str:
    return next((title for title, pattern in PARTS if re.search(pattern, name)), "the rest")


def told(rows: dict[str, float], unit: str) -> None:
    whole = sum(rows.values())
    print(f"| part | {unit} | share |\n|---|---|---|")
    for title, cost in sorted(rows.items(), key=lambda row: -row[1]):
        print(f"| {title} | {cost:,.1f} | {100 * cost / whole:.0f} % |")
    print(f"| all | {whole:,.1f} | 100 % |")


def perf(symbols: str, each_us: float) -> None:
    rows: dict[str, float] = defaultdict(float)
    for line in open(symbols, encoding="utf-8"):
        share, dso, symbol, *_ = [field.strip() for field in line.split("~")]
        rows[part("kernel" if "kernel" in dso else symbol.split("] ", 1)[-1])] += float(share.rstrip("%"))
    whole = sum(rows.values())
    told({title: share / whole * each_us for title, share in rows.items()}, "µs each")


def callgrind(path: str, entry: str) -> None:
    names: dict[str, str] = {}
    rows: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    inside, callee, is_call = "", "", False
    for line in open(path, encoding="utf-8", errors="replace"):
        if found := re.match(r"(c?fn)=(\(\d+\))(?: (.*))?$", line):
            kind, number, name = found.groups()
            names.setdefault(number, name or "")
            if kind == "fn":
                inside = names[number]
            else:
                callee = names[number]
        elif line.startswith("calls="):
            calls[callee] += int(line[6:].split()[0])
            is_call = True
        elif re.match(r"[\d+*-]", line):
            # The line after a call tells what was spent in it, which stands at its own place, too.
            if not is_call:
                rows[part(inside)] += int(line.split()[1])
            is_call = False
    count = max((n for name, n in calls.items() if re.search(entry, name)), default=0)
    if count == 0:
        sys.exit(f"no function is named as {entry}")
    allocations = sum(n for name, n in calls.items() if re.fullmatch(r"mi_(malloc|zalloc|calloc)\w*|__rust_alloc\w*", name))
    told({title: cost / count for title, cost in rows.items()}, "instructions each")
    print(f"\n{count} operations, {allocations / count:.1f} allocations each")


if __name__ == "__main__":
    tool, path, what = sys.argv[1:]
    perf(path, float(what)) if tool == "perf" else callgrind(path, what)
