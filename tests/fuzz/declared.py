"""Whether a reply is one that the OpenAPI document declares. Pure."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema_rs

Json = dict[str, Any]


class Declared:
    """What a document declares of its operations' replies."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self._validator = cache(self._new_validator)

    def operation(self, method: str, path: str) -> Json:
        """One operation. Raises KeyError for one that is not declared."""
        found: Json = self.document["paths"][path][method.lower()]
        return found

    def fault_of(
        self, method: str, path: str, status: int, media_type: str, body: bytes
    ) -> str | None:
        """What of a reply the document does not declare; None: all of it is as declared."""
        answers = self.operation(method, path)["responses"]
        answer = answers.get(str(status))
        if answer is None:
            return f"status {status} is not declared"
        if reference := answer.get("$ref"):
            answer = self.document["components"]["responses"][reference.rpartition("/")[2]]
        content = answer.get("content", {})
        kind = media_type.partition(";")[0]
        if not body and (not content or method == "HEAD"):
            return None
        if kind not in content:
            return f"status {status} declares {list(content)}, not {kind!r}"
        if not re.fullmatch(r"application/(problem\+)?json", kind):
            return None
        schema = json.dumps(content[kind]["schema"], sort_keys=True)
        for error in self._validator(schema).iter_errors(json.loads(body)):
            place = "/".join(map(str, error.instance_path))
            return f"status {status}: {place}: breaks its schema at {error.schema_path}"
        return None

    def _new_validator(self, schema: str) -> Any:
        whole = {**json.loads(schema), "components": self.document["components"]}
        return jsonschema_rs.Draft202012Validator(whole)
