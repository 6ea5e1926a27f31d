"""Where questions and answers come from."""
