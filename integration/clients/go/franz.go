package main

import (
	"context"
	"errors"
	"maps"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(bootstrap string) (client, func(command, member) error) {
	ctx := context.Background()
	open := func(options ...kgo.Opt) (*kgo.Client, error) {
		return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.FetchMaxWait(100 * time.Millisecond)}, options...)...)
	}
	shared, err := open()
	if err != nil {
		panic(err)
	}
	admin := kadm.NewClient(shared)

	produce := func(c command) (any, error) {
		codec := map[string]kgo.CompressionCodec{"": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
			"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[c.Compression]
		partitioner := kgo.StickyKeyPartitioner(nil)
		if len(c.Records) > 0 && c.Records[0].Partition != nil {
			partitioner = kgo.ManualPartitioner()
		}
		cl, err := open(kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(10_000_000),
			kgo.BrokerMaxWriteBytes(100<<20), kgo.RecordPartitioner(partitioner), kgo.UnknownTopicRetries(2))
		if err != nil {
			return nil, err
		}
		defer cl.Close()
		var out []*kgo.Record
		for _, r := range c.Records {
			one := &kgo.Record{Topic: c.Topic, Key: bytesOf(r.Key), Value: bytesOf(r.Value)}
			if r.Partition != nil {
				one.Partition = *r.Partition
			}
			if r.Timestamp != 0 {
				one.Timestamp = time.UnixMilli(r.Timestamp)
			}
			for _, h := range r.Headers {
				one.Headers = append(one.Headers, kgo.RecordHeader{Key: *h[0], Value: bytesOf(h[1])})
			}
			out = append(out, one)
		}
		results := cl.ProduceSync(ctx, out...)
		offsets := []int64{}
		for _, r := range out {
			offsets = append(offsets, r.Offset)
		}
		return offsets, results.FirstErr()
	}

	next := func(cl *kgo.Client) (record, error) {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		fetches := cl.PollRecords(limited, 1)
		if err := fetches.Err(); err != nil {
			return record{}, err
		}
		r := fetches.Records()[0]
		headers := []header{}
		for _, h := range r.Headers {
			headers = append(headers, header{pointer(h.Key), text(h.Value)})
		}
		return record{text(r.Key), text(r.Value), headers, &r.Partition, r.Offset, r.Timestamp.UnixMilli()}, nil
	}
	at := func(p place) kgo.Offset {
		switch {
		case p.Time != nil:
			return kgo.NewOffset().AfterMilli(*p.Time)
		case p.Name == "end":
			return kgo.NewOffset().AtEnd()
		case p.Name == "beginning":
			return kgo.NewOffset().AtStart()
		}
		return kgo.NewOffset().At(p.Offset)
	}
	assigned := func(c command, p place) (*kgo.Client, error) {
		return open(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: {c.Partition: at(p)}}))
	}
	consume := func(c command) (any, error) {
		cl, err := assigned(c, c.Start)
		if err != nil {
			return nil, err
		}
		defer cl.Close()
		got := []record{}
		for len(got) < c.Count {
			r, err := next(cl)
			if err != nil {
				return nil, err
			}
			got = append(got, r)
		}
		return got, nil
	}
	listed := func(c command, p place) (int64, error) {
		var found kadm.ListedOffsets
		var err error
		switch {
		case p.Time != nil:
			found, err = admin.ListOffsetsAfterMilli(ctx, *p.Time, c.Topic)
		case p.Name == "end":
			found, err = admin.ListEndOffsets(ctx, c.Topic)
		default:
			found, err = admin.ListStartOffsets(ctx, c.Topic)
		}
		if err != nil {
			return 0, err
		}
		one, _ := found.Lookup(c.Topic, c.Partition)
		return one.Offset, one.Err
	}
	seek := func(c command) (any, error) {
		cl, err := assigned(c, place{Name: "beginning"})
		if err != nil {
			return nil, err
		}
		defer cl.Close()
		if _, err := next(cl); err != nil { // SetOffsets moves what is being consumed, and nothing before that
			return nil, err
		}
		got := []int64{}
		for _, to := range c.To {
			if to.Name == "end" {
				end, err := listed(c, to)
				if err != nil {
					return nil, err
				}
				got = append(got, end)
				continue
			}
			offset := to.Offset
			if to.Time != nil || to.Name != "" {
				if offset, err = listed(c, to); err != nil {
					return nil, err
				}
			}
			cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{c.Topic: {c.Partition: {Epoch: -1, Offset: offset}}})
			r, err := next(cl)
			if err != nil {
				return nil, err
			}
			got = append(got, r.Offset)
		}
		return got, nil
	}

	join := func(c command, m member) error {
		var lock sync.Mutex
		mine := map[int32]bool{}
		change := func(held bool) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
				lock.Lock()
				defer lock.Unlock()
				for _, partition := range changed[c.Topics[0]] {
					if held {
						mine[partition] = true
					} else {
						delete(mine, partition)
					}
				}
				now := [][2]any{}
				for partition := range mine {
					now = append(now, [2]any{c.Topics[0], partition})
				}
				m.assigned(now)
			}
		}
		cl, err := open(kgo.ConsumerGroup(c.Group), kgo.ConsumeTopics(c.Topics...), kgo.DisableAutoCommit(),
			kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
		if err != nil {
			return err
		}
		defer cl.Close() // leaves the group
		for {
			select {
			case <-m.done:
				return nil
			default:
			}
			limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			fetches := cl.PollFetches(limited)
			cancel()
			if fetches.NumRecords() == 0 {
				continue
			}
			fetches.EachRecord(func(r *kgo.Record) { m.record(r.Partition, r.Offset, r.Value) })
			cl.CommitRecords(ctx, fetches.Records()...) // if it fails in a rebalance, the records come again
		}
	}

	commands := map[string]func(command) (any, error){
		"produce": produce, "consume": consume, "seek": seek,
		"commit": func(c command) (any, error) {
			offsets := kadm.Offsets{}
			offsets.Add(kadm.Offset{Topic: c.Topic, Partition: c.Partition, At: c.Offset, LeaderEpoch: -1, Metadata: c.Metadata})
			return nil, admin.CommitAllOffsets(ctx, c.Group, offsets)
		},
		"committed": func(c command) (any, error) {
			found, err := admin.FetchOffsets(ctx, c.Group)
			if err != nil {
				return nil, err
			}
			one, there := found.Lookup(c.Topic, c.Partition)
			if !there {
				return []any{-1, nil}, nil
			}
			return []any{one.At, one.Metadata}, one.Err
		},
		"create": func(c command) (any, error) {
			_, err := admin.CreateTopic(ctx, int32(max(c.Partitions, 1)), int16(max(c.Replicas, 1)), c.Configs, c.Topic)
			return nil, err
		},
		"delete": func(c command) (any, error) {
			_, err := admin.DeleteTopic(ctx, c.Topic)
			return nil, err
		},
		"topics": func(c command) (any, error) {
			found, err := admin.ListTopics(ctx)
			return found.Names(), err
		},
		"describe": func(c command) (any, error) {
			found, err := admin.ListTopics(ctx, c.Topic)
			if err != nil {
				return nil, err
			}
			rows := []any{}
			for _, p := range found[c.Topic].Partitions.Sorted() {
				rows = append(rows, []any{p.Partition, p.Leader, p.Replicas, p.ISR})
			}
			return rows, found[c.Topic].Err
		},
		"grow": func(c command) (any, error) {
			said, err := admin.UpdatePartitions(ctx, c.Partitions, c.Topic)
			return nil, errors.Join(err, said.Error())
		},
		"configs": func(c command) (any, error) {
			describe := map[string]func() (kadm.ResourceConfigs, error){
				"topic":  func() (kadm.ResourceConfigs, error) { return admin.DescribeTopicConfigs(ctx, c.Name) },
				"broker": func() (kadm.ResourceConfigs, error) { return admin.DescribeBrokerConfigs(ctx, 1) },
			}[c.Kind]
			found, err := describe()
			if err != nil {
				return nil, err
			}
			configs := map[string]*string{}
			for _, one := range found[0].Configs {
				configs[one.Key] = one.Value
			}
			return configs, found[0].Err
		},
		"configure": func(c command) (any, error) {
			var changes []kadm.AlterConfig
			for name, value := range c.Configs {
				changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: value})
			}
			said, err := admin.AlterTopicConfigs(ctx, changes, c.Topic)
			if err != nil {
				return nil, err
			}
			return nil, said[0].Err
		},
		"offsets": func(c command) (any, error) { return listed(c, c.At) },
		"trim": func(c command) (any, error) {
			offsets := kadm.Offsets{}
			offsets.Add(kadm.Offset{Topic: c.Topic, Partition: c.Partition, At: c.Offset})
			said, err := admin.DeleteRecords(ctx, offsets)
			if err != nil {
				return nil, err
			}
			one, _ := said.Lookup(c.Topic, c.Partition)
			return one.LowWatermark, one.Err
		},
		"groups": func(c command) (any, error) {
			found, err := admin.ListGroups(ctx)
			return found.Groups(), err
		},
		"group": func(c command) (any, error) {
			found, err := admin.DescribeGroups(ctx, c.Group)
			if err != nil {
				return nil, err
			}
			return []any{found[c.Group].State, len(found[c.Group].Members)}, found[c.Group].Err
		},
		"forget": func(c command) (any, error) {
			said, err := admin.DeleteGroups(ctx, c.Group)
			if err != nil {
				return nil, err
			}
			return nil, said[c.Group].Err
		},
		"cluster": func(c command) (any, error) {
			found, err := admin.BrokerMetadata(ctx)
			ids := found.Brokers.NodeIDs()
			sort.Slice(ids, func(a, b int) bool { return ids[a] < ids[b] })
			return []any{found.Cluster, ids}, err
		},
	}
	code := func(err error) *int16 {
		var known *kerr.Error
		if errors.As(err, &known) {
			return &known.Code
		}
		return nil
	}
	maps.Copy(commands, franzTransactions(open))
	return client{module: "github.com/twmb/franz-go", commands: commands, code: code}, join
}
