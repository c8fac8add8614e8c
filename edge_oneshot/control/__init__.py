"""The control socket: typed requests and responses (requests, responses), their envelope (protocol), server and client."""
