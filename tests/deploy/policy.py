"""Rules that manifests of Longwave keep beyond what Kubernetes' schemas ask for.

Each rule is a function that yields the problems it finds in the objects of one rendering. What a
schema or the API server refuses anyway is not repeated here.
"""

from __future__ import annotations

import dataclasses

import policy_cluster  # noqa: F401 - its rules enter RULES
import policy_pods  # noqa: F401
from policy_objects import RULES, Object


@dataclasses.dataclass(frozen=True)
class Problem:
    rule: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text} [{self.rule}]"


def check(objects: list[Object]) -> list[Problem]:
    return [
        Problem(name, place, text)
        for name, function in RULES.items()
        for place, text in function(objects)
    ]
