package main

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

func segment(bootstrap string) (client, func(command, member) error) {
	ctx := context.Background()
	brokers := strings.Split(bootstrap, ",")
	// What was changed a moment ago must be seen, so metadata is kept for a moment only.
	transport := again{&kafka.Transport{MetadataTTL: 50 * time.Millisecond}}
	admin := &kafka.Client{Addr: kafka.TCP(brokers...), Timeout: patience, Transport: transport}

	produce := func(c command) (any, error) {
		// Each partition is written by a goroutine of its own.
		var lock sync.Mutex
		placed := map[int]kafka.Message{}
		w := &kafka.Writer{Addr: kafka.TCP(brokers...), Transport: transport, Topic: c.Topic, RequiredAcks: kafka.RequireAll, BatchBytes: 10_000_000,
			BatchTimeout: 20 * time.Millisecond, MaxAttempts: 3, Balancer: kafka.BalancerFunc(func(m kafka.Message, known ...int) int {
				if chosen := c.Records[m.WriterData.(int)].Partition; chosen != nil {
					return int(*chosen)
				}
				return known[0]
			}),
			Compression: map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4,
				"zstd": kafka.Zstd}[c.Compression],
			Completion: func(messages []kafka.Message, _ error) {
				lock.Lock()
				defer lock.Unlock()
				for _, m := range messages {
					placed[m.WriterData.(int)] = m
				}
			}}
		defer w.Close()
		// The writer gives up at once on a topic that is younger than the metadata it has.
		for tries := 0; tries < 20; tries++ {
			found, err := admin.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{c.Topic}})
			if err == nil && found.Topics[0].Error == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		var out []kafka.Message
		for n, r := range c.Records {
			one := kafka.Message{Key: bytesOf(r.Key), Value: bytesOf(r.Value), WriterData: n}
			if r.Timestamp != 0 {
				one.Time = time.UnixMilli(r.Timestamp)
			}
			for _, h := range r.Headers {
				one.Headers = append(one.Headers, kafka.Header{Key: *h[0], Value: bytesOf(h[1])})
			}
			out = append(out, one)
		}
		if err := w.WriteMessages(ctx, out...); err != nil {
			return nil, err
		}
		offsets := []int64{}
		for n := range out {
			offsets = append(offsets, placed[n].Offset)
		}
		return offsets, nil
	}

	next := func(r *kafka.Reader) (record, error) {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		m, err := r.ReadMessage(limited)
		headers := []header{}
		for _, h := range m.Headers {
			headers = append(headers, header{pointer(h.Key), text(h.Value)})
		}
		return record{text(m.Key), text(m.Value), headers, pointer(int32(m.Partition)), m.Offset, m.Time.UnixMilli()}, err
	}
	reader := func(c command) *kafka.Reader {
		return kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: c.Topic, Partition: int(c.Partition),
			MaxWait: 100 * time.Millisecond})
	}
	consume := func(c command) (any, error) {
		r := reader(c)
		defer r.Close()
		start := c.Start.Offset
		if c.Start.Name == "beginning" {
			start = kafka.FirstOffset
		}
		if err := r.SetOffset(start); err != nil {
			return nil, err
		}
		got := []record{}
		for len(got) < c.Count {
			one, err := next(r)
			if err != nil {
				return nil, err
			}
			got = append(got, one)
		}
		return got, nil
	}
	listed := func(c command, p place) (int64, error) {
		request := kafka.FirstOffsetOf(int(c.Partition))
		if p.Name == "end" {
			request = kafka.LastOffsetOf(int(c.Partition))
		} else if p.Time != nil {
			request = kafka.TimeOffsetOf(int(c.Partition), time.UnixMilli(*p.Time))
		}
		asked := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{c.Topic: {request}}}
		found, err := admin.ListOffsets(ctx, asked)
		// A topic that is younger than the metadata it has is asked of any broker.
		for tries := 0; tries < 20 && err == nil && errors.Is(found.Topics[c.Topic][0].Error, kafka.NotLeaderForPartition); tries++ {
			time.Sleep(50 * time.Millisecond)
			found, err = admin.ListOffsets(ctx, asked)
		}
		if err != nil {
			return 0, err
		}
		one := found.Topics[c.Topic][0]
		for offset := range one.Offsets {
			return offset, one.Error
		}
		return max(one.FirstOffset, one.LastOffset), one.Error
	}
	seek := func(c command) (any, error) {
		r := reader(c)
		defer r.Close()
		got := []int64{}
		for _, to := range c.To {
			var err error
			switch {
			case to.Time != nil:
				err = r.SetOffsetAt(ctx, time.UnixMilli(*to.Time))
			case to.Name == "beginning":
				err = r.SetOffset(kafka.FirstOffset)
			case to.Name == "end":
				var end int64
				if end, err = listed(c, to); err != nil {
					return nil, err
				}
				got = append(got, end)
				continue
			default:
				err = r.SetOffset(to.Offset)
			}
			if err != nil {
				return nil, err
			}
			one, err := next(r)
			if err != nil {
				return nil, err
			}
			got = append(got, one.Offset)
		}
		return got, nil
	}

	join := func(c command, m member) error {
		group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: c.Group, Brokers: brokers, Topics: c.Topics,
			SessionTimeout: 6 * time.Second, HeartbeatInterval: 500 * time.Millisecond, StartOffset: kafka.FirstOffset})
		if err != nil {
			return err
		}
		limited, stop := context.WithCancel(ctx)
		go func() {
			<-m.done
			stop()
			group.Close() // leaves, and ends the generation
		}()
		for {
			generation, err := group.Next(limited)
			if limited.Err() != nil {
				return group.Close()
			}
			if err != nil {
				continue // the next generation comes by itself
			}
			now := [][2]any{}
			for topic, partitions := range generation.Assignments {
				for _, assigned := range partitions {
					now = append(now, [2]any{topic, assigned.ID})
					generation.Start(func(ctx context.Context) { work(ctx, brokers, generation, topic, assigned, m) })
				}
			}
			m.assigned(now)
		}
	}

	first := func(errs map[string]error) error {
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}
	metadata := func(c command) (*kafka.MetadataResponse, error) {
		request := &kafka.MetadataRequest{}
		if c.Topic != "" {
			request.Topics = []string{c.Topic}
		}
		return admin.Metadata(ctx, request)
	}
	commands := map[string]func(command) (any, error){
		"produce": produce, "consume": consume, "seek": seek,
		"commit": func(c command) (any, error) {
			said, err := admin.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: c.Group, GenerationID: -1,
				Topics: map[string][]kafka.OffsetCommit{c.Topic: {{Partition: int(c.Partition), Offset: c.Offset, Metadata: c.Metadata}}}})
			if err != nil {
				return nil, err
			}
			return nil, said.Topics[c.Topic][0].Error
		},
		"committed": func(c command) (any, error) {
			found, err := admin.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: c.Group,
				Topics: map[string][]int{c.Topic: {int(c.Partition)}}})
			if err != nil {
				return nil, err
			}
			if found.Error != nil {
				return nil, found.Error
			}
			one := found.Topics[c.Topic][0]
			return []any{one.CommittedOffset, one.Metadata}, one.Error
		},
		"create": func(c command) (any, error) {
			wanted := kafka.TopicConfig{Topic: c.Topic, NumPartitions: max(c.Partitions, 1), ReplicationFactor: max(c.Replicas, 1)}
			for name, value := range c.Configs {
				wanted.ConfigEntries = append(wanted.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: *value})
			}
			said, err := admin.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{wanted}})
			if err != nil {
				return nil, err
			}
			return nil, first(said.Errors)
		},
		"delete": func(c command) (any, error) {
			said, err := admin.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{c.Topic}})
			if err != nil {
				return nil, err
			}
			return nil, first(said.Errors)
		},
		"topics": func(c command) (any, error) {
			found, err := metadata(c)
			if err != nil {
				return nil, err
			}
			names := []string{}
			for _, topic := range found.Topics {
				names = append(names, topic.Name)
			}
			return names, nil
		},
		"describe": func(c command) (any, error) {
			found, err := metadata(c)
			if err != nil {
				return nil, err
			}
			ids := func(brokers []kafka.Broker) (ids []int) {
				for _, broker := range brokers {
					ids = append(ids, broker.ID)
				}
				return ids
			}
			rows := [][]any{}
			for _, p := range found.Topics[0].Partitions {
				rows = append(rows, []any{p.ID, p.Leader.ID, ids(p.Replicas), ids(p.Isr)})
			}
			slices.SortFunc(rows, func(a, b []any) int { return a[0].(int) - b[0].(int) })
			return rows, found.Topics[0].Error
		},
		"grow": func(c command) (any, error) {
			said, err := admin.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
				Topics: []kafka.TopicPartitionsConfig{{Name: c.Topic, Count: int32(c.Partitions)}}})
			if err != nil {
				return nil, err
			}
			return nil, first(said.Errors)
		},
		"configs": func(c command) (any, error) {
			kind := map[string]kafka.ResourceType{"topic": kafka.ResourceTypeTopic, "broker": kafka.ResourceTypeBroker}[c.Kind]
			found, err := admin.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
				Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kind, ResourceName: c.Name}}})
			if err != nil {
				return nil, err
			}
			configs := map[string]string{}
			for _, one := range found.Resources[0].ConfigEntries {
				configs[one.ConfigName] = one.ConfigValue
			}
			return configs, found.Resources[0].Error
		},
		"configure": func(c command) (any, error) {
			resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: c.Topic}
			for name, value := range c.Configs {
				resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: *value,
					ConfigOperation: kafka.ConfigOperationSet})
			}
			said, err := admin.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
				Resources: []kafka.IncrementalAlterConfigsRequestResource{resource}})
			if err != nil {
				return nil, err
			}
			return nil, said.Resources[0].Error
		},
		"offsets": func(c command) (any, error) { return listed(c, c.At) },
		"groups": func(command) (any, error) {
			found, err := admin.ListGroups(ctx, &kafka.ListGroupsRequest{})
			if err != nil {
				return nil, err
			}
			names := []string{}
			for _, group := range found.Groups {
				names = append(names, group.GroupID)
			}
			return names, found.Error
		},
		"group": func(c command) (any, error) {
			found, err := admin.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{c.Group}})
			if err != nil {
				return nil, err
			}
			return []any{found.Groups[0].GroupState, len(found.Groups[0].Members)}, found.Groups[0].Error
		},
		"forget": func(c command) (any, error) {
			said, err := admin.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{c.Group}})
			if err != nil {
				return nil, err
			}
			return nil, first(said.Errors)
		},
		"cluster": func(c command) (any, error) {
			found, err := metadata(c)
			if err != nil {
				return nil, err
			}
			ids := []int{}
			for _, broker := range found.Brokers {
				ids = append(ids, broker.ID)
			}
			return []any{found.ClusterID, ids}, nil
		},
	}
	code := func(err error) *int16 {
		var known kafka.Error
		var sent kafka.WriteErrors
		if errors.As(err, &sent) {
			err = sent[0]
		}
		var large kafka.MessageTooLargeError
		if errors.As(err, &large) {
			return pointer(int16(kafka.MessageSizeTooLarge))
		}
		if errors.As(err, &known) && known > 0 {
			return pointer(int16(known))
		}
		return nil
	}
	cannot := map[string]string{"trim": "it has no DeleteRecords",
		"empty parts": "its writer sends what is empty as null",
		"null header": "its writer sends what is empty as null"}
	return client{module: "github.com/segmentio/kafka-go", cannot: cannot, commands: commands, code: code}, join
}

// again asks once more after a connection of the pool turned out to be dead, as its users do themselves.
type again struct{ kafka.RoundTripper }

func (a again) RoundTrip(ctx context.Context, address net.Addr, request kafka.Request) (kafka.Response, error) {
	response, err := a.RoundTripper.RoundTrip(ctx, address, request)
	var known kafka.Error
	for tries := 0; err != nil && !errors.As(err, &known) && tries < 20 && ctx.Err() == nil; tries++ {
		time.Sleep(250 * time.Millisecond)
		response, err = a.RoundTripper.RoundTrip(ctx, address, request)
	}
	return response, err
}

// work processes one partition as long as the generation lives.
func work(ctx context.Context, brokers []string, generation *kafka.Generation, topic string, assigned kafka.PartitionAssignment, m member) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: topic, Partition: assigned.ID, MaxWait: 100 * time.Millisecond})
	defer r.Close()
	if err := r.SetOffset(assigned.Offset); err != nil {
		return
	}
	for {
		message, err := r.ReadMessage(ctx)
		if err != nil {
			return // kafka.ErrGenerationEnded, as a rule
		}
		m.record(int32(message.Partition), message.Offset, message.Value)
		generation.CommitOffsets(map[string]map[int]int64{topic: {assigned.ID: message.Offset + 1}}) // if not: it comes again
	}
}
