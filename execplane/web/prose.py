"""An author's Markdown (`doc_md`) as HTML for a page: rendered, then stripped of all that could act. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

_TAGS = nh3.ALLOWED_TAGS - {"img", "map", "area"}
_ATTRIBUTES = {"a": {"href", "title"}, "abbr": {"title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}
_LOWER = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h6", "h5": "h6"}
"""The page's own headings are h1 and h2."""
_RAW_HEADING = re.compile(r"(?<=<)(/?)(h[1-5])(?=[\s/>])", re.IGNORECASE)

_markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@lru_cache(maxsize=256)
def html(text: str) -> SafeString:
    """Safe HTML. Pictures become links: a page asks no third party for anything."""
    tokens = _markdown.parse(text)
    for token in tokens:
        token.tag = _LOWER.get(token.tag, token.tag)
        for one in (token, *(token.children or ())):
            if one.type in ("html_block", "html_inline"):
                one.content = _RAW_HEADING.sub(lambda tag: tag[1] + _LOWER[tag[2].lower()], one.content)
        if token.children:
            token.children = _without_pictures(token.children)
    rendered = _markdown.renderer.render(tokens, _markdown.options, {})
    clean = nh3.clean(
        rendered, tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=_SCHEMES, link_rel="noopener noreferrer"
    )
    return mark_safe(clean)  # noqa: S308 - nh3 left only what is listed above


def _without_pictures(tokens: Sequence[Token]) -> list[Token]:
    found: list[Token] = []
    inside_link = False
    for token in tokens:
        inside_link = token.type == "link_open" or (inside_link and token.type != "link_close")
        if token.type != "image":
            found.append(token)
            continue
        source = str(token.attrGet("src") or "")
        words = Token("text", "", 0, content=token.content or source)
        # A link takes no link: a picture in one (a badge) is only its words.
        link = [Token("link_open", "a", 1, attrs={"href": source}), words, Token("link_close", "a", -1)]
        found += [words] if inside_link else link
    return found
