"""Keep one bad tile from stopping a scan: retries, quarantine and time limits."""
