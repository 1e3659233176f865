from __future__ import annotations

import re

import pytest
from envoy.config.route.v3 import route_components_pb2 as routes_pb2

from moreton.config.words import read_path
from moreton.gateway.compile.paths import plan
from moreton.kernel.patterns import path_matches

PATHS = ["/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/", "/ab", "/", "/a/b/c/d"]


@pytest.mark.parametrize(
    "pattern", ["/a/{x}", "/a/{x}/", "/a/{x}/c", "/a/{x}/*", "/{x}/b", "/{x}/{y}/", "/{x}/*"]
)
def test_template_takes_in_envoy_what_it_takes_in_words(pattern: str) -> None:
    read = read_path(pattern)
    made = plan(read)
    match = routes_pb2.RouteMatch.FromString(made.body)
    for path in PATHS:
        in_envoy = re.fullmatch(match.safe_regex.regex, path) is not None
        assert in_envoy == path_matches(read, path), path
        assert not in_envoy or (path.startswith(made.key) and made.may_take(path)), path
