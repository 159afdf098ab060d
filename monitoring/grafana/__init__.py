"""Grafana's dashboards as code: `make dashboards` writes the provisioned JSON. No part of the watch at run time."""
