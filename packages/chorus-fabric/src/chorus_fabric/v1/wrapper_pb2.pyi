from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HelloRequest(_message.Message):
    __slots__ = ("protocol", "tenant_id", "handshake")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    tenant_id: str
    handshake: bytes
    def __init__(self, protocol: _Optional[int] = ..., tenant_id: _Optional[str] = ..., handshake: _Optional[bytes] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("protocol", "tenant_id", "handshake", "welcome")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    tenant_id: str
    handshake: bytes
    welcome: bytes
    def __init__(self, protocol: _Optional[int] = ..., tenant_id: _Optional[str] = ..., handshake: _Optional[bytes] = ..., welcome: _Optional[bytes] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("epoch", "head", "model_id", "dim", "wire", "tables", "version", "sealed")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    WIRE_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    head: int
    model_id: str
    dim: int
    wire: str
    tables: _containers.RepeatedCompositeFieldContainer[Table]
    version: str
    sealed: bool
    def __init__(self, epoch: _Optional[int] = ..., head: _Optional[int] = ..., model_id: _Optional[str] = ..., dim: _Optional[int] = ..., wire: _Optional[str] = ..., tables: _Optional[_Iterable[_Union[Table, _Mapping]]] = ..., version: _Optional[str] = ..., sealed: _Optional[bool] = ...) -> None: ...

class Table(_message.Message):
    __slots__ = ("stream", "name", "columns", "key")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    stream: int
    name: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    key: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stream: _Optional[int] = ..., name: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., key: _Optional[_Iterable[str]] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("session_id", "frame")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    frame: bytes
    def __init__(self, session_id: _Optional[bytes] = ..., frame: _Optional[bytes] = ...) -> None: ...

class SubscribeBody(_message.Message):
    __slots__ = ("epoch", "after", "base", "tables")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    after: int
    base: int
    tables: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, epoch: _Optional[int] = ..., after: _Optional[int] = ..., base: _Optional[int] = ..., tables: _Optional[_Iterable[str]] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("frame", "hello")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    frame: bytes
    hello: HelloReply
    def __init__(self, frame: _Optional[bytes] = ..., hello: _Optional[_Union[HelloReply, _Mapping]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("hello", "subscribe", "position")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    hello: HelloRequest
    subscribe: SubscribeRequest
    position: Position
    def __init__(self, hello: _Optional[_Union[HelloRequest, _Mapping]] = ..., subscribe: _Optional[_Union[SubscribeRequest, _Mapping]] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("epoch", "seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("body", "frame", "session_id", "tenant_id")
    BODY_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    body: QueryBody
    frame: bytes
    session_id: bytes
    tenant_id: str
    def __init__(self, body: _Optional[_Union[QueryBody, _Mapping]] = ..., frame: _Optional[bytes] = ..., session_id: _Optional[bytes] = ..., tenant_id: _Optional[str] = ...) -> None: ...

class QueryBody(_message.Message):
    __slots__ = ("embedding", "text", "model_id", "top_k", "threshold", "table", "where")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    embedding: bytes
    text: str
    model_id: str
    top_k: int
    threshold: float
    table: str
    where: bytes
    def __init__(self, embedding: _Optional[bytes] = ..., text: _Optional[str] = ..., model_id: _Optional[str] = ..., top_k: _Optional[int] = ..., threshold: _Optional[float] = ..., table: _Optional[str] = ..., where: _Optional[bytes] = ...) -> None: ...

class QueryReply(_message.Message):
    __slots__ = ("matches", "frame")
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    matches: QueryMatches
    frame: bytes
    def __init__(self, matches: _Optional[_Union[QueryMatches, _Mapping]] = ..., frame: _Optional[bytes] = ...) -> None: ...

class QueryMatches(_message.Message):
    __slots__ = ("matches", "position")
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[Match]
    position: Position
    def __init__(self, matches: _Optional[_Iterable[_Union[Match, _Mapping]]] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("table", "row_id", "score", "text", "columns")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ROW_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    table: str
    row_id: str
    score: float
    text: str
    columns: bytes
    def __init__(self, table: _Optional[str] = ..., row_id: _Optional[str] = ..., score: _Optional[float] = ..., text: _Optional[str] = ..., columns: _Optional[bytes] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("body", "frame", "session_id", "tenant_id")
    BODY_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    body: WriteBody
    frame: bytes
    session_id: bytes
    tenant_id: str
    def __init__(self, body: _Optional[_Union[WriteBody, _Mapping]] = ..., frame: _Optional[bytes] = ..., session_id: _Optional[bytes] = ..., tenant_id: _Optional[str] = ...) -> None: ...

class WriteBody(_message.Message):
    __slots__ = ("table", "row_id", "values", "wait_ms")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ROW_ID_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    table: str
    row_id: str
    values: bytes
    wait_ms: int
    def __init__(self, table: _Optional[str] = ..., row_id: _Optional[str] = ..., values: _Optional[bytes] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class WriteReply(_message.Message):
    __slots__ = ("done", "frame")
    DONE_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    done: WriteDone
    frame: bytes
    def __init__(self, done: _Optional[_Union[WriteDone, _Mapping]] = ..., frame: _Optional[bytes] = ...) -> None: ...

class WriteDone(_message.Message):
    __slots__ = ("event_id", "row_id", "position")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROW_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    row_id: str
    position: Position
    def __init__(self, event_id: _Optional[str] = ..., row_id: _Optional[str] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthReply(_message.Message):
    __slots__ = ("serving", "state", "details", "position", "subscribers")
    SERVING_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBERS_FIELD_NUMBER: _ClassVar[int]
    serving: bool
    state: str
    details: bytes
    position: Position
    subscribers: int
    def __init__(self, serving: _Optional[bool] = ..., state: _Optional[str] = ..., details: _Optional[bytes] = ..., position: _Optional[_Union[Position, _Mapping]] = ..., subscribers: _Optional[int] = ...) -> None: ...
