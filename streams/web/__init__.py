"""The page in the browser and the API behind it: one server for all cameras of a process."""
