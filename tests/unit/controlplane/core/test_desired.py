from __future__ import annotations

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import Definition, Kind, ObjectKey, Origin
from moreton.gateway.core.model import Destination, Route, RouteMatch, Service
from moreton.kernel.patterns import PathKind, PathPattern


def service(name: str, discover: str | None = None) -> Service:
    return Service(name, discover=discover)


def route(name: str, **to: int) -> Route:
    match = RouteMatch(PathPattern(PathKind.PREFIX, f"/{name}/*", f"/{name}"))
    return Route(name, match, to=tuple(Destination(*item) for item in to.items()))


def key(kind: str, name: str) -> ObjectKey:
    return ObjectKey(Kind(kind), name)


def file(*values: Service | Route) -> dict[ObjectKey, Definition]:
    return {
        key("service" if isinstance(value, Service) else "route", value.name): Definition(
            value, Origin.FILE, "moreton.yaml:1:1"
        )
        for value in values
    }


def weights_of(desired: Desired, name: str) -> dict[str, int]:
    value = desired.effective(key("route", name))
    assert isinstance(value, Route)
    return {destination.service: destination.weight for destination in value.to}


def test_file_wins_over_the_api_until_it_no_longer_defines_the_object() -> None:
    desired = Desired()
    desired.replace_file(file(service("a"), service("b"), route("r", a=1)))
    desired.put_object(key("route", "r"), route("r", b=1))
    assert weights_of(desired, "r") == {"a": 1}
    assert desired.shadowed(key("route", "r"))
    changed = desired.replace_file(file(service("a"), service("b")))
    assert changed == {key("route", "r")}
    assert weights_of(desired, "r") == {"b": 1}


def test_weights_of_the_api_override_until_the_destinations_change() -> None:
    desired = Desired()
    desired.replace_file(file(service("a"), service("b"), route("r", a=100, b=0)))
    desired.put_weights("r", {"b": 10, "a": 90})
    assert weights_of(desired, "r") == {"a": 90, "b": 10}
    desired.replace_file(file(service("a"), service("b"), route("r", a=50, b=50)))
    assert weights_of(desired, "r") == {"a": 90, "b": 10}
    assert desired.stale_weights() == []
    desired.replace_file(file(service("a"), service("b"), route("r", a=1)))
    assert weights_of(desired, "r") == {"a": 1}
    assert desired.stale_weights() == ["r"]


def test_weights_are_taken_back_by_a_reset() -> None:
    desired = Desired()
    desired.replace_file(file(service("a"), service("b"), route("r", a=100, b=0)))
    desired.put_weights("r", {"a": 0, "b": 1})
    assert desired.delete_weights("r") == {key("route", "r")}
    assert weights_of(desired, "r") == {"a": 100, "b": 0}


def test_route_to_an_unknown_service_is_not_in_force_until_the_service_comes() -> None:
    desired = Desired()
    desired.put_object(key("route", "r"), route("r", a=1))
    assert desired.effective(key("route", "r")) is None
    assert 'service "a", which no one defines' in desired.problem(key("route", "r"))
    assert desired.put_object(key("service", "a"), service("a")) == {
        key("service", "a"),
        key("route", "r"),
    }
    assert weights_of(desired, "r") == {"a": 1}
    assert key("route", "r") in desired.delete_object(key("service", "a"))
    assert desired.effective(key("route", "r")) is None


def test_users_of_a_service_are_those_that_name_it_now() -> None:
    desired = Desired()
    desired.replace_file(file(service("a"), service("b"), route("r", a=1), route("s", a=1, b=1)))
    assert desired.users_of("a") == ["r", "s"]
    desired.replace_file(file(service("a"), service("b"), route("r", b=1), route("s", a=1, b=1)))
    assert desired.users_of("a") == ["s"]
    assert desired.users_of("b") == ["r", "s"]


def test_services_are_found_by_the_name_that_their_instances_are_registered_under() -> None:
    desired = Desired()
    assert list(desired.registered_as("shop")) == []
    desired.replace_file(file(service("shop"), service("old", "shop"), service("other", "cart")))
    assert list(desired.registered_as("shop")) == ["old", "shop"]
    assert list(desired.registered_as("other")) == []
    desired.put_object(key("service", "new"), service("new", "shop"))
    desired.put_object(key("service", "other"), service("other", "shop"))  # the file's counts
    assert list(desired.registered_as("shop")) == ["new", "old", "shop"]
    desired.replace_file(file(service("shop")))
    assert list(desired.registered_as("shop")) == ["new", "other", "shop"]
    assert list(desired.registered_as("cart")) == []
    desired.delete_object(key("service", "new"))
    assert list(desired.registered_as("shop")) == ["other", "shop"]


def test_unchanged_file_changes_nothing() -> None:
    desired = Desired()
    desired.replace_file(file(service("a"), route("r", a=1)))
    assert desired.replace_file(file(service("a"), route("r", a=1))) == set()
