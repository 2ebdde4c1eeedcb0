"""The page of the API: whole HTML, nothing from elsewhere, nothing that a strict policy would block."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from appliance.api.openapi.__main__ import whole_door
from appliance.api.openapi.document import Object, document
from appliance.api.openapi.page import curl, page
from appliance.api.openapi.resources import CONTENT_SECURITY_POLICY
from appliance.api.openapi.rows import rows_of, type_of
from appliance.api.route_scopes import TABLE
from tests.unit.api.doors import KEY, Doors

DOCUMENT = document(whole_door().resources)
VOID = {"meta", "link", "br"}


class Read(HTMLParser):
    """A page as a browser reads it; faults of its nesting are noted."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


READ = Read(page(DOCUMENT))


def test_every_tag_is_closed_where_it_belongs() -> None:
    assert READ.faults == []
    assert READ.open == []


def test_nothing_in_it_comes_from_elsewhere_or_runs() -> None:
    names = {tag for tag, _ in READ.tags}
    assert names.isdisjoint({"script", "style", "img", "iframe", "object", "form", "base", "svg"})
    attributes = [(name, value) for _, told in READ.tags for name, value in told.items()]
    assert not [name for name, _ in attributes if name == "style" or name.startswith("on")]
    links = [value or "" for name, value in attributes if name in {"href", "src"}]
    assert all(
        link.startswith("#") or link in {"/docs/style.css", "/openapi.json", "data:,"} for link in links
    )


def test_every_link_inside_leads_to_an_operation() -> None:
    ids = [told["id"] for _, told in READ.tags if "id" in told]
    assert len(ids) == len(set(ids)) == sum(len(item) for item in DOCUMENT["paths"].values())
    assert {told["href"] for _, told in READ.tags if (told.get("href") or "").startswith("#")} == {
        f"#{one}" for one in ids
    }


def test_it_shows_fields_scopes_errors_and_a_command() -> None:
    text = "".join(READ.words)
    for shown in (
        "messages",
        "array of object",
        " or ".join(sorted(TABLE["/v1/queue"]["GET"] or ())),
        "context_length_exceeded",
        'curl -s "$OUTPOST/v1/chat/completions"',
        "x-outpost-item",
    ):
        assert (shown in text) is (shown != "x-outpost-item"), shown


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/style.css", "text/css; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ],
)
def test_it_is_served_without_a_key_under_a_strict_policy(path: str, content_type: str, doors: Doors) -> None:
    answer = doors.opened().get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_it_says_nothing_of_this_device(doors: Doors) -> None:
    door = doors.opened()
    for told in (door.inference.models()[0].name, KEY.key_id, "127.0.0.1:8080"):
        assert told not in door.get("/docs").text.replace('"model": "tiny"', "")


def test_what_a_document_says_cannot_become_html() -> None:
    evil = "<script>alert(1)</script>\"'&"
    hostile: Object = {
        "info": {"title": evil, "version": evil, "description": evil},
        "tags": [{"name": evil, "description": evil}],
        "paths": {
            f"/{evil}": {
                "get": {
                    "operationId": evil,
                    "summary": evil,
                    "description": evil,
                    "tags": [evil],
                    "security": [],
                    "x-outpost-scopes": [evil],
                    "parameters": [{"name": evil, "in": evil, "required": True, "description": evil}],
                    "responses": {
                        "200": {
                            "description": evil,
                            "content": {
                                evil: {"schema": {"type": "object", "properties": {evil: {"type": evil}}}}
                            },
                        },
                        "default": {"description": evil},
                    },
                }
            }
        },
        "components": {"schemas": {}},
    }
    read = Read(page(hostile))
    assert read.faults == []
    assert "script" not in {tag for tag, _ in read.tags}
    assert "".join(read.words).count(evil) > 10


def test_a_command_quotes_its_example_for_the_shell() -> None:
    told = {
        "security": [{"bearer": ["x"]}],
        "requestBody": {"content": {"application/json": {"example": {"a": "it's"}}}},
    }
    assert curl("post", "/x", told) == (
        'curl -s "$OUTPOST/x" \\\n  -H "Authorization: Bearer $KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n  -d '{\"a\": \"it'\\''s\"}'"
    )


def test_a_command_without_a_body_is_a_post_all_the_same() -> None:
    assert curl("post", "/x", {"security": []}) == 'curl -s "$OUTPOST/x" \\\n  -X POST'


def test_a_command_that_sends_a_file_says_so() -> None:
    told = {"security": [], "requestBody": {"content": {"application/octet-stream": {}}}}
    assert curl("post", "/x", told).endswith(
        "-H 'Content-Type: application/octet-stream' \\\n  --data-binary @FILE"
    )


def test_rows_follow_nested_objects_and_end_where_a_schema_holds_itself() -> None:
    tree = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 3, "description": "Its name.", "default": "x"},
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
        },
    }
    rows = rows_of({"components": {"schemas": {"Tree": tree}}}, {"$ref": "#/components/schemas/Tree"})
    assert rows[0].name == "name"
    assert rows[0].is_required
    assert rows[0].type == "string (at most 3 characters)"
    assert rows[0].about == 'Its name. Without it: `"x"`.'
    assert [row.name for row in rows[1:4]] == ["children", "children[].name", "children[].children"]
    assert max(row.name.count("children") for row in rows) == 4


def test_types_are_told_in_words() -> None:
    assert (
        type_of({}, {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]})
        == "integer (≥ 1) | null"
    )
    assert type_of({}, {"enum": ["a", "b"]}) == '"a" | "b"'
    assert type_of({}, {"const": 1}) == "1"
    assert type_of({}, {}) == "any"
