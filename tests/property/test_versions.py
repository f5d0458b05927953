"""Vendor versions and vendor files: an order that is one, and readers that never raise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from env import versions
from env.probe import vendor

PARTS = st.one_of(
    st.integers(0, 99).map(str),
    st.sampled_from(["RC1", "rc2", "T10", "alpha001", "alpha2", "beta1", "B220", "x", ""]),
)
VERSIONS = st.one_of(st.text(max_size=12), st.lists(PARTS, max_size=6).map(".".join))


@given(VERSIONS)
def test_any_text_is_read(text: str) -> None:
    """`parse` never raises, and reading what it read gives the same."""
    version = versions.parse(text)
    assert versions.parse(version.text) == version
    assert versions.parse(text.swapcase()) == version or not text.isascii()


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_is_total(one: str, two: str, three: str) -> None:
    """Of two versions one is lower or they are equal, and lower than lower is lower."""
    a, b, c = sorted(map(versions.parse, (one, two, three)))
    assert a <= b <= c
    assert a <= c
    assert (a < b) + (b < a) + (a == b) == 1


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(1, 9))
def test_the_stages_of_a_release_are_in_order(major: int, minor: int, patch: int, stage: int) -> None:
    """T < RC.alpha < RC < RC's patch < release, and X.Y.Z.alphaN < X.Y.Z < X.Y.Z.p."""
    series = f"{major}.{minor}"
    written = [f"{series}.T{stage}", f"{series}.RC{stage}.alpha1", f"{series}.RC{stage}", f"{series}.rc{stage}.2"]
    written += [f"{series}.{patch}.alpha{stage}", f"{series}.{patch}", f"{series}.{patch}.{stage}"]
    keys = [versions.parse(text).key for text in written]
    assert keys == sorted(set(keys))


@given(VERSIONS, VERSIONS, VERSIONS)
def test_ranges_and_series_take_any_text(version: str, low: str, high: str) -> None:
    assert versions.inside(version, low, high) in (True, False)
    assert versions.in_series(version, low) in (True, False)
    assert isinstance(versions.public(version), str)


@given(st.text())
def test_vendor_files_take_any_text(text: str) -> None:
    vendor.assignments(text)
    vendor.labels(text)
    vendor.bracketed(text)
    vendor.ranges(text)
    vendor.part_versions(text)
    vendor.components(text)
    found = vendor.family(text)
    assert found is None or vendor.family_inside(found, (found,))
