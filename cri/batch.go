package cri

import "google.golang.org/protobuf/proto"

// batchBytes is about how much of a streamed list goes into one message: items vary in size, and
// either side takes maxMessage at most.
const batchBytes = 256 << 10

// sendBatches converts items and sends them, batch by batch, so that no more than one batch is held in the
// wire's form. send's error, as of a client that has gone, ends it.
func sendBatches[T any, W proto.Message](items []T, convert func(T) W, send func([]W) error) error {
	var batch []W
	size := 0
	for i, item := range items {
		w := convert(item)
		batch = append(batch, w)
		size += proto.Size(w)
		if size < batchBytes && i < len(items)-1 {
			continue
		}
		if err := send(batch); err != nil {
			return err
		}
		batch, size = nil, 0
	}
	return nil
}
