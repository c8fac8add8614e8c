"""Labelled pictures -> error rates, through exactly the daemon's path. Terms and protocols after ISO/IEC 19795-1."""
