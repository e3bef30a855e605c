"""A scan in and out: files, DICOM, SUV, the body."""
