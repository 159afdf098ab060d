"""A first contract for any table of customers: guesses, each with its reason beside it, for a person to edit."""
