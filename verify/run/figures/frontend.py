"""Figures of the speech front end against independent implementations."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from verify.reference.figures import Figures, Name, Positive, Size


class FrontendFigures(Figures, frozen=True, kw_only=True):
    """Of `frontend`: the worst differences, each with its limit and the recording that it is of.

    A difference is None where it could not be taken: shapes differ, or a NaN.
    """

    clips: Annotated[list[Name], Meta(min_length=1)]  # whose features were compared
    rates: list[Positive]  # Hz, that were resampled from
    features_max_abs: Size | None
    features_max_abs_limit: Size
    features_max_abs_worst: Name
    features_rel_l2: Size | None
    features_rel_l2_limit: Size
    features_rel_l2_worst: Name
    resampled_rel_l2: Size | None
    resampled_rel_l2_limit: Size
    resampled_rel_l2_worst: Name
    limit_sources: list[Name]
