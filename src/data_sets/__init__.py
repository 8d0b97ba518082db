"""Where rows come from: a module for each data set."""
