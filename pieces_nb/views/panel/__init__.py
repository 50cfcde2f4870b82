"""The control panel: `ModelClient.panel()` and `%pieces_model panel`."""

from pieces_nb.views.panel.panel import Panel

__all__ = ["Panel"]
