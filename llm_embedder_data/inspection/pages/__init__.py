"""Self-contained HTML pages with tabs and plots, and the numbers that they show."""
