"""Envoy's filter that holds filters, whose messages are younger than the protobuf classes we have.

Source: envoy/extensions/filters/http/filter_chain/v3/filter_chain.proto of Envoy 1.40.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import extension_pb2
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

from moreton.envoy.messages import any_of

_PACKAGE = "envoy.extensions.filters.http.filter_chain.v3"
_FILE = f"{_PACKAGE.replace('.', '/')}/filter_chain.proto"
CHAIN_TYPE = f"type.googleapis.com/{_PACKAGE}.FilterChainConfig"


def filter_chain(filters: Sequence[extension_pb2.TypedExtensionConfig]) -> any_pb2.Any:
    """The configuration that runs *filters*, in their order; of none, nothing runs."""
    out = _CONFIG()
    if filters:
        out.default_filter_chain.filters.extend(filters)
    return any_of(out)


def _define() -> None:
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    file.dependency.append(extension_pb2.DESCRIPTOR.name)
    item = extension_pb2.TypedExtensionConfig.DESCRIPTOR.full_name
    field = descriptor_pb2.FieldDescriptorProto
    chain = file.message_type.add(name="FilterChain")
    chain.field.add(
        name="filters",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=f".{item}",
    )
    config = file.message_type.add(name="FilterChainConfig")
    config.field.add(
        name="default_filter_chain",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_OPTIONAL,
        type_name=f".{_PACKAGE}.FilterChain",
    )
    descriptor_pool.Default().Add(file)


def _known() -> bool:
    try:
        descriptor_pool.Default().FindFileByName(_FILE)
    except KeyError:
        return False
    return True


if not _known():
    _define()
_CONFIG: Any = message_factory.GetMessageClass(
    descriptor_pool.Default().FindMessageTypeByName(f"{_PACKAGE}.FilterChainConfig")
)
