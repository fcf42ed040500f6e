#!/usr/bin/env python3
"""Reads, writes, watches and waits on a spoke's replica, made from the .proto files alone.

    notes.py [--wait] SOCKET

SOCKET is DIR/daemon.sock of a running `spoke run`; with --wait it also waits for the hub. Needs grpcio and grpcio-tools.
"""

import importlib
import json
import pathlib
import sys
import tempfile
import time

import grpc
from grpc_tools import protoc

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto"
CALL_S = 10


def generated():
    """The module of messages and the module of stubs that protoc makes of records.proto."""
    with tempfile.TemporaryDirectory(prefix="hubward-proto-") as folder:
        files = [str(path) for path in PROTOS.glob("hubward/v1/*.proto")]
        if protoc.main(["protoc", f"-I{PROTOS}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files]):
            raise SystemExit("the .proto files do not compile")
        sys.path.insert(0, folder)
        return [importlib.import_module(f"hubward.v1.records_{end}") for end in ("pb2", "pb2_grpc")]


def reason(error):
    """The reason for which a call was refused; a status names it before the first colon."""
    name = error.details().partition(": ")[0]
    return name if name.isupper() else error.code().name


def main(socket, waits):
    records, stubs = generated()
    from hubward.v1 import record_pb2

    # No name of a host goes with a Unix socket; the daemon wants a valid one all the same.
    channel = grpc.insecure_channel(f"unix:{socket}", options=[("grpc.default_authority", "daemon.invalid")])
    replica = stubs.RecordServiceStub(channel)
    key = record_pb2.Key(kind="note", id="from-python")

    # Where a watch that misses nothing begins.
    status = json.loads(replica.GetStatus(records.GetStatusRequest(), timeout=CALL_S).status)
    watch = replica.WatchRecords(records.WatchRecordsRequest(kind="note", after=status["position"]))

    write = records.RecordWrite(key=key, put=json.dumps({"text": "hello", "at": time.time()}).encode())
    written = replica.WriteRecords(records.WriteRecordsRequest(writes=[write]), timeout=CALL_S)
    read = replica.GetRecord(records.GetRecordRequest(key=key), timeout=CALL_S).record
    print("read:", json.loads(read.body))

    change = next(watch)
    print("watched:", change.record.key.id, json.loads(change.record.body))
    # With this position a watch goes on after a restart of the daemon or of this program.
    watch.cancel()

    request = records.WaitForWritesRequest(mutations=written.mutations, timeout_ms=5000 if waits else 0)
    request.grade = records.WaitForWritesRequest.GRADE_DURABLE
    try:
        waited = replica.WaitForWrites(request, timeout=CALL_S)
        refused = [write.refusal.detail for write in waited.writes if write.HasField("refusal")]
        print("waited:", "refused: " + refused[0] if refused else "durable")
    except grpc.RpcError as error:
        print("waited:", reason(error))

    try:
        absent = record_pb2.Key(kind="note", id="never-written")
        replica.GetRecord(records.GetRecordRequest(key=absent), timeout=CALL_S)
    except grpc.RpcError as error:
        print("absent:", reason(error))


if __name__ == "__main__":
    options = [argument for argument in sys.argv[1:] if argument.startswith("--")]
    paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if len(paths) != 1 or options not in ([], ["--wait"]):
        raise SystemExit(__doc__.strip())
    try:
        main(paths[0], bool(options))
    except grpc.RpcError as error:
        raise SystemExit(f"{paths[0]}: {error.details()}") from None
