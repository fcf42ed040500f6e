#!/usr/bin/env python3
"""Has what ships beside the binaries read by the tools that will read it: the Dockerfile by hadolint, the compose file
by docker compose, the balancer's settings by haproxy, the units by systemd-analyze, completions by bash, zsh and fish. None of them needs a container
engine or a running systemd. A tool that is not installed is named and its check skipped.

    check_packaging.py
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("hubward", "spoke")
WITHIN_S = 60


def run(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, timeout=WITHIN_S, **more)
    return done.returncode, done.stdout + done.stderr


def tool(*names):
    """The first of these programs that is there; beside this Python first."""
    beside = str(pathlib.Path(sys.executable).parent)
    for name in names:
        found = shutil.which(name, path=beside + os.pathsep + os.environ.get("PATH", os.defpath))
        if found:
            return found
    raise unittest.SkipTest(" or ".join(names) + " is not installed")


def compose():
    """The words that call docker compose, as a plugin or as a program of its own."""
    if shutil.which("docker") and run("docker", "compose", "version")[0] == 0:
        return ["docker", "compose"]
    return [tool("docker-compose")]


class Containers(unittest.TestCase):
    def test_the_dockerfile_has_nothing_that_a_linter_complains_about(self):
        code, said = run(tool("hadolint"), "--no-color", str(ROOT / "Dockerfile"))
        self.assertEqual(code, 0, said)

    def test_the_compose_file_is_read_with_every_profile(self):
        words = compose()
        for profile in ([], ["--profile", "postgres"], ["--profile", "cluster"]):
            code, said = run(*words, *profile, "config", "--quiet", cwd=ROOT)
            self.assertEqual(code, 0, said)


    def test_the_balancer_takes_its_settings(self):
        settings = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
        haproxy = tool("haproxy", "/usr/sbin/haproxy")
        code, said = run(haproxy, "-c", "-f", str(settings))
        self.assertEqual(code, 0, said)


class Units(unittest.TestCase):
    def test_systemd_understands_every_line(self):
        verify = tool("systemd-analyze")
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for unit in sorted((ROOT / "deploy" / "systemd").glob("*.service")):
                # It looks whether the program is there, which is another machine's business.
                text = unit.read_text().replace("/usr/local/bin/", folder + "/")
                path = pathlib.Path(folder, unit.name.replace("@.", "@alice."))
                path.write_text(text)
                paths.append(str(path))
            for program in PROGRAMS:
                shutil.copy("/bin/true", pathlib.Path(folder, program))
            self.assertTrue(paths)
            code, said = run(verify, "verify", "--man=no", *paths)
            ours = [line for line in said.splitlines() if folder in line or "hubward" in line or "spoke" in line]
            self.assertEqual((code, ours), (0, []), said)


class Completions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        subprocess.run(["cargo", "build", "--quiet", "--workspace"], cwd=ROOT, check=True)
        cls.folder = tempfile.TemporaryDirectory()
        cls.at = pathlib.Path(cls.folder.name)
        for shell in ("bash", "zsh", "fish"):
            for program in PROGRAMS:
                script = subprocess.run(
                    [str(target / "debug" / program), "completions", shell], capture_output=True, check=True
                )
                name = "_" + program if shell == "zsh" else program + "." + shell
                (cls.at / name).write_bytes(script.stdout)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def says(self, expected, *words):
        code, said = run(*words, cwd=self.at)
        self.assertEqual(code, 0, said)
        for word in expected:
            self.assertIn(word, said)

    def test_bash_completes(self):
        ask = """. ./hubward.bash && . ./spoke.bash
            COMP_WORDS=(hubward ten); COMP_CWORD=1; _hubward hubward ten hubward; echo "${COMPREPLY[@]}"
            COMP_WORDS=(spoke conflicts sh); COMP_CWORD=2; _spoke spoke sh conflicts; echo "${COMPREPLY[@]}" """
        self.says(["tenant", "show"], tool("bash"), "--norc", "-c", ask)

    def test_zsh_takes_the_functions(self):
        ask = """fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d $PWD/dump
            print $_comps[hubward] $_comps[spoke]; autoload +X _hubward && autoload +X _spoke && print loaded"""
        self.says(["_hubward _spoke", "loaded"], tool("zsh"), "-fc", ask)

    def test_fish_completes(self):
        ask = """source hubward.fish; source spoke.fish
            complete -C 'hubward ten'; complete -C 'spoke conflicts sh'"""
        self.says(["tenant", "show"], tool("fish"), "--no-config", "-c", ask)


if __name__ == "__main__":
    result = unittest.main(verbosity=2, exit=False).result
    wrong = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - len(result.skipped) - wrong} passed, {wrong} failed")
    for _, why in result.skipped:
        print(f"SKIPPED: {why}")
    sys.exit(1 if wrong else 0)
