"""The table: every method on the same test cases."""
