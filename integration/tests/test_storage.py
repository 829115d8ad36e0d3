"""`ottla storage format` beside Apache Kafka's own tool: the same files, the same records, node by node."""

import os
import re
import subprocess

import pytest

from harness.broker import write
from harness.cluster import CLUSTER_ID
from harness.tools import DIES_WITH_US

pytestmark = pytest.mark.ottla_only
SNAPSHOT = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"
DIRECTORIES = {1: "h05ZS8CaT8qzsCyN6az1Vw", 2: "zFGuS7tyQUudx4r5UhKS1A", 3: "SGUF6h9iTre-a1An3ASRQw"}
INITIAL = ",".join(f"{id}@host-{id}:{9090 + id}:{directory}" for id, directory in DIRECTORIES.items())
VOTERS = {"controller.quorum.voters": "1@localhost:9093"}

# name: roles, settings, words
ROWS = {
    "standalone": ("broker,controller", {}, ["--standalone"]),
    "initial-controllers": ("broker,controller", {}, ["--initial-controllers", INITIAL]),
    "no-initial-controllers": ("controller", {}, ["--no-initial-controllers"]),
    "voters-in-the-file": ("broker,controller", VOTERS, []),
    "broker": ("broker", {}, []),
    "not-among-the-controllers": ("controller", {"node.id": 9}, ["-I", INITIAL]),
    "release": ("broker,controller", {}, ["-s", "--release-version", "4.0"]),
    "old-release": ("broker,controller", VOTERS, ["--release-version", "3.5-IV2"]),
    "features": ("broker,controller", {}, ["-s", "-f", "group.version=0", "-f", "share.version=1", "-f", "kraft.version=1"]),
    "metadata-version": ("broker,controller", {}, ["-s", "--feature", "metadata.version=27"]),
    "several-directories": ("broker,controller", {"log.dirs": "{dir}/a,{dir}/b", "metadata.log.dir": "{dir}/c"}, ["-s"]),
}


def config(folder, roles, settings):
    listeners = {"broker": "PLAINTEXT://localhost:9092", "controller": "CONTROLLER://localhost:9093"}
    file = folder / "server.properties"
    write(file, {key: str(value).format(dir=folder) for key, value in {
        "process.roles": roles, "node.id": 1, "log.dirs": "{dir}/a", "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(listeners[role] for role in roles.split(",")),
        **({} if "controller.quorum.voters" in settings else {"controller.quorum.bootstrap.servers": "localhost:9093"}), **settings}.items()})
    return file


def ottla(*words):
    done = subprocess.run([*DIES_WITH_US, os.environ["OTTLA_BIN"], "storage", *map(str, words)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def both(tools, tmp_path):
    """Runs the command with both tools, each with a folder of its own; returns what each said: (exit code, text)."""
    def run(command, roles, settings, words):
        said = {}
        for kind in ("kafka", "ottla"):
            folder = tmp_path / kind
            folder.mkdir(exist_ok=True)
            words_of_it = [command, *words, "--config", config(folder, roles, settings)]
            if command == "format":
                words_of_it += ["--cluster-id", CLUSTER_ID]
            if kind == "ottla":
                said[kind] = ottla(*words_of_it)
            else:
                done = tools("kafka-storage", *words_of_it, may_fail=True)
                said[kind] = (done.code, done.all_text)
        return said
    return run


def content(tools, folder):
    """Each file below, with everything that must be the same: no times, checksums and ids that chance makes."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "server.properties"):
        name = str(file.relative_to(folder))
        if name.endswith(".checkpoint"):
            text = tools("kafka-dump-log", "--cluster-metadata-decoder", "--files", file).text.replace(str(folder), "")
            text = re.sub(r"CreateTime: \d+|crc: \d+|\"lastContainedLogTimestamp\":\d+", "", text)
        else:
            text = "\n".join(line for line in sorted(file.read_text().splitlines()) if not line.startswith("#"))
        fixed = "|".join([CLUSTER_ID, *DIRECTORIES.values()])
        found[name] = re.sub(rf"(?!{fixed})(directory.id=|\"voterDirectoryId\":\")[\w-]{{22}}", r"\1", text)
    return found


@pytest.mark.parametrize("row", ROWS)
def test_the_files_are_those_that_kafkas_tool_writes(both, tools, tmp_path, row):
    said = both("format", *ROWS[row])
    assert [code for code, _ in said.values()] == [0, 0], said
    kafka, mine = content(tools, tmp_path / "kafka"), content(tools, tmp_path / "ottla")
    assert mine == kafka
    formatted = [sorted(re.findall(r"Formatting .*", text.replace(str(tmp_path / kind), ""))) for kind, (_, text) in said.items()]
    assert formatted[0] == formatted[1] and formatted[0], said


REFUSED = {
    "no-way": ("broker,controller", {}, []),
    "two-ways": ("broker,controller", {}, ["-s", "-N"]),
    "voters-twice": ("broker,controller", VOTERS, ["-s"]),
    "standalone-broker": ("broker", {}, ["-s"]),
    "no-directory-id": ("broker,controller", {}, ["-I", "1@localhost:9093"]),
    "unknown-feature": ("broker,controller", {}, ["-s", "-f", "no.such.feature=1"]),
    "unknown-level": ("broker,controller", {}, ["-s", "-f", "group.version=9"]),
    "feature-without-level": ("broker,controller", {}, ["-s", "-f", "group.version"]),
    "unstable-release": ("broker,controller", {}, ["-s", "-r", "4.5-IV0"]),
    "release-twice": ("broker,controller", {}, ["-s", "-r", "4.4", "-f", "metadata.version=33"]),
    "static-kraft-version": ("broker,controller", VOTERS, ["-f", "kraft.version=1"]),
    "dynamic-kraft-version": ("broker,controller", {}, ["-s", "-f", "kraft.version=0"]),
    "no-roles-of-a-controller": ("broker,controller", {}, ["-s", "-f", "eligible.leader.replicas.version=1", "-r", "3.9"]),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_kafkas_tool_refuses_is_refused_in_one_line(both, tmp_path, row):
    said = both("format", *REFUSED[row])
    assert all(code != 0 for code, _ in said.values()), said
    assert len(said["ottla"][1].splitlines()) == 1, said
    assert not list((tmp_path / "ottla").rglob("meta.properties")), "nothing is written"


def test_a_directory_that_is_formatted_is_left_alone(both, tools, tmp_path):
    settings = {"log.dirs": "{dir}/a,{dir}/b"}
    both("format", "broker,controller", {}, ["-s"])
    before = content(tools, tmp_path / "ottla")
    said = both("format", "broker,controller", settings, ["-s"])
    assert all(code == 1 and "already formatted" in text for code, text in said.values()), said
    said = both("format", "broker,controller", settings, ["-s", "-g"])
    assert all(code == 0 for code, _ in said.values()), said
    after = content(tools, tmp_path / "ottla")
    assert before.items() <= after.items() and after == content(tools, tmp_path / "kafka")
    said = both("info", "broker,controller", settings, [])
    assert all(code == 0 for code, _ in said.values()), said
