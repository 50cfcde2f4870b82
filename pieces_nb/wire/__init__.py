"""The only sockets: addresses, finding the server, HTTP and WebSocket, one function per endpoint. Shows nothing."""
