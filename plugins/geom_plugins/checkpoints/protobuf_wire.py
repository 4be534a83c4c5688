"""Protocol Buffers on the wire: the fields of a message, found without reading what they hold.

https://protobuf.dev/programming-guides/encoding. A field has its number and the form of its value
before it. A value is a number, or a span of bytes: text, packed numbers, or another message. A file
may be long, and most of it weights, so it is read a window at a time, and spans are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geom_plugins.checkpoints.spans import ByteFile

_VARINT, _FIXED64, _SPAN, _FIXED32 = 0, 1, 2, 5
"""The forms of values; the others have been deprecated since before ONNX."""

_WINDOW = 1 << 16
_LONGEST_TEXT = 1 << 16


@dataclass(frozen=True)
class Field:
    """A field of a message: its number, and its value or the place of its value in the file."""

    number: int
    value: int
    begin: int
    end: int
    is_span: bool


class Wire:
    """A file of messages, read forwards and a window at a time.

    Every method raises ValueError if the bytes are not what is asked for.
    """

    def __init__(self, file: ByteFile) -> None:
        self.size = file.size
        self._file = file
        self._begin = 0
        self._near = b""

    def fields(self, begin: int, end: int) -> Iterator[Field]:
        """Yield the fields of the message from ``begin`` up to ``end``."""
        while begin < end:
            tag, begin = self._varint(begin, end)
            number, form = tag >> 3, tag & 7
            if number == 0:
                raise ValueError(f"it has a field without a number, at byte {begin}")
            if form == _VARINT:
                value, after = self._varint(begin, end)
            elif form == _SPAN:
                value, begin = self._varint(begin, end)
                after = begin + value
            elif form in (_FIXED32, _FIXED64):
                after = begin + (4 if form == _FIXED32 else 8)
                value = 0 if after > end else int.from_bytes(self.bytes(begin, after), "little")
            else:
                raise ValueError(f"it has a field of the unknown form {form}, at byte {begin}")
            if after > end:
                raise ValueError(f"it is cut short: a field ends after byte {end}")
            yield Field(number, value, begin, after, form == _SPAN)
            begin = after

    def numbers(self, field: Field) -> Iterator[int]:
        """Yield the integers of a repeated field, which may be packed."""
        if not field.is_span:
            yield field.value
            return
        begin = field.begin
        while begin < field.end:
            value, begin = self._varint(begin, field.end)
            yield value

    def text(self, field: Field) -> str:
        """Return a field's text."""
        if not field.is_span or field.end - field.begin > _LONGEST_TEXT:
            raise ValueError(f"its field {field.number}, at byte {field.begin}, is not a name")
        try:
            return self.bytes(field.begin, field.end).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError("it has a name that is not UTF-8") from error

    def bytes(self, begin: int, end: int) -> bytes:
        """Return a few bytes of the file."""
        if begin < self._begin or end > self._begin + len(self._near):
            last = min(self.size, max(end, begin + _WINDOW))
            self._near, self._begin = self._file.span(begin, last).bytes(), begin
        return self._near[begin - self._begin : end - self._begin]

    def _varint(self, begin: int, end: int) -> tuple[int, int]:
        """Return the number that begins there, seven bits a byte, and where it ends."""
        value = 0
        for n, byte in enumerate(self.bytes(begin, min(end, begin + 10))):
            value |= (byte & 0x7F) << 7 * n
            if byte < 0x80:
                return value & (1 << 64) - 1, begin + n + 1
        raise ValueError(f"it has a number without an end, at byte {begin}")
