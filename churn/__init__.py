"""The core: what every room shares. It knows no service.

It imports nothing here, so that nobody pays for what they do not use.
"""
