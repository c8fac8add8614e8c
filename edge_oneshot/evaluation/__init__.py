"""Error rates on labelled images and videos, with the recognition path of the daemon. Terms and protocols: ISO/IEC 19795-1."""
