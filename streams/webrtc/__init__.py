"""WebRTC both ways, negotiated over HTTP: WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep)."""
