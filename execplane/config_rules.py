"""One rule of `failures.rules`, as the settings take it: apart from the other settings, because it is one of many."""

from __future__ import annotations

import difflib
import re

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from execplane.contract.categories import Budget, Category


class FailureRule(BaseModel):
    """Which failures (all that is named must match) are paid from what; docs/failures.md explains."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    budget: Budget
    category: str = ""
    exit_codes: tuple[int, ...] = ()
    reason: str = ""
    message: str = ""
    hint: str = ""
    name: str = ""

    @field_validator("category")
    @classmethod
    def _known_category(cls, value: str) -> str:
        if value and value not in set(Category):
            near = difflib.get_close_matches(value, set(Category), n=1, cutoff=0.5)
            raise ValueError(f"there is no category {value!r}.{f' Did you mean {near[0]}?' if near else ''}")
        return value

    @field_validator("message")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression ({error})") from None
        return value

    @field_validator("name")
    @classmethod
    def _is_a_new_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", value):
            raise ValueError(f"{value!r} is not made of a-z, 0-9 and _, or is longer than 40")
        if value in set(Category):
            raise ValueError(f"{value!r} is a category of execplane's own, and its meaning stays. Choose another name")
        return value

    @model_validator(mode="after")
    def _matches_something(self) -> FailureRule:
        if not (self.category or self.exit_codes or self.reason or self.message):
            raise ValueError("it names no category, exit_codes, reason or message, so it would match every failure")
        return self
