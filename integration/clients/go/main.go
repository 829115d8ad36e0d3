// The Go clients as adapters of the client matrix, in one program: its first argument names the client, the second the
// broker. harness/adapter.py tells the protocol.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

const patience = 30 * time.Second

type header [2]*string

type record struct {
	Key       *string  `json:"key"`
	Value     *string  `json:"value"`
	Headers   []header `json:"headers"`
	Partition *int32   `json:"partition,omitempty"`
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"`
}

// place is "beginning", "end", an offset, or a time in milliseconds.
type place struct {
	Name   string
	Offset int64
	Time   *int64
}

func (p *place) UnmarshalJSON(data []byte) error {
	*p = place{}
	if data[0] == '"' {
		return json.Unmarshal(data, &p.Name)
	}
	if data[0] != '{' {
		return json.Unmarshal(data, &p.Offset)
	}
	timed := struct{ Time *int64 }{}
	err := json.Unmarshal(data, &timed)
	p.Time = timed.Time
	return err
}

type command struct {
	Do, Topic, Group, Compression, Kind, Name string
	Id, Target                                string
	Commit                                    bool
	bootstrap                                 string
	Metadata                                  string
	Records                                   []record
	Count, Session, Partitions, Replicas      int
	Partition                                 int32
	Offset                                    int64
	Start, At                                 place
	To                                        []place
	Topics                                    []string
	Configs                                   map[string]*string
}

// client is what each adapter is: its commands by name, and what it has not, and why.
type client struct {
	module   string
	cannot   map[string]string
	commands map[string]func(command) (any, error)
	code     func(error) *int16
}

// member is what a group's loop says and asks; done is closed when the next command has come.
type member struct{ done <-chan struct{} }

func (member) assigned(partitions [][2]any) { say(map[string]any{"assigned": partitions}) }
func (member) record(partition int32, offset int64, value []byte) {
	say(map[string]any{"record": []any{partition, offset, string(value)}})
}

func say(what any) {
	line, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(line, '\n'))
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "?"
}

func text(data []byte) *string {
	if data == nil {
		return nil
	}
	s := string(data)
	return &s
}

func bytesOf(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

func pointer[T any](value T) *T { return &value }

func main() {
	name, bootstrap := os.Args[1], os.Args[2]
	start := map[string]func(string) (client, func(command, member) error){
		"franz-go": franz, "sarama": saramaClient, "kafka-go": segment,
	}[name]
	adapter, join := start(bootstrap)
	if adapter.cannot == nil {
		adapter.cannot = map[string]string{}
	}
	say(map[string]any{"client": name + " " + version(adapter.module), "cannot": adapter.cannot})

	lines := make(chan command, 10)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		in.Buffer(nil, 1<<24)
		for in.Scan() {
			asked := command{Start: place{Name: "beginning"}, bootstrap: bootstrap}
			if err := json.Unmarshal(in.Bytes(), &asked); err != nil {
				panic(err)
			}
			lines <- asked
		}
		close(lines)
	}()
	for asked := range lines {
		switch asked.Do {
		case "join":
			done, next := make(chan struct{}), make(chan command, 1)
			go func() {
				next <- <-lines // the command that ends the membership: leave, or nothing more
				close(done)
			}()
			err := join(asked, member{done})
			<-done
			<-next
			answer(adapter, nil, err)
		case "leave":
			say(map[string]any{"ok": nil})
		default:
			result, err := adapter.commands[asked.Do](asked)
			answer(adapter, result, err)
		}
	}
}

func answer(adapter client, result any, err error) {
	if err != nil {
		say(map[string]any{"error": adapter.code(err), "text": fmt.Sprintf("%T: %v", err, err)})
	} else {
		say(map[string]any{"ok": result})
	}
}
