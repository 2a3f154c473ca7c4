"""Where records go: files, syslog, webhooks, a journal."""
