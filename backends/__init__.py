"""Writers: a typed graph in, a project as data out; one folder each."""
