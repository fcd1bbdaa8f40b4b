"""The datasets: drawn, or linked, checked and identified."""
