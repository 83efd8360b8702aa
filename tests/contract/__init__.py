"""Every door beside every outcome: what is asked, and the answer on the wire (see `record.py`)."""
