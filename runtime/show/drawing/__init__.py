"""A sheet as a list of marks, and what turns it into a picture or a vector graphic."""
