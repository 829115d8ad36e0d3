// Transactions of both Go clients: begin, end, and copy, which consumes and produces in one transaction each time.
package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franzTransactions(open func(...kgo.Opt) (*kgo.Client, error)) map[string]func(command) (any, error) {
	ctx := context.Background()
	var session *kgo.Client
	id := ""
	send := func(cl interface {
		ProduceSync(context.Context, ...*kgo.Record) kgo.ProduceResults
	}, topic string, records []record) error {
		var out []*kgo.Record
		for _, r := range records {
			out = append(out, &kgo.Record{Topic: topic, Partition: *r.Partition, Value: bytesOf(r.Value)})
		}
		return cl.ProduceSync(ctx, out...).FirstErr()
	}
	return map[string]func(command) (any, error){
		"begin": func(c command) (any, error) {
			if c.Id != id {
				if session != nil {
					session.Close()
				}
				cl, err := open(kgo.TransactionalID(c.Id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
				if err != nil {
					return nil, err
				}
				session, id = cl, c.Id
			}
			if err := session.BeginTransaction(); err != nil {
				return nil, err
			}
			return nil, send(session, c.Topic, c.Records)
		},
		"end": func(c command) (any, error) {
			return nil, session.EndTransaction(ctx, kgo.TransactionEndTry(c.Commit))
		},
		"copy": func(c command) (any, error) {
			cl, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(strings.Split(c.bootstrap, ",")...), kgo.TransactionalID(c.Id), kgo.ConsumerGroup(c.Group),
				kgo.ConsumeTopics(c.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond), kgo.RequireStableFetchOffsets(),
				kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				return nil, err
			}
			defer cl.Close()
			for copied := 0; copied < c.Count; {
				limited, cancel := context.WithTimeout(ctx, patience)
				fetches := cl.PollRecords(limited, 5)
				cancel()
				if err := fetches.Err(); err != nil {
					return nil, err
				}
				if err := cl.Begin(); err != nil {
					return nil, err
				}
				var records []record
				for _, r := range fetches.Records() {
					records = append(records, record{Value: text(r.Value), Partition: pointer(int32(0))})
				}
				if err := send(cl, c.Target, records); err != nil {
					return nil, err
				}
				committed, err := cl.End(ctx, kgo.TryCommit)
				if err != nil {
					return nil, err
				}
				if committed {
					copied += len(records)
				}
			}
			return nil, nil
		},
	}
}

func saramaTransactions(bootstrap string, config func() *sarama.Config, shared sarama.Client) map[string]func(command) (any, error) {
	var session sarama.SyncProducer
	id := ""
	begin := func(c command) error {
		if c.Id != id {
			if session != nil {
				session.Close()
			}
			settings := config()
			settings.Producer.Idempotent, settings.Net.MaxOpenRequests = true, 1
			settings.Producer.Transaction.ID = c.Id
			settings.Producer.Partitioner = sarama.NewManualPartitioner
			made, err := sarama.NewSyncProducer(strings.Split(bootstrap, ","), settings)
			if err != nil {
				return err
			}
			session, id = made, c.Id
		}
		return session.BeginTxn()
	}
	send := func(topic string, records []record) error {
		var out []*sarama.ProducerMessage
		for _, r := range records {
			out = append(out, &sarama.ProducerMessage{Topic: topic, Partition: *r.Partition, Value: sarama.StringEncoder(*r.Value)})
		}
		return session.SendMessages(out)
	}
	return map[string]func(command) (any, error){
		"begin": func(c command) (any, error) {
			if err := begin(c); err != nil {
				return nil, err
			}
			return nil, send(c.Topic, c.Records)
		},
		"end": func(c command) (any, error) {
			if c.Commit {
				return nil, session.CommitTxn()
			}
			return nil, session.AbortTxn()
		},
		"copy": func(c command) (any, error) {
			consumer, err := sarama.NewConsumerFromClient(shared)
			if err != nil {
				return nil, err
			}
			defer consumer.Close()
			partition, err := consumer.ConsumePartition(c.Topic, 0, sarama.OffsetOldest)
			if err != nil {
				return nil, err
			}
			defer partition.Close()
			for copied := 0; copied < c.Count; copied++ {
				select {
				case m := <-partition.Messages():
					if err := begin(c); err != nil {
						return nil, err
					}
					if err := send(c.Target, []record{{Value: text(m.Value), Partition: pointer(int32(0))}}); err != nil {
						return nil, err
					}
					if err := session.AddMessageToTxn(m, c.Group, nil); err != nil {
						return nil, err
					}
					if err := session.CommitTxn(); err != nil {
						return nil, err
					}
				case <-time.After(patience):
					return nil, errors.New("no record within 30 s")
				}
			}
			return nil, nil
		},
	}
}
