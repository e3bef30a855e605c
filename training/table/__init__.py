"""The table: every method on the same unseen cases, at every input dose, scored in image, organs and lesions."""
