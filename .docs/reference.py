"""Makes the pages of the reference: what a page says is what the code says, or what it printed.

Examples are those of the tests: what is planted there is measured when the pages are built.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import ftdiff  # noqa: E402
from ftdiff.analyses.audit import AUDIT  # noqa: E402
from ftdiff.analyses.findings import RULES  # noqa: E402
from ftdiff.cli import ftdiff as shell  # noqa: E402
from ftdiff.metrics import groups  # noqa: E402
from ftdiff.reports.topics import Topic, of_audit_rule, of_finding, of_metric  # noqa: E402
from tests.analyses.finding_examples import EXAMPLES  # noqa: E402
from tests.analyses.test_audit import CASES  # noqa: E402

_PAGES = re.compile(r"\]\(\.docs/pages/([a-z]+\.md)\)")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|[a-z]+\.md\))[^)]+\)")
_PICTURE = re.compile(r"!\[([^\]]*)\]\((fixtures/[^)]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made to what is written."""
    pages: dict[str, Callable[[], Iterable[str]]] = {
        "commands.md": commands,
        "metrics.md": metrics,
        "findings.md": findings,
        "audit.md": audit,
        "python.md": python,
    }
    for name, lines in pages.items():
        files.append(File.generated(config, name, content="\n".join(lines()) + "\n"))
    readme = (ROOT / "README.md").read_text()
    for _, picture in _PICTURE.findall(readme):
        file = str(ROOT / picture)
        files.append(File.generated(config, picture, abs_src_path=file))
    start = _PICTURE.sub(r"![\1](\2){width=560}", _PAGES.sub(r"](\1)", readme))
    files.append(File.generated(config, "index.md", content=start))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Leave of a link to a file of the project its words."""
    return _LINK.sub(r"\1", markdown)


def commands() -> Iterator[str]:
    """Every command, as `--help` prints it."""
    yield "# Commands"
    parent = click.Context(shell, info_name="ftdiff", max_content_width=100, terminal_width=100)
    yield from _block(shell.get_help(parent))
    for name in shell.list_commands(parent):
        command = shell.get_command(parent, name)
        assert command is not None
        yield f"\n## {name}\n"
        context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
        yield from _block(command.get_help(context))


def metrics() -> Iterator[str]:
    """Every metric, group by group."""
    yield "# Metrics\n"
    yield "What each number is, and what noise alone would give. `ftdiff metrics` prints the same."
    for name, group in groups().items():
        yield f"\n## {name}\n"
        for metric in group:
            yield from _topic(of_metric(metric), level="###")


def findings() -> Iterator[str]:
    """Every finding, with what the tests plant and what is then said of it."""
    yield "# Findings\n"
    yield "What `ftdiff findings` says, when, against which null, and what it would have seen."
    for name, rule in RULES.items():
        yield from _topic(of_finding(rule), said_of_a_plant(name))


def audit() -> Iterator[str]:
    """Every audit rule, with a fault of the tests and what is then said of it."""
    yield "# Audit rules\n"
    yield "What `ftdiff audit` looks for. An alarm fails the audit; a policy can say otherwise."
    for name, rule in AUDIT.items():
        yield from _topic(of_audit_rule(rule), said_of_a_fault(name))


def python() -> Iterator[str]:
    """Everything that `import ftdiff` gives."""
    yield "# Python\n"
    yield "`import ftdiff` gives these; what a command does is one call."
    for name in ftdiff.__all__:
        value = getattr(ftdiff, name)
        home = getattr(value, "__module__", None)
        if home is not None:
            yield f"\n::: {home}.{name}\n"


def _topic(topic: Topic, example: str = "", level: str = "##") -> Iterator[str]:
    yield f"\n{level} {topic.name}\n\n{_plain(topic.what)}\n"
    for label, text in topic.facts.items():
        yield f"* **{label}** {_plain(text)}"
    if example:
        yield f"* **example** “{_plain(example)}”"


def said_of_a_plant(rule: str) -> str:
    """Return what a finding says of what the tests plant for it."""
    return _said(ftdiff.findings(EXAMPLES[rule]()), rule)


def said_of_a_fault(rule: str) -> str:
    """Return what an audit rule says of a fault of the tests."""
    faulty, _ = CASES[rule]
    return _said(ftdiff.audit(faulty()).findings, rule)


def _said(found: Iterable[ftdiff.Finding], rule: str) -> str:
    return next(one.message for one in found if one.rule == rule)


def _plain(text: str) -> str:
    """Escape what Markdown would read as its own."""
    return re.sub(r"([\\`*_{}\[\]#|])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _block(text: str) -> Iterator[str]:
    yield f"\n```text\n{text}\n```\n"
