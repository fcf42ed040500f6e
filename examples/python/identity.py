#!/usr/bin/env python3
"""An agent's identity on a spoke's replica, made from the .proto files alone: all calls of IdentityService.

    identity.py SOCKET

SOCKET is DIR/daemon.sock of a running `spoke run`. Needs grpcio and grpcio-tools.
"""

import importlib
import json
import pathlib
import sys
import tempfile

import grpc
from grpc_tools import protoc

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto"
CALL_S = 10


def generated():
    """The module of messages and the module of stubs that protoc makes of identity.proto."""
    folder = tempfile.mkdtemp(prefix="hubward-proto-")
    files = [str(path) for path in PROTOS.glob("hubward/v1/*.proto")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files]):
        raise SystemExit("the .proto files do not compile")
    sys.path.insert(0, folder)
    return (importlib.import_module(f"hubward.v1.identity_{end}") for end in ("pb2", "pb2_grpc"))


def state(depth, stated=None):
    """A snapshot of this depth, as JSON."""
    metrics = {"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}}
    if stated is not None:
        metrics["current_is_score"] = stated
    return json.dumps({"identity_snapshot": {"stability_metrics": metrics}}).encode()


def main(socket):
    messages, stubs = generated()
    channel = grpc.insecure_channel(f"unix:{socket}", options=[("grpc.default_authority", "daemon.invalid")])
    identities = stubs.IdentityServiceStub(channel)

    # What the session does from now on; it is asked first, so that nothing is missed.
    sync = identities.WatchSync(messages.WatchSyncRequest())

    checked = identities.ValidateState(messages.ValidateStateRequest(document=state(5, stated=1.0)), timeout=CALL_S)
    print("problems:", [problem.path for problem in checked.problems])

    taken = identities.ImportState(messages.ImportStateRequest(identity="ada", document=state(5)), timeout=CALL_S)
    print("imported:", taken.identity, round(taken.summary.score, 3), taken.summary.status)
    exported = identities.ExportState(messages.ExportStateRequest(identity="ada"), timeout=CALL_S)
    print("exported:", json.loads(exported.document) == json.loads(state(5)))

    # From the beginning of what is kept: the states of ada that became visible here.
    watch = identities.WatchStates(messages.WatchStatesRequest(identity="ada", after=0), timeout=CALL_S)
    change = next(watch)
    print("watched:", change.identity, change.trigger, change.priority)
    watch.cancel()

    request = messages.ResolveStatesRequest(identity="ada", theirs=state(1), ancestor=state(4))
    settled = identities.ResolveStates(request, timeout=CALL_S)
    print("settled:", settled.choice)

    # An agent that has begun anew says so: its state goes out before everything else that waits.
    request = messages.ImportStateRequest(identity="ada", document=state(6), restarted=True)
    print("restarted:", len(identities.ImportState(request, timeout=CALL_S).mutation), "bytes")

    history = identities.GetConflictHistory(messages.GetConflictHistoryRequest(identity="ada"), timeout=CALL_S)
    print("conflicts:", [entry.type for entry in history])
    health = identities.GetSyncHealth(messages.GetSyncHealthRequest(), timeout=CALL_S)
    print("health:", "connected" if health.connected else "not connected")
    print("session:", next(sync).event)
    sync.cancel()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__.strip())
    main(sys.argv[1])
