"""Compiled resources as text to be read: YAML, without what is the same in every one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import json_format

from moreton.envoy.core.resources import Resource, TypeUrl

_MESSAGES: dict[TypeUrl, Any] = {
    TypeUrl.CLUSTER: cluster_pb2.Cluster,
    TypeUrl.ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    TypeUrl.EXTENSION: extension_pb2.TypedExtensionConfig,
    TypeUrl.LISTENER: listener_pb2.Listener,
    TypeUrl.ROUTES: route_pb2.RouteConfiguration,
    TypeUrl.RUNTIME: rtds_pb2.Runtime,
    TypeUrl.SECRET: secret_pb2.Secret,
}
_OTHER_PLACE = re.compile(r"route-limits/.*/[1-9]\d*")
_PATH_INPUT = {
    "name": "path",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "header_name": ":path",
    },
}


def as_text(resources: Iterable[Resource], *, whole: bool = False) -> str:
    """*resources* in the order of their names; *whole*, or as short as they can be read."""
    documents: list[dict[str, Any]] = []
    for resource in sorted(resources, key=lambda one: one.key):
        if resource.key.type_url is TypeUrl.SECRET:
            documents.append({"secret": resource.key.name})  # what is in it is made anew each time
            continue
        message = _MESSAGES[resource.key.type_url].FromString(resource.body)
        # By way of JSON: plain dictionaries, and maps in an order that does not change.
        text = json_format.MessageToJson(
            message, preserving_proto_field_name=True, sort_keys=True, indent=None
        )
        document = json.loads(text)
        if not whole and resource.key.type_url is TypeUrl.ROUTES:
            document = _short_routes(document)
        if not whole and resource.key.type_url is TypeUrl.LISTENER:
            _shorten_listener(document)
        needs = sorted(f"{key.type_url.rsplit('.', 1)[1]} {key.name}" for key in resource.needs)
        documents.append({**document, "needs": needs} if needs else document)
    return yaml.safe_dump_all(documents, width=96, sort_keys=False)


def _shorten_listener(document: Any) -> None:
    """Without scripts, the places of limits but for one, and the answers to what they refuse."""
    document.pop("listener_filters")
    for chain in document["filter_chains"]:
        chain["filters"] = [one for one in chain["filters"] if "config_discovery" not in one]
        for part in chain["filters"]:
            part["typed_config"].pop("local_reply_config", None)
            filters = part["typed_config"].get("http_filters", [])
            filters[:] = [one for one in filters if not _OTHER_PLACE.fullmatch(one["name"])]
            for each in filters:
                if "default_source_code" in each.get("typed_config", {}):
                    each["typed_config"]["default_source_code"] = "..."


def _short_routes(document: Any) -> Any:
    hosts = []
    for host in document.get("virtual_hosts", ()):
        tree = host["matcher"]["matcher_tree"]
        assert tree["input"] == _PATH_INPUT
        assert host["name"] == host["domains"][0]
        leaves = tree["prefix_match_map"]["map"]
        hosts.append(
            {
                "domains": host["domains"],
                "paths": {key: _short_leaf(leaves[key]["action"]) for key in sorted(leaves)},
            }
        )
    return {"name": document["name"], "hosts": hosts}


def _short_leaf(action: Any) -> Any:
    packed = dict(action["typed_config"])
    kind = packed.pop("@type").rsplit(".", 1)[1]
    return packed["routes"] if kind == "RouteList" else [packed]
