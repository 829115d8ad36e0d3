"""Which client passes what, as a table made from test reports. README's is made by `integration/run --scorecard`, and
every complete run of the matrix holds it to what it found."""

from collections import defaultdict

from .adapter import CLIENTS
from .matrix import SCENARIOS

BEGIN, END = "<!-- scorecard: made by `integration/run --scorecard` -->", "<!-- /scorecard -->"
UNSUPPORTED = "unsupported: "


class Scorecard:
    def __init__(self):
        self.cells = defaultdict(lambda: {"passed": 0, "failed": [], "unsupported": []})
        self.names = {}

    def note(self, report):
        """One phase of one test of the matrix."""
        properties = dict(report.user_properties)
        if "cell" not in properties:
            return
        name, scenario = properties["cell"]
        if "client" in properties:
            self.names[name] = properties["client"]
        cell = self.cells[name, scenario]
        if report.failed:
            cell["failed"].append(report.nodeid.split("::")[-1])
        elif report.skipped:
            reason = report.longrepr[2].split(UNSUPPORTED)[-1]
            if reason not in cell["unsupported"]:
                cell["unsupported"].append(reason)
        elif report.when == "call":
            cell["passed"] += 1

    def is_complete(self):
        return {(name, scenario) for name in CLIENTS for scenario in SCENARIOS} == set(self.cells)

    def table(self):
        notes = []
        lines = [f"| client | {' | '.join(SCENARIOS.values())} |", f"|---{'|:-:' * len(SCENARIOS)}|"]
        for name in CLIENTS:
            if name in self.names:
                cells = [self._cell(self.cells[name, scenario], notes) for scenario in SCENARIOS]
                lines.append(f"| {self.names[name]} | {' | '.join(cells)} |")
        lines += ["", "Yes: all of its tests pass. What a client has not by itself:"] if notes else []
        lines += ["", *(f"{number}. {', '.join(sorted(features))}: {why}" for number, (why, features) in enumerate(notes, 1))] if notes else []
        return "\n".join(lines)

    def _cell(self, cell, notes):
        marks = []
        for reason in sorted(cell["unsupported"]):
            feature, why = reason.split(": ", 1)
            number = next((number for number, note in enumerate(notes, 1) if note[0] == why), None)
            if number is None:
                notes.append((why, []))
                number = len(notes)
            if feature not in notes[number - 1][1]:
                notes[number - 1][1].append(feature)
            if number not in marks:
                marks.append(number)
        word = "**no**" if cell["failed"] else "yes" if cell["passed"] else "-"
        return f"{word} <sup>{' '.join(map(str, sorted(marks)))}</sup>" if marks else word


def replaced(page, table):
    """The page with the table between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, "the page has no place for a scorecard"
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
