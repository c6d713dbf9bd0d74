"""What no training does to a tensor: which tensors are broken, how that is known, how it is said.

To add a kind of damage: its mask in `kinds`, its sentence in `sentences`, then a rule of that name
in `analyses/findings/damage.py` and in `analyses/audit/rules_damage.py`.
"""

from ftdiff.analyses.damage.kinds import KINDS, Damage, damage_of
from ftdiff.analyses.damage.parentage import ANOTHER, Kinship, is_another_base, kinship
from ftdiff.analyses.damage.sentences import Told, tell

__all__ = [
    "ANOTHER",
    "KINDS",
    "Damage",
    "Kinship",
    "Told",
    "damage_of",
    "is_another_base",
    "kinship",
    "tell",
]
