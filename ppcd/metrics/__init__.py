"""What is measured of a finished generator, and with what."""
