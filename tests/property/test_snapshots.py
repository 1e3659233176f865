"""What differs between two snapshots is the same, however the second came about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl

KEYS = st.sampled_from([ResourceKey(TypeUrl.CLUSTER, name) for name in "abcd"])
PUT = st.lists(st.builds(Resource, KEYS, st.sampled_from("12"), st.just(b"")), max_size=4)
STEPS = st.lists(st.tuples(PUT, st.lists(KEYS, max_size=3)), min_size=1, max_size=5)


@given(STEPS)
def test_differences_are_those_of_the_resources_alone(
    steps: list[tuple[list[Resource], list[ResourceKey]]],
) -> None:
    passed = [Snapshot()]
    for put, removed in steps:
        passed.append(passed[-1].changed(put, removed))
    for before in passed:
        for after in passed:
            plain = Snapshot(after.resources).differences(Snapshot(before.resources))
            assert sorted(after.differences(before)) == sorted(plain)
