#!/usr/bin/env python3
"""A Hubward client made from the .proto files and docs/protocol.md alone, with grpcio.

Node joins and proves who it is, Replica keeps what the hub sends, Session speaks on one stream.

    client.py try --hub URL --token TOKEN [--ca FILE] [--name NAME]

joins, puts a note, reads it back over a cut and prints what happened. `check_client.py` goes further.
"""

import argparse
import base64
import importlib
import json
import pathlib
import queue
import secrets
import sys
import tempfile
import threading
import time

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_tools import protoc

import digest

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
WAIT_S = 20


def generated():
    """The modules that protoc makes of proto/hubward/v1."""
    with tempfile.TemporaryDirectory(prefix="hubward-proto-") as folder:
        files = sorted(str(path) for path in PROTOS.glob("hubward/v1/*.proto"))
        arguments = ["protoc", f"-I{PROTOS}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
        if protoc.main(arguments + files) != 0:
            raise RuntimeError("the .proto files do not compile")
        sys.path.insert(0, folder)
        names = ("record", "error", "sync", "auth")
        modules = [importlib.import_module(f"hubward.v1.{name}_pb2") for name in names]
        stubs = [importlib.import_module(f"hubward.v1.{name}_pb2_grpc") for name in ("sync", "auth")]
        return modules + stubs


record, error, sync, auth, sync_rpc, auth_rpc = generated()


class Refused(Exception):
    """The hub refused something; `reason` is its name in the closed list."""

    def __init__(self, reason, detail):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


def refused(refusal):
    return Refused(error.Reason.Name(refusal.reason).removeprefix("REASON_"), refusal.detail)


def from_status(status):
    """A status names its reason before the first colon."""
    reason, _, detail = status.details().partition(": ")
    return Refused(reason if reason.isupper() else status.code().name, detail or status.details())


def channel(hub, ca=None):
    """A channel to `https://HOST:PORT`, or to `http://` of a hub in development mode."""
    scheme, _, address = hub.partition("://")
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    if scheme == "http":
        return grpc.insecure_channel(address, options)
    root = pathlib.Path(ca).read_bytes()
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(root), options)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Node:
    """A registered node: its key and its identity."""

    def __init__(self, hub, ca, key, node, tenant):
        self.hub, self.ca, self.key, self.node, self.tenant = hub, ca, key, node, tenant
        self.channel = channel(hub, ca)
        self.access = None

    @classmethod
    def join(cls, hub, token, name, ca=None, node_type="agent"):
        key = Ed25519PrivateKey.generate()
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        request = auth.JoinRequest(
            token=token,
            name=name,
            node_type=node_type,
            public_key=key.public_key().public_bytes(*raw),
            proof=key.sign(b"hubward join v1" + token.encode()),
        )
        with channel(hub, ca) as to_hub:
            try:
                answer = auth_rpc.AuthServiceStub(to_hub).Join(request, timeout=WAIT_S)
            except grpc.RpcError as status:
                raise from_status(status) from None
        return cls(hub, ca, key, answer.node, answer.tenant)

    def assertion(self):
        """RFC 7523: signed by the node's own key, good for a minute and once."""
        now, node = int(time.time()), self.node.hex()
        claims = {"iss": node, "sub": node, "aud": f"hubward/{self.tenant}"}
        claims |= {"iat": now, "exp": now + 60, "jti": secrets.token_hex(16)}
        parts = ({"alg": "EdDSA", "typ": "JWT"}, claims)
        signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        return signed + "." + base64url(self.key.sign(signed.encode()))

    def metadata(self):
        """Metadata of every call that needs an access token."""
        if self.access is None:
            request = auth.ExchangeAssertionRequest(assertion=self.assertion())
            stub = auth_rpc.AuthServiceStub(self.channel)
            try:
                self.access = stub.ExchangeAssertion(request, timeout=WAIT_S).access_token
            except grpc.RpcError as status:
                raise from_status(status) from None
        return [("authorization", f"Bearer {self.access}")]

    def reconnect(self, hub=None):
        """A new channel, after the hub went away."""
        self.channel.close()
        self.hub = hub or self.hub
        self.channel = channel(self.hub, self.ca)


class Replica:
    """What a node holds of the hub's state: visible at a cursor, and staged until the next cut."""

    def __init__(self, node):
        self.node = node
        self.visible, self.staged = {}, {}
        self.cursor = self.resume = self.view = None
        self.epoch = self.last_n = self.answered_n = 0
        self.last_digest = None
        self.pages = self.cuts = self.resumes = 0

    def hello(self, credit_bytes):
        hello = sync.Hello(protocol=1, credit_bytes=credit_bytes, cursor=self.cursor, resume=self.resume)
        if self.epoch:
            stream = sync.StreamState(epoch=self.epoch, last_n=self.last_n, answered_n=self.answered_n)
            if self.last_digest:
                stream.last_digest = self.last_digest
            hello.stream.CopyFrom(stream)
        return hello

    def take(self, changes):
        """Stages a page; makes everything staged visible at a cut. True at a cut."""
        batch = sync.ChangeBatch.FromString(changes.batch)
        for item in list(batch.changes) + list(batch.departures):
            key = item.record.key if isinstance(item, sync.Change) else item.key
            name = key.kind, key.id
            held = self.staged.get(name)
            if held is None or held.revision < item.revision:
                self.staged[name] = item
        self.pages += 1
        if changes.WhichOneof("next") == "resume":
            self.resume = changes.resume
            self.resumes += 1
            return False
        self.cut(changes.cut)
        return True

    def cut(self, cut):
        for name, item in self.staged.items():
            gone = isinstance(item, sync.Departure) or not item.record.HasField("body")
            if gone:
                self.visible.pop(name, None)
            else:
                self.visible[name] = item
        self.staged, self.resume, self.cursor = {}, None, cut.cursor
        self.cuts += 1
        if cut.HasField("view"):
            self.view = cut.view
        if cut.HasField("digest") and cut.digest != self.digest():
            raise AssertionError("the view's digest is not the hub's")

    def digest(self):
        """The view digest by docs/protocol.md."""
        return digest.view_digest(exported(item.record) for item in self.visible.values())

    def body(self, kind, record_id):
        item = self.visible.get((kind, record_id))
        return item and json.loads(item.record.body)

    def put(self, kind, record_id, body):
        """A put on what is visible, with the next dot."""
        base = self.visible.get((kind, record_id))
        floor = base.record.stamp.time.ms + 1 if base else 0
        now_ms = max(int(time.time() * 1000), floor)
        self.last_n += 1
        mutation = record.Mutation(
            id=secrets.token_bytes(16),
            dot=record.Dot(writer=self.writer(), n=self.last_n),
            key=record.Key(kind=kind, id=record_id),
            put=record.Put(body=digest.canonical(body)),
            time=record.HybridTime(ms=now_ms),
            written_ms=now_ms,
            author=self.node.node,
            salt=secrets.token_bytes(16),
        )
        if base:
            mutation.incarnation = base.record.incarnation
            mutation.base.version.CopyFrom(base.record.version)
            mutation.base.revision = base.revision
        self.last_digest = mutation_digest(mutation)
        return mutation

    def writer(self):
        return record.Writer(node=self.node.node, epoch=self.epoch)


class Session:
    """One stream. Reading goes on in a thread, so that waits have an end."""

    def __init__(self, replica, credit_bytes=64 * 1024 * 1024):
        self.replica = replica
        self.gives_credit = True
        self.out, self.messages = queue.Queue(), queue.Queue()
        self.send(hello=replica.hello(credit_bytes))
        stub = sync_rpc.SyncServiceStub(replica.node.channel)
        self.call = stub.Session(iter(self.out.get, None), metadata=replica.node.metadata())
        threading.Thread(target=self.read, daemon=True).start()
        self.welcome = self.wait("welcome")
        replica.epoch = self.welcome.writer.epoch
        if replica.last_n == 0:
            replica.last_n = self.welcome.last_n

    def read(self):
        try:
            for message in self.call:
                self.messages.put(message)
            self.messages.put(Refused("ENDED", "the stream ended"))
        except grpc.RpcError as status:
            self.messages.put(from_status(status))

    def send(self, **message):
        self.out.put(sync.SessionRequest(**message))

    def wait(self, wanted):
        """The next message of a sort. What comes before it is taken: changes are staged and acknowledged."""
        while True:
            message = self.messages.get(timeout=WAIT_S)
            if isinstance(message, Refused):
                raise message
            sort = message.WhichOneof("message")
            value = getattr(message, sort)
            if sort == "changes":
                self.changed(value)
            if sort == wanted:
                return value
            if sort == "goodbye":
                raise refused(value.refusal)

    def changed(self, changes):
        if self.replica.take(changes):
            self.send(ack=sync.Ack(cursor=self.replica.cursor))
        if self.gives_credit:
            self.send(credit=sync.Credit(bytes=changes.cost))

    def follow(self, until):
        """Takes changes until something holds of the replica at a cut."""
        while self.replica.staged or not until(self.replica):
            self.wait("changes")

    def push(self, mutations):
        """Pushes and gives the outcomes, one for each."""
        items = [sync.PushItem(mutation=mutation) for mutation in mutations]
        replica = self.replica
        self.send(push=sync.PushRequest(writer=replica.writer(), confirmed_n=replica.answered_n, items=items))
        results = self.wait("results")
        if results.HasField("waits"):
            raise refused(results.waits.refusal)
        replica.answered_n = results.outcomes[-1].n
        return results.outcomes

    def ping(self):
        nonce = secrets.randbits(32)
        self.send(ping=sync.Ping(nonce=nonce))
        return self.wait("pong").nonce == nonce

    def close(self):
        self.out.put(None)
        self.call.cancel()


def pull(replica, pages_max=None):
    """Pages by the unary-to-stream call, from where the replica stands; stops early after `pages_max`."""
    if replica.resume:
        request = sync.PullRequest(resume=replica.resume)
    elif replica.cursor:
        request = sync.PullRequest(cursor=replica.cursor)
    else:
        request = sync.PullRequest(start=sync.Start())
    call = sync_rpc.SyncServiceStub(replica.node.channel).Pull(
        request, metadata=replica.node.metadata(), timeout=WAIT_S
    )
    taken = 0
    try:
        for page in call:
            replica.take(page.changes)
            taken += 1
            if taken == pages_max:
                call.cancel()
                break
    except grpc.RpcError as status:
        raise from_status(status) from None
    return taken


# Messages as digest.py writes them


def dot_of(value):
    return {"writer": {"node": value.writer.node.hex(), "epoch": value.writer.epoch}, "n": value.n}


def time_of(value):
    return {"ms": value.ms, "counter": value.counter}


def stamp_of(value):
    return {"time": time_of(value.time), "dot": dot_of(value.dot)}


def mutation_digest(mutation):
    """Digest of a put without a group or a placement."""
    base = {"version": [dot_of(dot) for dot in mutation.base.version.dots], "revision": mutation.base.revision}
    if mutation.base.HasField("own"):
        base["own"] = dot_of(mutation.base.own)
    return digest.mutation_digest(
        {
            "mutation_id": mutation.id.hex(),
            "dot": dot_of(mutation.dot),
            "kind": mutation.key.kind,
            "id": mutation.key.id,
            "salt": mutation.salt.hex(),
            "op": {"put": mutation.put.body.hex()},
            "incarnation": mutation.incarnation,
            "base": base,
            "time": time_of(mutation.time),
            "written_ms": mutation.written_ms,
            "author": mutation.author.hex(),
            "key_id": mutation.key_id,
        }
    )


def exported(held):
    """A live record as a line of `spoke export`."""
    line = {
        "kind": held.key.kind,
        "id": held.key.id,
        "domain": held.placement.domain,
        "placement_stamp": stamp_of(held.placement_stamp),
        "stamp": stamp_of(held.stamp),
        "incarnation": held.incarnation,
        "key_id": held.key_id,
        "version": [dot_of(dot) for dot in held.version.dots],
        "author": held.author.hex(),
        "salt": held.salt.hex(),
        "body_hex": held.body.hex(),
        "fields": {f.field: {"stamp": stamp_of(f.stamp), "removed": f.removed} for f in held.fields},
        "inputs": [{"stamp": stamp_of(i.stamp), "salt": i.salt.hex()} for i in held.inputs],
    }
    if held.placement.HasField("subject"):
        line["subject"] = held.placement.subject
    if held.HasField("facet"):
        line["facet"] = held.facet
    return line


def main():
    parser = argparse.ArgumentParser(description="Joins a hub, puts a note and reads it back.")
    parser.add_argument("command", choices=["try"])
    parser.add_argument("--hub", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--name", default="python")
    chosen = parser.parse_args()
    if chosen.hub.startswith("https:") and not chosen.ca:
        parser.error("--ca is needed with https: the file that `hubward ca show` prints")
    replica = Replica(Node.join(chosen.hub, chosen.token, chosen.name, chosen.ca))
    session = Session(replica)
    outcome = session.push([replica.put("note", "from-python", {"text": "hello"})])[0].outcome
    session.follow(lambda held: held.body("note", "from-python") is not None)
    session.close()
    print(json.dumps({"revision": outcome.revision, "digest": replica.digest().hex()}))


if __name__ == "__main__":
    main()
