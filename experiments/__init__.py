"""What makes figures, tables and CSV files of the course: `python -m experiments.NAME --help`."""
