"""Claims that others can recompute: attested with a key, verified from the files, to the bit.

The form of a claim is described in PREDICATE.md, beside this file.
"""

from __future__ import annotations

from ftdiff.analyses.claims import findings
from ftdiff.analyses.claims.attesting import attest
from ftdiff.analyses.claims.checking import verify_claim
from ftdiff.analyses.claims.reading import Refuted, claimed
from ftdiff.analyses.claims.result import Claim, ClaimCheck

__all__ = ["Claim", "ClaimCheck", "Refuted", "attest", "claimed", "findings", "verify_claim"]
