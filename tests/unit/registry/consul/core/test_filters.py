from __future__ import annotations

from typing import Any

import pytest

from moreton.registry.consul.core.filters import parse_filter
from moreton.registry.consul.core.refusals import ConsulRequestRefused

DOCUMENT: dict[str, Any] = {
    "ServicePort": 8000,
    "ServiceName": "orders",
    "ServiceTags": ["blue", "v 2"],
    "ServiceEnableTagOverride": False,
    "ServiceMeta": {"version": "2", "a.b": "dotted"},
    "NodeMeta": {},
    "Service": {"Meta": {"version": "2"}, "Tags": ["blue"]},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("   ", True),
        ('ServiceName == "orders"', True),
        ("ServiceName == orders", True),
        ("ServiceName==orders", True),
        ("ServiceName != `orders`", False),
        ("ServicePort == 8000", True),
        ("ServiceEnableTagOverride == false", True),
        ('"blue" in ServiceTags', True),
        ('"v 2" in ServiceTags', True),
        ('"red" not in ServiceTags', True),
        ("ServiceTags contains blue", True),
        ("ServiceTags not contains blue", False),
        ("version in ServiceMeta", True),
        ("ServiceMeta contains owner", False),
        ('ServiceMeta.version == "2"', True),
        ('ServiceMeta["a.b"] == dotted', True),
        ('ServiceMeta.owner == "x"', False),
        ('ServiceMeta.owner != "x"', True),
        ("ServiceMeta.owner is empty", True),
        ("NodeMeta is empty", True),
        ("ServiceTags is not empty", True),
        ('Service.Meta.version == 2 and "blue" in Service.Tags', True),
        ("ServicePort == 1 or ServicePort == 8000", True),
        ("ServicePort == 1 or ServicePort == 2 and ServicePort == 8000", False),
        ("not ServicePort == 1", True),
        ("not (ServicePort == 1 or ServicePort == 8000)", False),
        ("(ServicePort == 8000) and not not ServiceName == orders", True),
        (r'ServiceName == "or\"ders"', False),
    ],
)
def test_filter_keeps_what_it_says(text: str, holds: bool) -> None:  # noqa: FBT001 - a column
    assert parse_filter(text)(DOCUMENT) is holds


@pytest.mark.parametrize(
    "text",
    [
        "==",
        "ServiceName",
        "ServiceName ==",
        "ServiceName = orders",
        '"open',
        "(ServicePort == 1",
        "ServicePort == 1)",
        "ServicePort == 1 ServicePort == 2",
        "ServiceTags matches x",
        "ServiceTags is full",
        "not",
        "and",
        "x" * 5000,
        "not " * 40 + "ServicePort == 1",
        "(" * 2000,
    ],
)
def test_filter_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConsulRequestRefused) as refused:
        parse_filter(text)
    assert refused.value.status == 400


def test_name_that_no_document_has_is_refused_as_a_mistake() -> None:
    with pytest.raises(ConsulRequestRefused, match="nothing is called 'ServicePrt'"):
        parse_filter("ServicePrt == 1")(DOCUMENT)
