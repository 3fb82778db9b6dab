"""An RTSP server (RFC 2326) for one coded video a name, over TCP and UDP."""
