#!/usr/bin/env python3
"""Starts a hub with TLS and speaks with it as a program that shares no code with it would (client.py).

    check_client.py [HUBWARD]

HUBWARD is the hub's binary; without it that of the workspace is built.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

import client

ROOT = pathlib.Path(__file__).resolve().parents[2]
STOP_S = 30


def binary():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    subprocess.run(["cargo", "build", "--quiet", "--workspace"], cwd=ROOT, check=True)
    return target / "debug" / "hubward"


class Hub:
    """A hub process on ports of its own choice, over one data folder."""

    def __init__(self, program):
        self.program, self.folder = str(program), tempfile.TemporaryDirectory(prefix="hubward-")
        self.address, self.operator_address = "127.0.0.1:0", "127.0.0.1:0"
        self.start()
        self.ca = pathlib.Path(self.folder.name) / "shown-ca.pem"
        self.ca.write_text(self.run("ca", "show", output="table"))

    def start(self):
        listen = ["--listen", self.address, "--operator-listen", self.operator_address]
        command = [self.program, "serve", "--data", self.folder.name, *listen]
        with open(pathlib.Path(self.folder.name) / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        ready = json.loads(self.process.stdout.readline())
        # The same ports again after a restart.
        self.address, self.operator_address = ready["listen"], ready["operator_listen"]
        self.url = f"https://{self.address}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        self.process.stdout.close()
        return code

    def run(self, *arguments, output="json"):
        command = [self.program, *arguments, "--data", self.folder.name, "--output", output]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def token(self, tenant):
        return json.loads(self.run("token", "create", "--tenant", tenant))["token"]


class ForeignClient(unittest.TestCase):
    """Every test has a tenant of its own on one hub."""

    @classmethod
    def setUpClass(cls):
        cls.hub = Hub(PROGRAM)

    @classmethod
    def tearDownClass(cls):
        cls.hub.stop()
        cls.hub.folder.cleanup()

    def setUp(self):
        self.tenant = self._testMethodName.replace("_", "-")[5:60]
        self.hub.run("tenant", "create", self.tenant)

    def joined(self, name):
        node = client.Node.join(self.hub.url, self.hub.token(self.tenant), name, self.hub.ca)
        return client.Replica(node)

    def session(self, replica, **options):
        session = client.Session(replica, **options)
        self.addCleanup(session.close)
        return session

    def test_a_put_arrives_over_a_cut(self):
        writer, reader = self.joined("writer"), self.joined("reader")
        writing, reading = self.session(writer), self.session(reader)
        reading.follow(lambda held: held.cuts > 0)
        outcome = writing.push([writer.put("note", "n1", {"text": "hi", "number": 1})])[0].outcome
        self.assertEqual(outcome.type, client.sync.Outcome.TYPE_APPLIED)
        reading.follow(lambda held: held.cursor.revision >= outcome.revision)
        self.assertEqual(reader.body("note", "n1"), {"text": "hi", "number": 1})
        writing.follow(lambda held: held.cursor and held.cursor.revision >= outcome.revision)
        self.assertEqual(writer.digest(), reader.digest())
        shown = json.loads(self.hub.run("digest", "--tenant", self.tenant, "--node", "reader"))
        self.assertEqual(shown["digest"], reader.digest().hex())
        self.assertTrue(reading.ping())

    def test_a_repeat_gets_the_first_outcome(self):
        writer = self.joined("writer")
        writing = self.session(writer)
        mutation = writer.put("note", "n1", {"text": "once"})
        first = writing.push([mutation])[0].outcome
        writer.answered_n = 0
        self.assertEqual(writing.push([mutation])[0].outcome, first)

    def test_an_ended_session_goes_on_where_it_stood(self):
        writer, reader = self.joined("writer"), self.joined("reader")
        writing, reading = self.session(writer), self.session(reader)
        one = writing.push([writer.put("note", "n1", {"text": "one"})])[0].outcome
        for session in (writing, reading):
            session.follow(lambda held: held.cursor and held.cursor.revision >= one.revision)
        self.assertEqual(self.hub.stop(), 0)
        with self.assertRaises(client.Refused) as ended:
            reading.wait("nothing")
        self.assertIn(ended.exception.reason, ("DRAINING", "ENDED", "UNAVAILABLE"))
        self.hub.start()
        for replica in (writer, reader):
            replica.node.reconnect(self.hub.url)
        writing, reading = self.session(writer), self.session(reader)
        pages = reader.pages
        two = writing.push([writer.put("note", "n2", {"text": "two"})])[0].outcome
        reading.follow(lambda held: held.cursor.revision >= two.revision)
        self.assertEqual(reader.body("note", "n1"), {"text": "one"})
        self.assertEqual(reader.body("note", "n2"), {"text": "two"})
        self.assertGreater(reader.pages, pages)

    def test_a_catch_up_that_was_cut_short_goes_on_from_its_page(self):
        writer, reader = self.joined("writer"), self.joined("reader")
        writing = self.session(writer)
        for start in range(0, 30, 10):
            bodies = [{"text": "x" * 100_000, "number": start + i} for i in range(10)]
            writing.push([writer.put("note", f"n{body['number']:02}", body) for body in bodies])
        self.assertEqual(client.pull(reader, pages_max=1), 1)
        self.assertIsNotNone(reader.resume)
        self.assertEqual(reader.visible, {})
        staged = len(reader.staged)
        self.assertGreater(staged, 0)
        reading = self.session(reader)
        reading.follow(lambda held: held.cuts > 0)
        self.assertEqual(sum(kind == "note" for kind, _ in reader.visible), 30)
        shown = json.loads(self.hub.run("digest", "--tenant", self.tenant, "--node", "reader"))
        self.assertEqual(shown["digest"], reader.digest().hex())

    def test_a_reader_that_falls_behind_is_put_out_of_the_live_feed_and_catches_up(self):
        writer, reader = self.joined("writer"), self.joined("reader")
        writing, reading = self.session(writer), self.session(reader, credit_bytes=300_000)
        first = writing.push([writer.put("note", "first", {"text": "seen live"})])[0].outcome
        reading.follow(lambda held: held.cursor and held.cursor.revision >= first.revision)
        cuts, resumes = reader.cuts, reader.resumes
        reading.gives_credit = False
        # More than the hub keeps for live readers: 8 MiB of 100 000 bytes each.
        for start in range(0, 120, 20):
            bodies = [{"text": "x" * 100_000, "number": start + i} for i in range(20)]
            last = writing.push([writer.put("note", f"n{body['number']:03}", body) for body in bodies])[-1].outcome
        reading.gives_credit = True
        reading.send(credit=client.sync.Credit(bytes=32 * 1024 * 1024))
        reading.follow(lambda held: held.cursor.revision >= last.revision)
        self.assertGreater(reader.resumes, resumes, "it was never sent a page of a catch-up")
        self.assertGreater(reader.cuts, cuts)
        self.assertEqual(sum(kind == "note" for kind, _ in reader.visible), 121)
        shown = json.loads(self.hub.run("digest", "--tenant", self.tenant, "--node", "reader"))
        self.assertEqual(shown["digest"], reader.digest().hex())

    def test_a_revoked_node_is_put_out_and_stays_out(self):
        reader = self.joined("reader")
        reading = self.session(reader)
        reading.follow(lambda held: held.cuts > 0)
        self.hub.run("node", "revoke", "--tenant", self.tenant, "reader")
        with self.assertRaises(client.Refused) as ended:
            reading.wait("nothing")
        self.assertEqual(ended.exception.reason, "NODE_REVOKED")
        reader.node.access = None
        with self.assertRaises(client.Refused) as again:
            client.Session(reader)
        self.assertEqual(again.exception.reason, "NODE_REVOKED")

    def test_what_is_wrong_is_named(self):
        with self.assertRaises(client.Refused) as joining:
            client.Node.join(self.hub.url, "hwj1_nonsense", "x", self.hub.ca)
        self.assertEqual(joining.exception.reason, "JOIN_TOKEN_INVALID")
        writer = self.joined("writer")
        writing = self.session(writer)
        undeclared = writing.push([writer.put("recipe", "r1", {"text": "hi"})])[0].outcome
        self.assertEqual(undeclared.type, client.sync.Outcome.TYPE_REJECTED)
        self.assertEqual(undeclared.refusal.reason, client.error.REASON_KIND_UNDECLARED)
        mutation = writer.put("note", "n1", {"text": "hi"})
        mutation.salt = b"short"
        with self.assertRaises(client.Refused) as malformed:
            writing.push([mutation])
        self.assertEqual(malformed.exception.reason, "MALFORMED")
        self.assertIn("items[0].mutation.salt", str(malformed.exception))


if __name__ == "__main__":
    PROGRAM = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else binary()
    result = unittest.main(verbosity=2, exit=False).result
    wrong = len(result.failures) + len(result.errors)
    print(f"{max(result.testsRun - wrong, 0)} passed, {wrong} failed")
    sys.exit(1 if wrong else 0)
