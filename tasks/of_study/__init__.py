"""What belongs to a study: its runs, its price beforehand, its table and page afterwards."""
