"""The small pieces that every page is made of: states, times, icons, addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.urls import reverse
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from execplane.store.queries import system
from execplane.store.queries.dags import DagRow
from execplane.web import gridding, prose, rendering, wiring, words

register = template.Library()
_RECENT_HEIGHT = 24
_MOST_COUNTED = 99
_BACKTICKED = re.compile(r"`([^`\n]+)`")
_DELTA = re.compile(r"^(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)$")

_ICONS = {
    "play": '<path d="M7 5l12 7-12 7z" fill="currentColor" stroke="none"/>',
    "menu": '<path d="M4 7h16M4 12h16M4 17h16"/>',
    "theme": '<path d="M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z"/>',
    "search": '<circle cx="11" cy="11" r="6.5"/><path d="M16 16l4.5 4.5"/>',
    "clear": '<path d="M4.5 12a7.5 7.5 0 1 0 2.4-5.5"/><path d="M4 4v4.5h4.5"/>',
    "check": '<path d="M5 12.5l4.5 4.5L19 7.5"/>',
    "cross": '<path d="M6 6l12 12M18 6L6 18"/>',
    "stop": '<rect x="6.5" y="6.5" width="11" height="11" fill="currentColor" stroke="none"/>',
    "copy": '<rect x="8.5" y="8.5" width="11" height="11" rx="1.5"/><path d="M15 5H6a1.5 1.5 0 0 0-1.5 1.5V15"/>',
    "download": '<path d="M12 4v11M7.5 11L12 15.5 16.5 11M5 19.5h14"/>',
    "left": '<path d="M14.5 6l-6 6 6 6"/>',
    "right": '<path d="M9.5 6l6 6-6 6"/>',
    "down": '<path d="M6 9.5l6 6 6-6"/>',
    "user": '<circle cx="12" cy="8.5" r="3.8"/><path d="M4.8 20a7.3 7.3 0 0 1 14.4 0"/>',
    "help": '<path d="M9 9.2a3 3 0 1 1 4.3 2.7c-.9.5-1.3 1-1.3 2.1M12 17.4v.2"/><circle cx="12" cy="12" r="9"/>',
    "warn": '<path d="M12 4L2.8 20h18.4zM12 10v4.5M12 17v.3"/>',
    "plus": '<path d="M12 5v14M5 12h14"/>',
    "minus": '<path d="M5 12h14"/>',
    "fit": '<path d="M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"/>',
    "wrap": '<path d="M4 6h16M4 12h12.5a3 3 0 0 1 0 6H13M15.5 15.5L13 18l2.5 2.5M4 18h5"/>',
    "follow": '<path d="M12 4v12M6.5 11L12 16.5 17.5 11M6 20.5h12"/>',
    "clock": '<circle cx="12" cy="12" r="8.5"/><path d="M12 7v5l3.5 2"/>',
}


@register.simple_tag
def icon(name: str) -> SafeString:
    return mark_safe(  # noqa: S308 - our own constants
        '<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" '
        f'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{_ICONS[name]}</svg>'
    )


@register.simple_tag
def state(name: str, label: str = "") -> SafeString:
    """A state as users know it: a coloured square and the word."""
    return format_html(
        '<span class="state"><i class="sq s-{}" aria-hidden="true"></i>{}</span>',
        name,
        label or words.state_label(name),
    )


@register.filter
def state_label(name: str) -> str:
    return words.state_label(name)


@register.simple_tag
def when(moment: datetime | None, empty: str = "–", *, precise: bool = False) -> SafeString | str:
    """A moment, in UTC or, as the reader chooses, local time; the relative hint is its title."""
    if not moment:
        return empty
    return format_html(
        '<time class="abs{}" datetime="{}" title="{}">{}</time>',
        " ms" if precise else "",
        words.iso(moment),
        words.ago(moment, wiring.clock().now()),
        words.stamp(moment) + (f".{moment.microsecond // 1000:03d}" if precise else ""),
    )


@register.simple_tag
def ago(moment: datetime | None, empty: str = "–") -> SafeString | str:
    """How long ago or how soon; the exact moment is its title."""
    if not moment:
        return empty
    return format_html(
        '<time class="rel" datetime="{}" title="{} UTC">{}</time>',
        words.iso(moment),
        words.stamp(moment),
        words.ago(moment, wiring.clock().now()),
    )


@register.simple_tag
def took(start: datetime | None, end: datetime | None = None, empty: str = "–") -> SafeString | str:
    """A duration; while there is no end it counts on."""
    if not start:
        return empty
    text = words.duration(words.between(start, end, wiring.clock().now()))
    if not end:
        return format_html('<time class="since" datetime="{}">{}</time>', words.iso(start), text)
    return format_html('<span class="num">{}</span>', text)


@register.filter
def seconds(value: float | None) -> str:
    return words.duration(value)


@register.filter
def size(value: int | None) -> str:
    return words.size(value)


@register.filter
def pretty(value: Any) -> str:
    """JSON for people; text that is not JSON stays as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def markdown(text: str) -> SafeString:
    """An author's documentation."""
    return prose.html(text)


@register.filter
def code_words(text: str) -> SafeString:
    """What a message has between backticks as code, all else as it stands."""
    return mark_safe(_BACKTICKED.sub(r"<code>\1</code>", escape(text)))  # noqa: S308 - escaped before


@register.filter
def keys(mapping: Mapping[str, Any]) -> str:
    return ", ".join(mapping)


@register.filter
def get(mapping: Mapping[Any, Any], key: Any) -> Any:
    return mapping.get(key)


@register.filter
def mapped(map_index: int) -> str:
    """ "[3]" behind the task's id; nothing for a task that is not mapped."""
    return f"[{map_index}]" if map_index >= 0 else ""


@register.simple_tag
def task_url(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    if map_index >= 0:
        return reverse("mapped-task", args=[dag_id, run_id, task_id, map_index])
    return reverse("task", args=[dag_id, run_id, task_id])


@register.simple_tag
def import_error_count() -> str:
    found = system.count_import_errors()
    if found > _MOST_COUNTED:
        return f"{_MOST_COUNTED}+"
    return str(found or "")


@register.filter
def words_of(text: str) -> list[str]:
    """A literal list in a template: "a b c"."""
    return text.split()


@register.filter
def plus(value: float, more: float) -> str:
    return f"{value + more:.1f}"


@register.simple_block_tag
def rendered(content: str) -> str:
    """`{% rendered as NAME %}…{% endrendered %}` keeps what is between for later."""
    return content


@register.filter
def digest(part: str) -> str:
    return rendering.digest(part)


@register.simple_tag
def recent(dag: DagRow) -> SafeString:
    """The last runs as bars, newest at the right, each a link to its run."""
    parts = []
    for bar in gridding.bars(dag.recent, wiring.clock().now(), full=_RECENT_HEIGHT):
        parts.append(
            format_html(
                '<a class="bar" href="{}" title="{}" aria-label="{}"><svg width="8" height="{}" viewBox="0 0 8 {}" '
                'aria-hidden="true"><rect class="f-{}" y="{}" width="8" height="{}" rx="1.5"/></svg></a>',
                reverse("run", args=[dag.dag_id, bar.run.run_id]),
                bar.label,
                bar.label,
                _RECENT_HEIGHT,
                _RECENT_HEIGHT,
                bar.run.state,
                bar.y,
                bar.height,
            )
        )
    return format_html('<span class="recent">{}</span>', mark_safe("".join(parts)))  # noqa: S308 - escaped above


@register.filter
def schedule(text: str) -> str:
    """A timedelta in words; cron expressions and presets stay as their author wrote them."""
    found = _DELTA.match(text)
    if not found:
        return text
    days, hours, minutes, whole = (int(part or 0) for part in found.groups())
    return f"every {words.duration(days * 86400 + hours * 3600 + minutes * 60 + whole)}"
