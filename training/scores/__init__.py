"""What an image, a dose, a lesion is worth: plain functions of arrays."""
