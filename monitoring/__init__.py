"""The watch: windows, quality, drift, alarms, gauges."""
