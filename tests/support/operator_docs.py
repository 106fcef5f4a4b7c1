"""Make the tables of docs/operators.md from the table of operators.

``python tests/support/operator_docs.py`` prints them, to paste after a change.
"""

from __future__ import annotations

from collections.abc import Sequence

from mbert.plugins.operators import OPERATORS, Attribute, Operator, Tensor


def markdown_table(operators: Sequence[Operator]) -> str:
    """Describe inputs, attributes, outputs and types of operators that share them."""
    rows = ["| | name | type, shape | meaning |", "|---|---|---|---|"]
    for variable, types in operators[0].types.items():
        rows.append(f"| type | {variable} | {', '.join(types)} | |")
    inputs = {tensor.name: tensor for operator in operators for tensor in operator.inputs}
    attributes = {entry.name: entry for operator in operators for entry in operator.attributes}
    outputs = {", ".join(operator.output.shape): operator.output for operator in operators}
    rows += [_row("input", tensor) for tensor in inputs.values()]
    rows += [_row("attribute", entry) for entry in attributes.values()]
    rows += [_row("output", tensor) for tensor in outputs.values()]
    return "\n".join(rows) + "\n"


def _row(kind: str, entry: Tensor | Attribute) -> str:
    shape = f" [{', '.join(entry.shape)}]" if isinstance(entry, Tensor) else ""
    meaning = f" {entry.meaning}" if entry.meaning else ""
    return f"| {kind} | `{entry.name}` | {entry.type}{shape} |{meaning} |"


if __name__ == "__main__":
    groups: dict[tuple[str, ...], list[Operator]] = {}
    for operator in OPERATORS.values():
        key = (operator.summary,)
        groups.setdefault(key, []).append(operator)
    for group in groups.values():
        print(markdown_table(group))
