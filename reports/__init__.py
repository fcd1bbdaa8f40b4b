"""Tables and figures: metrics files become one tidy table, and that becomes the paper's tables and figures."""
