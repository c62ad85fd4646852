"""Where the results of commands go, and in which form."""
