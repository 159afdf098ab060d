"""The Kinesis door: records in, results out."""
