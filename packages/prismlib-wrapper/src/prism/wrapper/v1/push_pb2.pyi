from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_CANAL_JSON: _ClassVar[Encoding]
    ENCODING_OPEN_PROTOCOL: _ClassVar[Encoding]
ENCODING_UNSPECIFIED: Encoding
ENCODING_CANAL_JSON: Encoding
ENCODING_OPEN_PROTOCOL: Encoding

class PushRequest(_message.Message):
    __slots__ = ("encoding", "partition", "start_ts", "body")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    START_TS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    encoding: Encoding
    partition: int
    start_ts: int
    body: bytes
    def __init__(self, encoding: _Optional[_Union[Encoding, str]] = ..., partition: _Optional[int] = ..., start_ts: _Optional[int] = ..., body: _Optional[bytes] = ...) -> None: ...

class PushReply(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: int
    def __init__(self, events: _Optional[int] = ...) -> None: ...
