"""An audit: built-in rules and a policy's expectations, a verdict, and files for CI systems."""

from ftdiff.policy import damage, origins, surprises
from ftdiff.policy.ci import CI, github, junit, sarif
from ftdiff.policy.expectation import Expectation
from ftdiff.policy.policy import Policy, policy_of, read_policy, save_policy
from ftdiff.policy.rule import AUDIT, AuditRule, audit_rule
from ftdiff.policy.verdict import Audit, audit

__all__ = [
    "AUDIT",
    "CI",
    "Audit",
    "AuditRule",
    "Expectation",
    "Policy",
    "audit",
    "audit_rule",
    "damage",
    "github",
    "junit",
    "origins",
    "policy_of",
    "read_policy",
    "sarif",
    "save_policy",
    "surprises",
]
