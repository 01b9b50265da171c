"""A flow's nodes as a tree for a terminal, as Mermaid, as DOT: pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from ..joins import NodeFlag, NodeSeen, NodeState
from .terminal import shown

FOLD = 5
"""Siblings that look the same are one line if they are more than so many."""

_SIGNS = {
    NodeState.BLOCKED: "·",
    NodeState.READY: "▸",
    NodeState.DONE: "✓",
    NodeState.FAILED: "✗",
    NodeState.DROPPED: "✗",
    NodeState.ABANDONED: "-",
}
_COLOURS = {
    NodeState.BLOCKED: "#dddddd",
    NodeState.READY: "#9ecbff",
    NodeState.DONE: "#a6e3a1",
    NodeState.FAILED: "#f38ba8",
    NodeState.DROPPED: "#f9c48a",
    NodeState.ABANDONED: "#ffffff",
}


class Drawing:
    """The graph of some nodes; edges to others are left out."""

    def __init__(self, nodes: Iterable[NodeSeen]) -> None:
        self.nodes = {node.number: node for node in sorted(nodes, key=lambda node: node.number)}
        self.followers = {number: self._known(node) for number, node in self.nodes.items()}
        self.parents: Counter[int] = Counter(follower for some in self.followers.values() for follower in some)

    def _known(self, node: NodeSeen) -> list[int]:
        found: list[int] = []
        for first, last in node.followers:
            if last - first > len(self.nodes):
                found += [number for number in self.nodes if first <= number <= last]
            else:
                found += [number for number in range(first, last + 1) if number in self.nodes]
        return found

    # -- a tree

    def tree(self) -> list[str]:
        """Lines: what follows one alone stands below it, what follows together is a branch, and a join stands below all its branches."""
        lines: list[str] = []
        waits = dict(self.parents)
        self._fork([number for number in self.nodes if not self.parents[number]], "", lines, waits)
        return lines

    def _fork(self, numbers: Sequence[int], indent: str, lines: list[str], waits: dict[int, int]) -> None:
        """Branches, then what joins them, and so on."""
        while numbers:
            joins: list[int] = []
            branches = self._folded(numbers)
            for at, branch in enumerate(branches):
                alone = len(branches) == 1
                last = at == len(branches) - 1
                head, rest = ("", "") if alone else ("└─ ", "   ") if last else ("├─ ", "│  ")
                if len(branch) > 1:
                    lines += self._fold_lines(branch, indent + head, indent + rest)
                    joins += [join for number in branch for join in self._arrived(number, waits)]
                else:
                    joins += self._branch(branch[0], indent + head, indent + rest, lines, waits)
            numbers = joins

    def _branch(self, number: int, head: str, rest: str, lines: list[str], waits: dict[int, int]) -> list[int]:
        """A node and what follows it; answers with the joins that it completes, for whoever forked."""
        joins: list[int] = []
        while True:
            lines.append(head + self._line(self.nodes[number]))
            head = rest
            free = self._arrived(number, waits)
            own = [each for each in free if self.parents[each] == 1]
            joins += [each for each in free if self.parents[each] > 1]
            if len(own) != 1:
                break
            number = own[0]
        self._fork(own, rest, lines, waits)
        return joins

    def _arrived(self, number: int, waits: dict[int, int]) -> list[int]:
        free: list[int] = []
        for follower in self.followers[number]:
            waits[follower] -= 1
            if not waits[follower]:
                free.append(follower)
        return free

    def _folded(self, numbers: Sequence[int]) -> list[list[int]]:
        """Siblings that are nothing but the same task before the same join, together."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for number in numbers:
            node = self.nodes[number]
            leaf = all(self.parents[follower] > 1 for follower in self.followers[number])
            groups.setdefault((node.label, *self.followers[number]) if leaf and node.label else (number, "alone"), []).append(number)
        found: list[list[int]] = []
        for group in groups.values():
            found += [group] if len(group) > FOLD else [[number] for number in group]
        return found

    def _fold_lines(self, group: Sequence[int], head: str, rest: str) -> list[str]:
        states = Counter(self.nodes[number].state for number in group)
        counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
        lines = [f"{head}{shown(self.nodes[group[0]].label)} × {len(group):,}: {counts}"]
        bad = [self.nodes[number] for number in group if self.nodes[number].state in (NodeState.FAILED, NodeState.DROPPED)]
        lines += [f"{rest}  {self._line(node)}" for node in bad[:FOLD]]
        return lines + ([f"{rest}  … and {len(bad) - FOLD:,} more"] if len(bad) > FOLD else [])

    def _line(self, node: NodeSeen) -> str:
        if node.flags & NodeFlag.GATE:
            return f"{_SIGNS[node.state]} (all of them)"
        name = shown(node.label or "(not known yet)")
        why = f" ({shown(node.reason)})" if node.reason else ""
        return f"{_SIGNS[node.state]} {name}  {node.state}{why}  {shown(node.id)}".rstrip()

    # -- for other programs

    def mermaid(self) -> list[str]:
        """A flowchart in Mermaid's language."""
        lines = ["flowchart TD"]
        for number, node in self.nodes.items():
            text = _plain(node.label or ("all" if node.flags & NodeFlag.GATE else "?"))
            lines.append(f'  n{number}["{text}<br/>{node.state}"]:::{node.state.value.lower()}')
        lines += [f"  n{number} --> n{follower}" for number, some in self.followers.items() for follower in some]
        return lines + [f"  classDef {state.value.lower()} fill:{colour}" for state, colour in _COLOURS.items()]

    def dot(self) -> list[str]:
        """A digraph in Graphviz' language."""
        lines = ["digraph flow {", "  node [shape=box, style=filled]"]
        for number, node in self.nodes.items():
            text = json.dumps(f"{shown(node.label or 'all')}\n{node.state}", ensure_ascii=False)
            lines.append(f'  n{number} [label={text}, fillcolor="{_COLOURS[node.state]}"]')
        lines += [f"  n{number} -> n{follower}" for number, some in self.followers.items() for follower in some]
        return [*lines, "}"]


def _plain(text: str) -> str:
    """Text that means nothing to Mermaid nor to the page that shows it."""
    return "".join(c if c.isalnum() or c in " ._-=:" else f"#{ord(c)};" for c in shown(text))
