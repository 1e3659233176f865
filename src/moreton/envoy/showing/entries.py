"""What a collector reads of an access log: where requests went, and what was laid beside them.

It is the same on the wire as Envoy's messages. There, what is laid beside a request has to be
UTF-8, and one that is not would make the message unreadable that shows it among others; here it is
bytes. What is not read is skipped.

Source: envoy/service/accesslog/v3/als.proto, envoy/data/accesslog/v3/accesslog.proto,
google/protobuf/struct.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "moreton.shown"


def _read() -> Callable[[bytes], Any]:
    file = descriptor_pb2.FileDescriptorProto(name=_PACKAGE, package=_PACKAGE, syntax="proto3")
    _message(file, "Value", ("string_value", 3, "bytes"), ("list_value", 6, "List"))
    _message(file, "List", ("values", 1, "Value*"))
    _message(file, "Field", ("key", 1, "string"), ("value", 2, "Value"))
    _message(file, "Struct", ("fields", 1, "Field*"))
    _message(file, "Place", ("key", 1, "string"), ("value", 2, "Struct"))
    _message(file, "Metadata", ("filter_metadata", 1, "Place*"))
    named = ("upstream_cluster", 15, "string"), ("route_name", 19, "string")
    _message(file, "Common", *named, ("metadata", 17, "Metadata"))
    _message(file, "Entry", ("common_properties", 1, "Common"))
    _message(file, "Entries", ("log_entry", 1, "Entry*"))
    _message(file, "Logs", ("http_logs", 2, "Entries"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Logs"))
    return made.FromString


def _message(
    file: descriptor_pb2.FileDescriptorProto, name: str, *fields: tuple[str, int, str]
) -> None:
    message = file.message_type.add(name=name)
    for field, number, kind in fields:
        label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
        made = message.field.add(name=field, number=number, label=label)
        if kind in {"bytes", "string"}:
            made.type = _FIELD.TYPE_BYTES if kind == "bytes" else _FIELD.TYPE_STRING
        else:
            made.type, made.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind.rstrip('*')}"


# A message of the stream, as `http_logs.log_entry` in the names of the protocol.
read_logs = _read()
