package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// maxAnswer is the longest answer that a daemon gives.
const maxAnswer = 16 << 20

// dial connects to a daemon's socket. The caller closes the connection.
func dial(listen string) (*grpc.ClientConn, error) {
	return grpc.NewClient(listen, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
}
