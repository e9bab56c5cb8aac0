"""What a request may hold: one description for checking it and for telling others about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl

from modelfetch.web.messages import Problem

__all__ = ["Field", "read_json", "read_query"]

_MAX_QUERY_FIELDS = 16


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a body, a query or a path.

    Attributes:
        name: On the wire.
        kind: JSON type. In a query a boolean is the word `true` or `false`.
        description: One sentence for the documentation.
        required: Whether it must be there. What need not be there may be `null` in a body.
        max_length: Bound on the characters of a string.
        pattern: Regular expression that a string of use matches; for the documentation. The
            answer to another one is up to the operation.
        example: A value that makes sense.
    """

    name: str
    kind: Literal["string", "boolean"]
    description: str
    required: bool = False
    max_length: int | None = None
    pattern: str | None = None
    example: Any = None

    def schema(self, *, nullable: bool = False) -> dict[str, Any]:
        """Return its JSON schema, as OpenAPI 3.1 uses it."""
        schema: dict[str, Any] = {"type": [self.kind, "null"] if nullable else self.kind}
        if self.kind == "string":
            schema["minLength"] = 1
        if self.max_length is not None:
            schema["maxLength"] = self.max_length
        if self.pattern is not None:
            schema["pattern"] = self.pattern
        return schema

    def check(self, value: Any) -> None:
        """Raise a `Problem` when a value is not what the schema says."""
        if self.kind == "boolean":
            if not isinstance(value, bool):
                _refuse(f'"{self.name}" must be a boolean', "invalid_type", self.name)
            return
        if not isinstance(value, str):
            _refuse(f'"{self.name}" must be a string', "invalid_type", self.name)
        if not value:
            _refuse(f'"{self.name}" must not be empty', "invalid_value", self.name)
        if self.max_length is not None and len(value) > self.max_length:
            text = f'"{self.name}" has more than {self.max_length} characters'
            _refuse(text, "invalid_value", self.name)
        # JSON can spell half of a character (\ud800), which is no text that can be sent on.
        if any("\ud800" <= character <= "\udfff" for character in value):
            _refuse(f'"{self.name}" is not text', "invalid_value", self.name)


def read_json(body: bytes, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the fields of a JSON object; an empty body stands for an object without fields.

    Raises:
        Problem: It is not JSON, has a name twice, or does not fit `fields`.
    """
    content: Any = {}
    if body.strip():
        try:
            content = json.loads(
                body.decode(), object_pairs_hook=_once, parse_constant=_no_constant
            )
        except (ValueError, RecursionError):
            _refuse("The body is not valid JSON", "invalid_json")
    if not isinstance(content, dict):
        _refuse("The body must be a JSON object", "invalid_type")
    optional = {known.name for known in fields if not known.required}
    given = {
        name: value for name, value in content.items() if not (value is None and name in optional)
    }
    return _checked(given, fields)


def read_query(query: str, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the fields of a query string.

    Raises:
        Problem: It is not one, has a name twice, or does not fit `fields`.
    """
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS
        )
    except ValueError:
        _refuse("The query cannot be read", "invalid_value")
    booleans = {known.name for known in fields if known.kind == "boolean"}
    words = {"true": True, "false": False}
    content = _once(pairs)
    return _checked(
        {
            name: words.get(text, text) if name in booleans else text
            for name, text in content.items()
        },
        fields,
    )


def _checked(content: dict[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    known = {one.name: one for one in fields}
    for name in content:
        if name not in known:
            shown = re.sub(r"[^\w.-]", "?", name[:40], flags=re.ASCII)
            _refuse(f'"{shown}" is not a parameter of this endpoint', "unknown_parameter", shown)
    for name, one in known.items():
        if name in content:
            one.check(content[name])
        elif one.required:
            _refuse(f'"{name}" is required', "missing_required_parameter", name)
    return content


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            # Whoever checked this request before us may have read the other one.
            _refuse("A name is given twice", "duplicate_parameter")
        content[name] = value
    return content


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)  # NaN and Infinity are Python's, not JSON's


def _refuse(message: str, code: str, param: str | None = None) -> NoReturn:
    raise Problem(400, "invalid_request", message, code=code, param=param)
