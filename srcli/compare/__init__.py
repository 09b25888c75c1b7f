"""Before and after, side by side: a page for browsers (page) and one picture (sheet)."""
