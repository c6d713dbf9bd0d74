"""Every metric, finding and audit rule says what it is; findings against a null, with a power."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import ftdiff
from ftdiff.analyses.audit import AUDIT
from ftdiff.analyses.finding import READ, WHEREVER
from ftdiff.analyses.findings import RULES
from ftdiff.cli import ftdiff as shell
from ftdiff.errors import UnknownName
from ftdiff.metrics import METRICS
from ftdiff.reports.topics import topics, topics_of
from tests.analyses.finding_examples import EXAMPLES


def test_every_name_is_a_topic_and_every_topic_says_what_it_is() -> None:
    found = [(topic.kind, topic.name) for topic in topics()]
    assert len(found) == len(set(found)) == len(METRICS) + len(RULES) + len(AUDIT)
    for topic in topics():
        assert topic.what.endswith(".") or topic.kind == "metric", topic
        noise = {"noise gives"} if topic.kind == "metric" else {"null", "power"}
        assert noise <= {*topic.facts}, topic


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_pattern_has_a_null_and_a_power_of_its_own(name: str) -> None:
    rule = RULES[name]
    estimated = rule.kind not in ("damage", "context", "control")
    assert not (estimated and {rule.null, rule.power} & {READ, WHEREVER})
    assert (rule.null == READ) == (rule.power == WHEREVER)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_finding_is_said_of_its_example(name: str) -> None:
    assert name in {one.rule for one in ftdiff.findings(EXAMPLES[name]())}


def test_examples_are_of_rules() -> None:
    assert {*EXAMPLES} == {*RULES}


def test_help_explains_a_name_however_it_is_written() -> None:
    for asked in ("depth-trend", "Depth_Trend"):
        done = CliRunner().invoke(shell, ["help", asked])
        assert done.exit_code == 0 and "null:" in done.output and "power:" in done.output
    both = CliRunner().invoke(shell, ["help", "outlier-layer"]).output
    assert "finding" in both and "audit rule" in both
    assert "noise gives:" in CliRunner().invoke(shell, ["help", "relative_norm"]).output
    names = CliRunner().invoke(shell, ["help"]).output
    assert all(name in names for name in (*METRICS, *RULES, *AUDIT))
    for asked in ("compare", "Compare", "COMPARE"):
        assert "compare [OPTIONS]" in CliRunner().invoke(shell, ["help", asked]).output
    assert "verify-claim [OPTIONS]" in CliRunner().invoke(shell, ["help", "Verify_Claim"]).output


def test_a_name_that_nothing_has_is_told_with_the_near_ones() -> None:
    with pytest.raises(UnknownName, match="did you mean 'depth-trend'"):
        topics_of("depth-tren")
    with pytest.raises(UnknownName, match="`ftdiff help` lists them"):
        topics_of("xyzzyq")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("compar", "did you mean 'compare'?"),
        ("Auditt", "did you mean 'audit'?"),
        ("claim", "there are verify-claim"),
        ("depth-tren", "did you mean 'depth-trend'?"),
        ("xyzzyq", "`ftdiff help` lists them"),
    ],
)
def test_help_suggests_commands_too(asked: str, said: str) -> None:
    error = CliRunner().invoke(shell, ["help", asked]).exception
    assert isinstance(error, UnknownName) and str(error).endswith(said)
    assert str(error).startswith(f"no command, metric, finding or audit rule is called {asked!r}; ")
