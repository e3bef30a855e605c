"""The UDPET challenge data: preparing, submitting, scoring."""
