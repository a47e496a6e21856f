"""Sans-I/O logic of the worker: what an application may send and receive, and when."""
