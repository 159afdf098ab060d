"""The HTTP service: answers predictions, explains them, takes labels and keys. Knows the core and no other room."""
