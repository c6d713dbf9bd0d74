"""An audit: built-in rules and a policy's expectations, a verdict, and files for CI systems.

To add an audit rule: a generator decorated with `@audit_rule`; its docstring is its purpose.
"""

from ftdiff.analyses.audit import (
    rules_answers as answers,
)
from ftdiff.analyses.audit import (
    rules_damage as damage,
)
from ftdiff.analyses.audit import (
    rules_files as files,
)
from ftdiff.analyses.audit import (
    rules_layout as layouts,
)
from ftdiff.analyses.audit import (
    rules_loading as loading,
)
from ftdiff.analyses.audit import (
    rules_lost as gone,
)
from ftdiff.analyses.audit import (
    rules_origin as origins,
)
from ftdiff.analyses.audit import (
    rules_saved as saved,
)
from ftdiff.analyses.audit import (
    rules_scales as scales,
)
from ftdiff.analyses.audit import (
    rules_special as surprises,
)
from ftdiff.analyses.audit import (
    rules_still as still,
)
from ftdiff.analyses.audit import (
    rules_unmatched as lost,
)
from ftdiff.analyses.audit.auditing import audit
from ftdiff.analyses.audit.ci_formats import CI, github, junit
from ftdiff.analyses.audit.expectation import Expectation
from ftdiff.analyses.audit.policy import Policy, read_policy
from ftdiff.analyses.audit.policy_written import policy_of, save_policy
from ftdiff.analyses.audit.registry import AUDIT, AuditRule, audit_rule
from ftdiff.analyses.audit.result import Audit
from ftdiff.analyses.audit.sarif_log import sarif

__all__ = [
    "AUDIT",
    "CI",
    "Audit",
    "AuditRule",
    "Expectation",
    "Policy",
    "answers",
    "audit",
    "audit_rule",
    "damage",
    "files",
    "github",
    "gone",
    "junit",
    "layouts",
    "loading",
    "lost",
    "origins",
    "policy_of",
    "read_policy",
    "sarif",
    "save_policy",
    "saved",
    "scales",
    "still",
    "surprises",
]
