"""The business, played: customers, events, shifts with known truth."""
