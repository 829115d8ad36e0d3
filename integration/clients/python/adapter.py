"""The frame of the Python adapters: reads commands, calls the method of that name, says what came of it. The protocol
is told in harness/adapter.py."""

import json
import queue
import sys
import threading


def text(part):
    return None if part is None else part.decode()


def data(part):
    return None if part is None else part.encode()


def headers(pairs):
    return [(key, data(value)) for key, value in pairs or []]


def record(partition, offset, key, value, pairs, timestamp):
    return {"partition": partition, "offset": offset, "key": text(key), "value": text(value),
            "headers": [[name, text(part)] for name, part in pairs or []], "timestamp": timestamp}


class Failed(Exception):
    """What a broker said, where the client hands out a number and raises nothing."""

    def __init__(self, code, words):
        super().__init__(words)
        self.code = code


class Adapter:
    """One client; a command is a method, `cannot` says what the client has not, and why."""
    client = ""
    cannot = {}

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.commands = queue.Queue()
        self.speaking = threading.Lock()

    def say(self, **what):
        with self.speaking:
            print(json.dumps(what), flush=True)

    def asked(self):
        """Whether somebody wants the next thing: a member then ends its loop."""
        return not self.commands.empty()

    def code(self, failure):
        return getattr(failure, "code", None)

    def leave(self):
        """A member has closed its consumer by the time that this is read."""

    def _listen(self):
        for line in sys.stdin:
            self.commands.put(json.loads(line))
        self.commands.put(None)

    def serve(self):
        self.say(client=self.client, cannot=self.cannot)
        threading.Thread(target=self._listen, daemon=True).start()
        while (command := self.commands.get()) is not None:
            name = command.pop("do")
            try:
                result = getattr(self, name)(**command)
            except Exception as failure:
                self.say(error=self.code(failure), text=f"{type(failure).__name__}: {failure}")
            else:
                if name != "join":
                    self.say(ok=result)
