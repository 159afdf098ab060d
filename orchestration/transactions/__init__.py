"""Customers out of their transactions: a file of invoice lines read, measured as of a cut-off, kept in the store."""
