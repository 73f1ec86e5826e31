"""The recovery report: what was proven in a time, how fast, what is open; as one HTML page, Markdown, JSON or PDF."""
