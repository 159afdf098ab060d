#!/bin/sh
# Runs once, in an empty cluster: a database and its owner each for MLflow and Prefect, who cannot see one another's.
# Passwords are taken from the very addresses that the servers read (secrets/*_database_url).
set -eu
for name in mlflow prefect; do
  password=$(sed 's|^[^:]*://[^:]*:\([^@]*\)@.*|\1|' "/run/secrets/${name}_database_url")
  psql -q -v ON_ERROR_STOP=1 -v name="$name" -v password="$password" -U "${POSTGRES_USER:-postgres}" -d postgres <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
