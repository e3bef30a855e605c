"""A grey widget says why it is grey."""

from __future__ import annotations

OWN_TOOL_TIP = "ownToolTip"  # dynamic property: what the .ui file says the widget is for


def allow(widget, reason: str) -> None:
    """Enables the widget, or greys it with `reason` as its tooltip; its own tooltip comes back with the colour."""
    own = widget.property(OWN_TOOL_TIP)
    if not own:
        own = widget.toolTip
        widget.setProperty(OWN_TOOL_TIP, own)
    widget.enabled = not reason
    widget.toolTip = reason or own
