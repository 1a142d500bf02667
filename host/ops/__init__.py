"""The process that shows how a host is, over HTTP: metrics, health and a dashboard."""
