"""Measurements, side by side with peers where there are any. Each prints its command, machine and medians."""
