"""Pages that open in a browser without a network: tabs, plots, and what they show."""
