"""What people look at: pages, figures, the demo."""
