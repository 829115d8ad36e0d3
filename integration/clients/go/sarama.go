package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// saramaClient expects the APIs of SARAMA_VERSION, as Sarama does: it asks the broker for none.
func saramaClient(bootstrap string) (client, func(command, member) error) {
	config := func() *sarama.Config {
		c := sarama.NewConfig()
		if set := os.Getenv("SARAMA_VERSION"); set != "" {
			version, err := sarama.ParseKafkaVersion(set)
			if err != nil {
				panic(err)
			}
			c.Version = version
		}
		c.Producer.Return.Successes = true
		c.Producer.RequiredAcks = sarama.WaitForAll
		c.Producer.MaxMessageBytes = 10_000_000
		c.Producer.Flush.Frequency = 20 * time.Millisecond
		c.Consumer.MaxWaitTime = 100 * time.Millisecond
		c.Consumer.Offsets.AutoCommit.Enable = false
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
		c.Consumer.Group.Session.Timeout = 6 * time.Second
		c.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
		return c
	}
	brokers := strings.Split(bootstrap, ",")
	shared, err := sarama.NewClient(brokers, config())
	if err != nil {
		panic(err)
	}
	admin, err := sarama.NewClusterAdminFromClient(shared)
	if err != nil {
		panic(err)
	}

	produce := func(c command) (any, error) {
		settings := config()
		settings.Producer.Compression = map[string]sarama.CompressionCodec{"": sarama.CompressionNone, "none": sarama.CompressionNone,
			"gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4,
			"zstd": sarama.CompressionZSTD}[c.Compression]
		if len(c.Records) > 0 && c.Records[0].Partition != nil {
			settings.Producer.Partitioner = sarama.NewManualPartitioner
		}
		producer, err := sarama.NewSyncProducer(brokers, settings)
		if err != nil {
			return nil, err
		}
		defer producer.Close()
		var out []*sarama.ProducerMessage
		for _, r := range c.Records {
			one := &sarama.ProducerMessage{Topic: c.Topic}
			if r.Key != nil {
				one.Key = sarama.StringEncoder(*r.Key)
			}
			if r.Value != nil {
				one.Value = sarama.StringEncoder(*r.Value)
			}
			if r.Partition != nil {
				one.Partition = *r.Partition
			}
			if r.Timestamp != 0 {
				one.Timestamp = time.UnixMilli(r.Timestamp)
			}
			for _, h := range r.Headers {
				one.Headers = append(one.Headers, sarama.RecordHeader{Key: []byte(*h[0]), Value: bytesOf(h[1])})
			}
			out = append(out, one)
		}
		err = producer.SendMessages(out)
		offsets := []int64{}
		for _, one := range out {
			offsets = append(offsets, one.Offset)
		}
		return offsets, err
	}

	read := func(c command, offset int64, count int) ([]record, error) {
		consumer, err := sarama.NewConsumerFromClient(shared)
		if err != nil {
			return nil, err
		}
		defer consumer.Close()
		partition, err := consumer.ConsumePartition(c.Topic, c.Partition, offset)
		if err != nil {
			return nil, err
		}
		defer partition.Close()
		got := []record{}
		for len(got) < count {
			select {
			case m := <-partition.Messages():
				headers := []header{}
				for _, h := range m.Headers {
					headers = append(headers, header{text(h.Key), text(h.Value)})
				}
				got = append(got, record{text(m.Key), text(m.Value), headers, &m.Partition, m.Offset, m.Timestamp.UnixMilli()})
			case <-time.After(patience):
				return nil, errors.New("no record within 30 s")
			}
		}
		return got, nil
	}
	listed := func(c command, p place) (int64, error) {
		at := map[string]int64{"beginning": sarama.OffsetOldest, "end": sarama.OffsetNewest}[p.Name]
		if p.Time != nil {
			at = *p.Time
		}
		return shared.GetOffset(c.Topic, c.Partition, at)
	}
	seek := func(c command) (any, error) {
		got := []int64{}
		for _, to := range c.To {
			offset := to.Offset
			var err error
			if to.Name != "" || to.Time != nil {
				if offset, err = listed(c, to); err != nil {
					return nil, err
				}
			}
			if to.Name != "end" {
				records, err := read(c, offset, 1)
				if err != nil {
					return nil, err
				}
				offset = records[0].Offset
			}
			got = append(got, offset)
		}
		return got, nil
	}

	join := func(c command, m member) error {
		group, err := sarama.NewConsumerGroup(brokers, c.Group, config())
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(context.Background())
		go func() {
			<-m.done
			stop()
		}()
		for ctx.Err() == nil {
			if err := group.Consume(ctx, c.Topics, handler{m}); err != nil && ctx.Err() == nil {
				return errors.Join(err, group.Close())
			}
		}
		return group.Close()
	}

	commands := map[string]func(command) (any, error){
		"produce": produce, "seek": seek,
		"consume": func(c command) (any, error) {
			offset := c.Start.Offset
			if c.Start.Name == "beginning" {
				offset = sarama.OffsetOldest
			}
			return read(c, offset, c.Count)
		},
		"commit": func(c command) (any, error) {
			said, err := admin.AlterConsumerGroupOffsets(c.Group, map[string]map[int32]sarama.OffsetAndMetadata{
				c.Topic: {c.Partition: {Offset: c.Offset, Metadata: c.Metadata, LeaderEpoch: -1}}}, nil)
			if err == nil {
				if known := said.Errors[c.Topic][c.Partition]; known != sarama.ErrNoError {
					err = known
				}
			}
			return nil, err
		},
		"committed": func(c command) (any, error) {
			found, err := admin.ListConsumerGroupOffsets(c.Group, map[string][]int32{c.Topic: {c.Partition}})
			if err != nil {
				return nil, err
			}
			block := found.GetBlock(c.Topic, c.Partition)
			return []any{block.Offset, block.Metadata}, nil
		},
		"create": func(c command) (any, error) {
			return nil, admin.CreateTopic(c.Topic, &sarama.TopicDetail{NumPartitions: int32(max(c.Partitions, 1)),
				ReplicationFactor: int16(max(c.Replicas, 1)), ConfigEntries: c.Configs}, false)
		},
		"delete": func(c command) (any, error) { return nil, admin.DeleteTopic(c.Topic) },
		"topics": func(command) (any, error) {
			found, err := admin.ListTopics()
			names := []string{}
			for name := range found {
				names = append(names, name)
			}
			return names, err
		},
		"describe": func(c command) (any, error) {
			found, err := admin.DescribeTopics([]string{c.Topic})
			if err != nil {
				return nil, err
			}
			if found[0].Err != sarama.ErrNoError {
				return nil, found[0].Err
			}
			rows := [][]any{}
			for _, p := range found[0].Partitions {
				rows = append(rows, []any{p.ID, p.Leader, p.Replicas, p.Isr})
			}
			slices.SortFunc(rows, func(a, b []any) int { return int(a[0].(int32) - b[0].(int32)) })
			return rows, nil
		},
		"grow": func(c command) (any, error) {
			return nil, admin.CreatePartitions(c.Topic, int32(c.Partitions), nil, false)
		},
		"configs": func(c command) (any, error) {
			kind := map[string]sarama.ConfigResourceType{"topic": sarama.TopicResource, "broker": sarama.BrokerResource}[c.Kind]
			found, err := admin.DescribeConfig(sarama.ConfigResource{Type: kind, Name: c.Name})
			configs := map[string]string{}
			for _, one := range found {
				configs[one.Name] = one.Value
			}
			return configs, err
		},
		"configure": func(c command) (any, error) {
			changes := map[string]sarama.IncrementalAlterConfigsEntry{}
			for name, value := range c.Configs {
				changes[name] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: value}
			}
			return nil, admin.IncrementalAlterConfig(sarama.TopicResource, c.Topic, changes, false)
		},
		"offsets": func(c command) (any, error) { return listed(c, c.At) },
		"trim": func(c command) (any, error) {
			if err := admin.DeleteRecords(c.Topic, map[int32]int64{c.Partition: c.Offset}); err != nil {
				return nil, err
			}
			return listed(c, place{Name: "beginning"})
		},
		"groups": func(command) (any, error) {
			found, err := admin.ListConsumerGroups()
			names := []string{}
			for name := range found {
				names = append(names, name)
			}
			return names, err
		},
		"group": func(c command) (any, error) {
			found, err := admin.DescribeConsumerGroups([]string{c.Group})
			if err != nil {
				return nil, err
			}
			return []any{found[0].State, len(found[0].Members)}, nil
		},
		"forget": func(c command) (any, error) { return nil, admin.DeleteConsumerGroup(c.Group) },
	}
	code := func(err error) *int16 {
		var known sarama.KError
		var topic *sarama.TopicError
		var partition *sarama.TopicPartitionError
		var sent sarama.ProducerErrors
		switch {
		case errors.As(err, &topic):
			known = topic.Err
		case errors.As(err, &partition):
			known = partition.Err
		case errors.As(err, &sent):
			errors.As(sent[0].Err, &known)
		default:
			errors.As(err, &known)
		}
		if known == 0 {
			return nil
		}
		return pointer(int16(known))
	}
	cannot := map[string]string{"cluster": "its view of the cluster has no id"}
	maps.Copy(commands, saramaTransactions(bootstrap, config, shared))
	return client{module: "github.com/IBM/sarama", cannot: cannot, commands: commands, code: code}, join
}

type handler struct{ member }

func (h handler) Setup(session sarama.ConsumerGroupSession) error {
	now := [][2]any{}
	for topic, partitions := range session.Claims() {
		for _, partition := range partitions {
			now = append(now, [2]any{topic, partition})
		}
	}
	h.assigned(now)
	return nil
}

func (h handler) Cleanup(sarama.ConsumerGroupSession) error {
	h.assigned([][2]any{})
	return nil
}

func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, open := <-claim.Messages():
			if !open {
				return nil
			}
			h.record(m.Partition, m.Offset, m.Value)
			session.MarkMessage(m, "")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}
